//! A COOKIE at the end that waits for an answer, and at an agent between.

use crate::domain::NOW;
use crate::negotiation::Scene;
use ge_core::dprp::{CookieSecret, Questioned, create_cookie};
use ge_core::now::Instant;
use ge_core::origin::{Number, Origin};
use ge_core::wire::dprp::cookie::CookieParts;
use ge_core::wire::dprp::peek;
use std::net::Ipv4Addr;

/// The COOKIE that answers the DDE of a scene.
#[must_use]
pub fn scene_cookie(scene: &mut Scene) -> Vec<u8> {
    let mut rng = crate::domain::rng(4);
    let now = Instant::default();
    let origin = Origin { address: Ipv4Addr::new(192, 0, 2, 1).into(), number: Number::Echo(7) };
    let cookie = CookieSecret::new(&mut rng, now).cookie(&origin, &mut rng, now);
    create_cookie(&scene.keyring_r, &scene.dde, &cookie, &mut rng, NOW).expect("the DDE is right")
}

/// Only the COOKIE itself is taken, at either place.
pub fn cookie(data: &[u8]) {
    let mut scene = Scene::new();
    let right = scene_cookie(&mut scene);
    let read = scene.initiator.consume_cookie(&scene.keyring_i, data, &scene.dde, NOW);
    assert_eq!(read.is_ok(), data == right, "at the initiator");
    let question = Questioned::read(&scene.keyring_r, &scene.dde, NOW).expect("the DDE is right");
    let passes = question.is_answered(&scene.keyring_r, data, NOW);
    assert_eq!(passes, data == right, "between the ends");
    if let Some(header) = peek(data) {
        let _ = CookieParts::parse(data, header.sid_i);
    }
}
