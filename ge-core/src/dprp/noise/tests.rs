//! The published vector of the pattern, and peers whose static key is a low-order point.

use super::*;
use crate::crypto::x25519::LOW_ORDER;
use chacha20poly1305::aead::Aead as _;
use chacha20poly1305::{ChaCha20Poly1305, KeyInit as _};
use serde_json::Value;

fn bytes(value: &Value) -> Vec<u8> {
    hex::decode(value.as_str().unwrap()).unwrap()
}

fn key(value: &Value) -> Secret32 {
    Secret32(bytes(value).try_into().unwrap())
}

#[test]
fn published_vector() {
    let text = include_str!("../../../tests/vectors/noise_xxpsk0_psk2.json");
    let vector: Value = serde_json::from_str(text).unwrap();
    assert_eq!(vector["protocol_name"], PATTERN);
    let prologue = bytes(&vector["init_prologue"]);
    let (psk0, psk2) = (key(&vector["init_psks"][0]), key(&vector["init_psks"][1]));
    let pair = |value: &Value| KeyPair::new(&key(value));
    let (static_i, static_r) = (pair(&vector["init_static"]), pair(&vector["resp_static"]));
    let keys = |local_static| Keys { local_static, prologue: &prologue, psk0: &psk0 };
    let mut initiator = Noise::initiator(&keys(&static_i));
    let mut responder = Noise::responder(&keys(&static_r));
    initiator.set_ephemeral(&pair(&vector["init_ephemeral"]));
    responder.set_ephemeral(&pair(&vector["resp_ephemeral"]));
    let messages = vector["messages"].as_array().unwrap();
    for (number, message) in messages[..3].iter().enumerate() {
        if number == 1 {
            initiator.set_group_key(&psk2);
            responder.set_group_key(&psk2);
        }
        let (writer, reader) = if number == 1 {
            (&mut responder, &mut initiator)
        } else {
            (&mut initiator, &mut responder)
        };
        let (payload, expected) = (bytes(&message["payload"]), bytes(&message["ciphertext"]));
        let written = writer.write(&payload).unwrap();
        assert_eq!(hex::encode(&written), hex::encode(&expected), "message {number}");
        assert_eq!(reader.read(&written).unwrap(), payload, "payload {number}");
    }
    assert_eq!(initiator.remote_static(), Some(static_r.public()));
    assert_eq!(responder.remote_static(), Some(static_i.public()));
    let (one, other) = (initiator.split().unwrap(), responder.split().unwrap());
    assert_eq!(one.hash, other.hash);
    // The two transport messages of the vector prove the split keys: responder, then initiator.
    for (split, message) in [(&one.backward, &messages[3]), (&other.forward, &messages[4])] {
        let opened = ChaCha20Poly1305::new(&split.0.into())
            .decrypt(&Default::default(), bytes(&message["ciphertext"]).as_slice());
        assert_eq!(opened.unwrap(), bytes(&message["payload"]));
    }
    assert_eq!(one.forward.0, other.forward.0);
    assert_eq!(one.backward.0, other.backward.0);
}

/// Diffie-Hellman of an attacker whose static public key is a low-order point. What it computes
/// with that key is what an end without the check would compute: zero.
struct LowOrderStatic {
    public: [u8; 32],
}

impl Dh for LowOrderStatic {
    fn name(&self) -> &'static str {
        "25519"
    }
    fn pub_len(&self) -> usize {
        32
    }
    fn priv_len(&self) -> usize {
        32
    }
    fn set(&mut self, _: &[u8]) {}
    fn generate(&mut self, _: &mut dyn Random) -> Result<(), Error> {
        Ok(())
    }
    fn pubkey(&self) -> &[u8] {
        &self.public
    }
    fn privkey(&self) -> &[u8] {
        &[0; 32]
    }
    fn dh(&self, _: &[u8], out: &mut [u8]) -> Result<(), Error> {
        out[..32].fill(0);
        Ok(())
    }
}

/// Bytes that are all the same.
struct Fixed(u8);

impl Random for Fixed {
    fn try_fill_bytes(&mut self, dest: &mut [u8]) -> Result<(), Error> {
        dest.fill(self.0);
        Ok(())
    }
}

/// The first key snow asks for is the static one.
struct Attacker {
    public: [u8; 32],
    asked: std::sync::atomic::AtomicBool,
}

impl CryptoResolver for Attacker {
    fn resolve_rng(&self) -> Option<Box<dyn Random>> {
        Some(Box::new(Fixed(0x77)))
    }
    fn resolve_dh(&self, choice: &DHChoice) -> Option<Box<dyn Dh>> {
        if self.asked.swap(true, std::sync::atomic::Ordering::Relaxed) {
            DefaultResolver.resolve_dh(choice)
        } else {
            Some(Box::new(LowOrderStatic { public: self.public }))
        }
    }
    fn resolve_hash(&self, choice: &HashChoice) -> Option<Box<dyn Hash>> {
        DefaultResolver.resolve_hash(choice)
    }
    fn resolve_cipher(&self, choice: &CipherChoice) -> Option<Box<dyn Cipher>> {
        DefaultResolver.resolve_cipher(choice)
    }
}

/// An end without our check: the library's own Diffie-Hellman.
struct Unchecked;

impl CryptoResolver for Unchecked {
    fn resolve_rng(&self) -> Option<Box<dyn Random>> {
        Some(Box::new(Fixed(0x33)))
    }
    fn resolve_dh(&self, choice: &DHChoice) -> Option<Box<dyn Dh>> {
        DefaultResolver.resolve_dh(choice)
    }
    fn resolve_hash(&self, choice: &HashChoice) -> Option<Box<dyn Hash>> {
        DefaultResolver.resolve_hash(choice)
    }
    fn resolve_cipher(&self, choice: &CipherChoice) -> Option<Box<dyn Cipher>> {
        DefaultResolver.resolve_cipher(choice)
    }
}

const PSK: [u8; 32] = [5; 32];

fn raw(resolver: Box<dyn CryptoResolver + Send>, initiator: bool) -> HandshakeState {
    let builder = Builder::with_resolver(PATTERN.parse().unwrap(), resolver)
        .local_private_key(&[9; 32])
        .and_then(|builder| builder.prologue(b"test"))
        .and_then(|builder| builder.psk(0, &PSK))
        .and_then(|builder| builder.psk(2, &PSK))
        .unwrap();
    if initiator { builder.build_initiator() } else { builder.build_responder() }.unwrap()
}

fn attacker(public: [u8; 32], initiator: bool) -> HandshakeState {
    raw(Box::new(Attacker { public, asked: false.into() }), initiator)
}

fn checked(initiator: bool) -> HandshakeState {
    let pair = |byte| KeyPair::new(&Secret32([byte; 32]));
    let own = OwnKeys { local: pair(9), ephemeral: OnceLock::from(pair(0x33)) };
    raw(Box::new(Resolver(Arc::new(own))), initiator)
}

/// Passes one empty-payload message.
fn pass(writer: &mut HandshakeState, reader: &mut HandshakeState) -> Result<usize, Error> {
    let (mut message, mut payload) = ([0; 256], [0; 256]);
    let length = writer.write_message(&[], &mut message)?;
    reader.read_message(&message[..length], &mut payload)
}

fn points() -> impl Iterator<Item = [u8; 32]> {
    LOW_ORDER.into_iter().flat_map(|point| {
        let mut high = point;
        high[31] |= 0x80;
        [point, high]
    })
}

#[test]
fn low_order_static_key_of_the_responder_is_refused() {
    for point in points() {
        let (mut initiator, mut responder) = (checked(true), attacker(point, false));
        pass(&mut initiator, &mut responder).unwrap();
        let refused = pass(&mut responder, &mut initiator);
        assert!(matches!(refused, Err(Error::Dh)), "{point:02x?} {refused:?}");
        // The same attack succeeds against an end that does not check.
        let (mut initiator, mut responder) =
            (raw(Box::new(Unchecked), true), attacker(point, false));
        pass(&mut initiator, &mut responder).unwrap();
        pass(&mut responder, &mut initiator).unwrap();
    }
}

#[test]
fn low_order_static_key_of_the_initiator_is_refused() {
    for point in points() {
        let (mut initiator, mut responder) = (attacker(point, true), checked(false));
        pass(&mut initiator, &mut responder).unwrap();
        pass(&mut responder, &mut initiator).unwrap();
        let refused = pass(&mut initiator, &mut responder);
        assert!(matches!(refused, Err(Error::Dh)), "{point:02x?} {refused:?}");
        let (mut initiator, mut responder) =
            (attacker(point, true), raw(Box::new(Unchecked), false));
        pass(&mut initiator, &mut responder).unwrap();
        pass(&mut responder, &mut initiator).unwrap();
        pass(&mut initiator, &mut responder).unwrap();
    }
}
