//! Primitives as this crate uses them. Nothing is invented here: each file is a thin, typed door
//! to one kept library, so that labels, lengths and checks are written once.
//!
//! - [`ephemeral`]: key pairs made ahead
//! - [`kdf`]: HKDF-SHA256 and HMAC-SHA256 with the labels of PROTOCOL.md 2.1
//! - [`seal`]: one-use ChaCha20-Poly1305 of path parts and of the CDN
//! - [`sign`]: Ed25519, strict verification
//! - [`x25519`]: Diffie-Hellman that refuses low-order points

pub(crate) mod ephemeral;
pub mod kdf;
pub(crate) mod seal;
pub mod sign;
pub mod x25519;

#[cfg(test)]
mod vectors;

/// The only source of randomness of the engine: seeded by the caller, so that two runs with the
/// same seed are the same run.
pub type Rng = rand_chacha::ChaCha20Rng;

use crate::membership::Secret32;
use rand_core::Rng as _;
use sha2::{Digest as _, Sha256};

/// SHA-256 over the concatenation of `parts`.
#[must_use]
pub fn sha256(parts: &[&[u8]]) -> [u8; 32] {
    let mut hash = Sha256::new();
    for part in parts {
        hash.update(part);
    }
    hash.finalize().into()
}

/// `N` fresh random bytes.
pub(crate) fn random<const N: usize>(rng: &mut Rng) -> [u8; N] {
    let mut bytes = [0; N];
    rng.fill_bytes(&mut bytes);
    bytes
}

/// 32 fresh secret bytes.
pub(crate) fn random_secret(rng: &mut Rng) -> Secret32 {
    Secret32(random(rng))
}
