//! Cookies: who gave them to whom, for how long, and what a forged one does.

use crate::domain::{Domain, NOW, rng};
use crate::run::Run;
use ge_core::crypto::Rng;
use ge_core::dprp::{
    Binding, Cookie, CookieSecret, Initiator, Questioned, Reject, authenticate, consume_dde,
    create_cookie,
};
use ge_core::limits::{COOKIE_GRACE, COOKIE_LIFETIME};
use ge_core::now::Instant;
use ge_core::origin::{Number, Origin};
use ge_core::wire::dprp::cookie::COOKIE_LEN;
use ge_core::wire::dprp::dde::DDE_LEN;
use ge_core::wire::dprp::{Kind, MAC_LEN, peek};

const HERE: Origin = origin([192, 0, 2, 1], Number::Echo(7));

const fn origin([a, b, c, d]: [u8; 4], number: Number) -> Origin {
    Origin { address: std::net::IpAddr::V4(std::net::Ipv4Addr::new(a, b, c, d)), number }
}

/// A responder under load and an initiator that asked it.
struct Scene {
    run: Run,
    initiator: Initiator,
    dde: Vec<u8>,
    secret: CookieSecret,
    rng: Rng,
}

impl Scene {
    fn new() -> Self {
        let mut run = Run::pair();
        let (initiator, dde) = run.dde();
        let mut rng = rng(5);
        let secret = CookieSecret::new(&mut rng, at(0));
        Self { run, initiator, dde, secret, rng }
    }

    /// The COOKIE that the responder sends to `origin`.
    fn cookie(&mut self, origin: &Origin, now: Instant) -> Vec<u8> {
        let cookie = self.secret.cookie(origin, &mut self.rng, now);
        create_cookie(&self.run.r, &self.dde, &cookie, &mut self.rng, NOW).unwrap()
    }

    fn open(&self, message: &[u8]) -> Result<Cookie, Reject> {
        self.initiator.consume_cookie(&self.run.i, message, &self.dde, NOW)
    }

    /// The DDE with `mac2` under the cookie in `message`.
    fn signed(&self, message: &[u8]) -> Vec<u8> {
        let mut dde = self.dde.clone();
        self.open(message).expect("the COOKIE is right").sign(&mut dde);
        dde
    }

    fn proves(&mut self, dde: &[u8], origin: &Origin, now: Instant) -> bool {
        self.secret.proves(dde, origin, &mut self.rng, now)
    }
}

fn at(seconds: u64) -> Instant {
    Instant::from_micros(seconds * 1_000_000)
}

#[test]
fn a_cookie_proves_the_origin_it_was_given_to() {
    let mut scene = Scene::new();
    assert!(!scene.proves(&scene.dde.clone(), &HERE, at(1)), "no mac2 is no proof");
    let message = scene.cookie(&HERE, at(1));
    assert_eq!(message.len(), COOKIE_LEN);
    assert!(5 * message.len() < scene.dde.len(), "a fifth of what it answers");
    assert_eq!(peek(&message).unwrap().kind, Kind::Cookie);
    let dde = scene.signed(&message);
    assert!(scene.proves(&dde, &HERE, at(1)));
    assert_eq!(dde[..DDE_LEN - MAC_LEN], scene.dde[..DDE_LEN - MAC_LEN], "the same e_i and mac1");
    assert!(consume_dde(&scene.run.r, &dde, Binding::Fresh, NOW).is_ok());
}

#[test]
fn a_cookie_proves_no_other_origin() {
    let mut scene = Scene::new();
    let message = scene.cookie(&HERE, at(1));
    let dde = scene.signed(&message);
    let others = [
        ("source", origin([192, 0, 2, 3], Number::Echo(7))),
        ("identifier", origin([192, 0, 2, 1], Number::Echo(8))),
        ("carrier", origin([192, 0, 2, 1], Number::Udp(7))),
    ];
    for (what, other) in others {
        assert!(!scene.proves(&dde, &other, at(1)), "another {what}");
    }
    let mut stranger = CookieSecret::new(&mut rng(6), at(0));
    assert!(!stranger.proves(&dde, &HERE, &mut rng(7), at(1)), "another agent's cookie");
}

#[test]
fn a_cookie_ends_with_the_secret_after_the_one_it_was_made_from() {
    let lifetime = COOKIE_LIFETIME.as_secs();
    for (made, used, counts) in [
        (1, lifetime - 1, true),
        (lifetime - 1, lifetime + 4, true),
        (lifetime - 1, lifetime + COOKIE_GRACE.as_secs(), false),
        (lifetime - 1, lifetime + 6, false),
        (1, 10 * lifetime, false),
        (lifetime + 1, lifetime + 6, true),
    ] {
        let mut scene = Scene::new();
        let message = scene.cookie(&HERE, at(made));
        let dde = scene.signed(&message);
        assert_eq!(
            scene.proves(&dde, &HERE, at(used)),
            counts,
            "made at {made} s, used at {used} s"
        );
    }
}

#[test]
fn a_secret_that_was_in_use_all_the_time_ends_just_so() {
    // Somebody asks every second, so that nothing depends on when the secret was last looked at.
    let mut scene = Scene::new();
    let message = scene.cookie(&HERE, at(119));
    let dde = scene.signed(&message);
    let proven: Vec<bool> = (119..=126).map(|now| scene.proves(&dde, &HERE, at(now))).collect();
    assert_eq!(proven, [true, true, true, true, true, true, false, false]);
}

#[test]
fn mac1_and_mac2_stand_for_themselves() {
    let mut scene = Scene::new();
    let message = scene.cookie(&HERE, at(1));
    let right = scene.signed(&message);
    let flipped = |back: usize| {
        let mut dde = right.clone();
        dde[DDE_LEN - back] ^= 1;
        dde
    };
    let wrong_mac2 = flipped(1);
    assert_eq!(authenticate(&scene.run.r, &wrong_mac2, NOW), Ok(()));
    assert!(!scene.proves(&wrong_mac2, &HERE, at(1)));
    let wrong_mac1 = flipped(MAC_LEN + 1);
    assert_eq!(authenticate(&scene.run.r, &wrong_mac1, NOW), Err(Reject::BadMac));
    assert!(!scene.proves(&wrong_mac1, &HERE, at(1)), "mac2 covers mac1");
    // Who has a cookie and no domain key gets no further for it.
    let mut junk = right.clone();
    junk[100] ^= 1;
    scene.open(&message).unwrap().sign(&mut junk);
    assert!(scene.proves(&junk, &HERE, at(1)));
    assert_eq!(authenticate(&scene.run.r, &junk, NOW), Err(Reject::BadMac));
}

#[test]
fn only_the_cookie_for_our_own_dde_is_taken() {
    let mut scene = Scene::new();
    let message = scene.cookie(&HERE, at(1));
    assert!(scene.open(&message).is_ok());
    assert!(scene.open(&message).is_ok(), "again: nothing was changed");
    let (other, others_dde) = scene.run.dde();
    let read = other.consume_cookie(&scene.run.i, &message, &others_dde, NOW);
    assert!(matches!(read, Err(Reject::Malformed(_))), "a COOKIE of another negotiation");
    // Another negotiation's, renumbered: its seal is for that one's mac1.
    let mut renumbered = message.clone();
    renumbered[8..16].copy_from_slice(&others_dde[8..16]);
    let read = other.consume_cookie(&scene.run.i, &renumbered, &others_dde, NOW);
    assert!(matches!(read, Err(Reject::BadSeal(_))));
    let outsider = Domain::new(2).member(1, &[1]).keyring();
    let read =
        create_cookie(&outsider, &scene.dde, &scene.open(&message).unwrap(), &mut rng(1), NOW);
    assert_eq!(read.err(), Some(Reject::BadMac), "another domain cannot answer");
    let (_, rgi) = scene.run.rgi(&scene.dde.clone()).unwrap();
    scene.initiator.consume_rgi(&scene.run.i, &rgi, &mut rng(2), NOW).unwrap();
    assert_eq!(scene.open(&message).err(), Some(Reject::Unexpected), "no DDE is outstanding");
}

#[test]
fn every_bit_and_every_length_counts() {
    let mut scene = Scene::new();
    let message = scene.cookie(&HERE, at(1));
    let question = Questioned::read(&scene.run.r, &scene.dde, NOW).unwrap();
    let refused = |forged: &[u8]| {
        assert!(scene.open(forged).is_err());
        assert!(!question.is_answered(&scene.run.r, forged, NOW), "between the ends");
    };
    for bit in 0..message.len() * 8 {
        let mut forged = message.clone();
        forged[bit / 8] ^= 1 << (bit % 8);
        refused(&forged);
    }
    for length in 0..message.len() {
        refused(&message[..length]);
    }
    refused(&[&message[..], &[0]].concat());
    assert!(question.is_answered(&scene.run.r, &message, NOW));
}
