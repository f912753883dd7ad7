//! Sealing of the cached membership, and of what is remembered of destinations.
//!
//! ```text
//! | "gesms/1\n" 8 | nonce 24 | XChaCha20-Poly1305(key, nonce, ad = first 8) |
//! key = HKDF-SHA256(salt = "ges membership cache/1", ikm = Ed25519 seed | X25519 private key)
//! ```
//! The other file begins with `gesmm/1\n`, its salt is `ges destination memory/1`.
//!
//! The seal makes a copied file useless without the machine's identity and finds every damage.
//! The nonce is random and 192 bits long, so files may be written for ever under one key.

use chacha20poly1305::aead::{Aead as _, Payload};
use chacha20poly1305::{KeyInit as _, XChaCha20Poly1305};
use ge_core::membership::Identity;
use hkdf::Hkdf;
use sha2::Sha256;
use zeroize::Zeroizing;

/// A file: its first bytes, and what its key is derived with.
struct Purpose {
    magic: &'static [u8; 8],
    salt: &'static [u8],
}

const CACHE: Purpose = Purpose { magic: b"gesms/1\n", salt: b"ges membership cache/1" };
const MEMORY: Purpose = Purpose { magic: b"gesmm/1\n", salt: b"ges destination memory/1" };

/// Length of the nonce.
pub const NONCE: usize = 24;

/// Seals `text` for this identity. The nonce is random, and never used before.
///
/// # Panics
/// Never: a membership is far below the cipher's limit of 256 GiB.
#[must_use]
pub fn seal(identity: &Identity, nonce: &[u8; NONCE], text: &[u8]) -> Vec<u8> {
    seal_as(&CACHE, identity, nonce, text)
}

/// Opens what [`seal`] made; `None` if it is damaged or of another identity.
#[must_use]
pub fn open(identity: &Identity, bytes: &[u8]) -> Option<Zeroizing<Vec<u8>>> {
    open_as(&CACHE, identity, bytes)
}

/// [`seal`] for what is remembered of destinations.
///
/// # Panics
/// Never, as [`seal`].
#[must_use]
pub fn seal_memory(identity: &Identity, nonce: &[u8; NONCE], text: &[u8]) -> Vec<u8> {
    seal_as(&MEMORY, identity, nonce, text)
}

/// Opens what [`seal_memory`] made; `None` if it is damaged or of another identity.
#[must_use]
pub fn open_memory(identity: &Identity, bytes: &[u8]) -> Option<Zeroizing<Vec<u8>>> {
    open_as(&MEMORY, identity, bytes)
}

fn seal_as(purpose: &Purpose, identity: &Identity, nonce: &[u8; NONCE], text: &[u8]) -> Vec<u8> {
    let sealed = cipher(purpose, identity)
        .encrypt(&(*nonce).into(), Payload { msg: text, aad: purpose.magic })
        .expect("invariant: a file of ours is far below the 256 GiB limit");
    [&purpose.magic[..], nonce, &sealed].concat()
}

fn open_as(purpose: &Purpose, identity: &Identity, bytes: &[u8]) -> Option<Zeroizing<Vec<u8>>> {
    let (nonce, sealed) = bytes.strip_prefix(purpose.magic)?.split_first_chunk::<NONCE>()?;
    let payload = Payload { msg: sealed, aad: purpose.magic };
    cipher(purpose, identity).decrypt(&(*nonce).into(), payload).ok().map(Zeroizing::new)
}

fn cipher(purpose: &Purpose, identity: &Identity) -> XChaCha20Poly1305 {
    let mut secret = Zeroizing::new([0; 64]);
    secret[..32].copy_from_slice(&identity.identity.0);
    secret[32..].copy_from_slice(&identity.noise_static.0);
    let mut key = Zeroizing::new([0; 32]);
    Hkdf::<Sha256>::new(Some(purpose.salt), &secret[..])
        .expand(b"key", &mut key[..])
        .expect("invariant: 32 bytes are within HKDF's output limit");
    XChaCha20Poly1305::new(&(*key).into())
}

#[cfg(test)]
mod tests {
    use super::*;
    use ge_core::membership::Secret32;

    fn identity(byte: u8) -> Identity {
        Identity { identity: Secret32([byte; 32]), noise_static: Secret32([9; 32]) }
    }

    #[test]
    fn only_the_same_identity_opens_and_every_damage_is_found() {
        let sealed = seal(&identity(1), &[7; NONCE], b"text");
        assert_eq!(open(&identity(1), &sealed).unwrap().as_slice(), b"text");
        assert!(open(&identity(2), &sealed).is_none());
        assert!(open_memory(&identity(1), &sealed).is_none(), "another file");
        for place in 0..sealed.len() {
            let mut changed = sealed.clone();
            changed[place] ^= 0x80;
            assert!(open(&identity(1), &changed).is_none(), "byte {place}");
            assert!(open(&identity(1), &sealed[..place]).is_none(), "cut at {place}");
        }
    }
}
