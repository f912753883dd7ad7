//! Ed25519 (RFC 8032) with strict verification: no small-order keys, no malleable signatures.
//!
//! Every signed text starts with a label that names the protocol version and the use, so that a
//! signature made for one purpose is never one for another.

use crate::membership::Secret32;
use ed25519_dalek::{Signature, Signer as _, SigningKey, VerifyingKey};

/// Length of a signature.
pub const SIGNATURE_LEN: usize = 64;

/// Public key of an Ed25519 seed.
#[must_use]
pub fn public_key(seed: &Secret32) -> [u8; 32] {
    SigningKey::from_bytes(&seed.0).verifying_key().to_bytes()
}

/// Signs `text` with the key of `seed`.
#[must_use]
pub fn sign(seed: &Secret32, text: &[u8]) -> [u8; SIGNATURE_LEN] {
    SigningKey::from_bytes(&seed.0).sign(text).to_bytes()
}

/// True if `signature` over `text` is by `key`, strictly.
#[must_use]
pub fn verify(key: &[u8; 32], text: &[u8], signature: &[u8; SIGNATURE_LEN]) -> bool {
    VerifyingKey::from_bytes(key)
        .is_ok_and(|key| key.verify_strict(text, &Signature::from_bytes(signature)).is_ok())
}
