//! Messages of a negotiation, against an agent that is in the middle of one.

use crate::domain::{Domain, NOW, parameters, proposal, rng};
use ge_core::crypto::x25519::KeyPair;
use ge_core::crypto::{Rng, kdf};
use ge_core::dprp::{Binding, Initiator, Responder, consume_dde};
use ge_core::id::Epoch;
use ge_core::keyring::Keyring;
use ge_core::wire::dprp::dde::{DdeFacts, DdeParts, lasting};
use ge_core::wire::dprp::{MAC_LEN, peek};

/// Two agents and the four messages between them, the same in every run.
pub struct Scene {
    pub keyring_i: Keyring,
    pub keyring_r: Keyring,
    pub rng: Rng,
    pub initiator: Initiator,
    pub responder: Responder,
    pub dde: Vec<u8>,
    pub rgi: Vec<u8>,
}

impl Scene {
    /// Both ends after DDE and RGI were sent.
    pub fn new() -> Self {
        let domain = Domain::new(1);
        let keyring_i = domain.member(1, &[1, 2]).keyring();
        let keyring_r = domain.member(2, &[2, 3]).keyring();
        let mut rng = rng(9);
        let (initiator, dde) = Initiator::create_dde(
            &keyring_i,
            &proposal(),
            Binding::Fresh,
            parameters(11),
            KeyPair::generate(&mut rng),
            &mut rng,
            NOW,
        )
        .expect("own keys are in force");
        let (responder, rgi) = consume_dde(&keyring_r, &dde, Binding::Fresh, NOW)
            .and_then(|received| {
                received.answer(
                    &keyring_r,
                    false,
                    parameters(22),
                    KeyPair::generate(&mut rng),
                    &mut rng,
                    NOW,
                )
            })
            .expect("the DDE is right");
        Self { keyring_i, keyring_r, rng, initiator, responder, dde, rgi }
    }

    /// The MPIT and the CDN.
    pub fn finish(&mut self) -> (Vec<u8>, Vec<u8>) {
        let (_, mpit) = self
            .initiator
            .consume_rgi(&self.keyring_i, &self.rgi, &mut self.rng, NOW)
            .expect("the RGI is right");
        let (_, cdn) = self
            .responder
            .consume_mpit(&self.keyring_r, &mpit, &mut self.rng, NOW)
            .expect("the MPIT is right");
        (mpit, cdn)
    }
}

impl Default for Scene {
    fn default() -> Self {
        Self::new()
    }
}

/// A DDE, and its content before sealing.
pub fn dde(data: &[u8]) {
    if let Ok(facts) = DdeFacts::parse(data) {
        let flow = data[8..48].first_chunk().expect("the facts were parsed");
        assert_eq!(facts.emit(flow), data, "facts");
    }
    let scene = Scene::new();
    let message = with_mac(data, 2 * MAC_LEN);
    let _ = DdeParts::parse(&message);
    let read = consume_dde(&scene.keyring_r, &message, Binding::Fresh, NOW);
    let same = message.len() == scene.dde.len() && lasting(&message) == lasting(&scene.dde);
    assert_eq!(read.is_ok(), same, "only the DDE itself is accepted, whatever its mac2");
}

/// An RGI at the end that waits for one; the right one is accepted afterwards.
pub fn rgi(data: &[u8]) {
    let mut scene = Scene::new();
    let message = with_mac(data, MAC_LEN);
    if message != scene.rgi {
        let read = scene.initiator.consume_rgi(&scene.keyring_i, &message, &mut scene.rng, NOW);
        assert!(read.is_err(), "only the RGI itself is accepted");
    }
    scene.finish();
}

/// An MPIT at the end that waits for one.
pub fn mpit(data: &[u8]) {
    let mut scene = Scene::new();
    let message = with_mac(data, MAC_LEN);
    let early = scene.responder.consume_mpit(&scene.keyring_r, &message, &mut scene.rng, NOW);
    if early.is_err() {
        let mut scene = Scene::new();
        let (mpit, _) = scene.finish();
        assert_ne!(message, mpit, "the MPIT itself is accepted");
    }
}

/// A CDN at the end that waits for one.
pub fn cdn(data: &[u8]) {
    let mut scene = Scene::new();
    let (_, cdn) = scene.finish();
    let message = with_mac(data, MAC_LEN);
    let read = scene.initiator.consume_cdn(&scene.keyring_i, &message, NOW);
    assert_eq!(read.is_ok(), message == cdn, "only the CDN itself is accepted");
    let _ = scene.initiator.consume_nomatch(&scene.keyring_i, &message, NOW);
}

/// The bytes with length and `mac1` put right, `tail` bytes before their end.
pub(crate) fn with_mac(data: &[u8], tail: usize) -> Vec<u8> {
    let mut message = data.to_vec();
    if message.len() < 24 + tail {
        return message;
    }
    let length = message.len() as u16;
    message[6..8].copy_from_slice(&length.to_be_bytes());
    let domain = Domain::new(1);
    let member = domain.member(1, &[]);
    let keys = &member.membership.domain_keys;
    let key = keys.iter().find(|key| key.epoch == Epoch(5)).expect("epoch 5 is in force");
    let mac1_key = kdf::domain_prk(domain.id, key.epoch, &key.key).expand("mac1", &[]);
    let at = message.len() - tail;
    let mac1: [u8; MAC_LEN] = kdf::short_hmac(&mac1_key, &[&message[..at]]);
    message[at..at + MAC_LEN].copy_from_slice(&mac1);
    assert!(peek(&message).is_none_or(|header| usize::from(header.length) == message.len()));
    message
}
