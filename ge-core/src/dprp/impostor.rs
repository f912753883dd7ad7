//! Impostors: agents that hold every key of the domain and the group, and show the certificate of
//! somebody else. What they own decides how far they get.

use super::domain::{Domain, Member, NOW, parameters, proposal, rng};
use super::{Agreement, Binding, Initiator, Reject, consume_dde};
use crate::crypto::Rng;
use crate::crypto::x25519::KeyPair;
use crate::keyring::Keyring;

/// The impostor's keyring: its own keys, the victim's certificate.
fn impostor(keys: &Member, victim: &Member) -> Keyring {
    keys.keyring().impersonate(&victim.membership.certificate)
}

fn negotiate(i: &Keyring, r: &Keyring) -> Result<(Agreement, Agreement), Reject> {
    let mut rng: Rng = rng(1);
    let (mut initiator, dde) = Initiator::create_dde(
        i,
        &proposal(),
        Binding::Fresh,
        parameters(1),
        KeyPair::generate(&mut rng),
        &mut rng,
        NOW,
    )?;
    let (mut responder, rgi) = consume_dde(r, &dde, Binding::Fresh, NOW)?.answer(
        r,
        false,
        parameters(2),
        KeyPair::generate(&mut rng),
        &mut rng,
        NOW,
    )?;
    let (agreed_i, mpit) = initiator.consume_rgi(i, &rgi, &mut rng, NOW)?;
    let (agreed_r, cdn) = responder.consume_mpit(r, &mpit, &mut rng, NOW)?;
    initiator.consume_cdn(i, &cdn, NOW)?;
    Ok((agreed_i, agreed_r))
}

#[test]
fn the_certificate_alone_is_not_enough() {
    let domain = Domain::new(1);
    let (honest, thief) = (domain.member(1, &[1]), domain.member(2, &[1]));
    let fake = impostor(&thief, &domain.member(3, &[1]));
    let not_its_key = Some(Reject::Misbehaved("the certificate is not for its Noise key"));
    assert_eq!(negotiate(&honest.keyring(), &fake).err(), not_its_key);
    assert_eq!(negotiate(&fake, &honest.keyring()).err(), not_its_key);
}

#[test]
fn the_noise_key_alone_is_not_enough() {
    // The thief has the victim's Noise key but not its identity key: it cannot sign.
    let domain = Domain::new(1);
    let (honest, victim) = (domain.member(1, &[1]), domain.member(3, &[1]));
    let mut thief = domain.member(2, &[1]);
    thief.identity.noise_static = victim.identity.noise_static.clone();
    domain.issue(&mut thief, |_| ());
    let fake = impostor(&thief, &victim);
    assert_eq!(negotiate(&honest.keyring(), &fake).err(), Some(Reject::BadSignature));
    assert_eq!(negotiate(&fake, &honest.keyring()).err(), Some(Reject::BadSignature));
}

#[test]
fn a_nomatch_in_anothers_name_is_refused() {
    let domain = Domain::new(1);
    let honest = domain.member(1, &[1]).keyring();
    let fake = impostor(&domain.member(2, &[2]), &domain.member(3, &[2]));
    let mut rng = rng(1);
    let (initiator, dde) = Initiator::create_dde(
        &honest,
        &proposal(),
        Binding::Fresh,
        parameters(1),
        KeyPair::generate(&mut rng),
        &mut rng,
        NOW,
    )
    .unwrap();
    let received = consume_dde(&fake, &dde, Binding::Fresh, NOW).unwrap();
    let nomatch = received.refuse(&fake, false, super::Word::Own, &mut rng, NOW).unwrap();
    let read = initiator.consume_nomatch(&honest, &nomatch, NOW);
    assert_eq!(read, Err(Reject::BadSignature));
}

#[test]
fn both_keys_are_the_victim() {
    let domain = Domain::new(1);
    let (honest, victim) = (domain.member(1, &[1]), domain.member(3, &[1]));
    let same = impostor(&victim, &victim);
    assert!(negotiate(&honest.keyring(), &same).is_ok());
}
