//! ChaCha20-Poly1305 (RFC 8439) under keys that seal exactly one message, so the nonce is zero.
//!
//! Used for the small parts of negotiation messages. Traffic has its own, faster door
//! ([`crate::traffic`]). The COOKIE is sealed under a key of the whole domain by many agents that
//! know nothing of each other, hence with a random nonce of 24 bytes: XChaCha20-Poly1305
//! (draft-irtf-cfrg-xchacha-03).

use crate::membership::Secret32;
use chacha20poly1305::aead::{Aead as _, Payload};
use chacha20poly1305::{ChaCha20Poly1305, KeyInit as _, Nonce, XChaCha20Poly1305};

/// Seals `plaintext`. The key must never seal anything else.
pub(crate) fn seal_once(key: &Secret32, aad: &[u8], plaintext: &[u8]) -> Vec<u8> {
    ChaCha20Poly1305::new(&key.0.into())
        .encrypt(&Nonce::default(), Payload { msg: plaintext, aad })
        .expect("invariant: negotiation messages are far below the 256 GiB limit")
}

/// Opens what [`seal_once`] sealed, or says that it is not authentic.
pub(crate) fn open_once(key: &Secret32, aad: &[u8], sealed: &[u8]) -> Option<Vec<u8>> {
    ChaCha20Poly1305::new(&key.0.into())
        .decrypt(&Nonce::default(), Payload { msg: sealed, aad })
        .ok()
}

/// Seals a cookie under the domain's key and a random `nonce`.
pub(crate) fn seal_cookie(
    key: &Secret32,
    nonce: &[u8; 24],
    aad: &[u8],
    plaintext: &[u8],
) -> Vec<u8> {
    XChaCha20Poly1305::new(&key.0.into())
        .encrypt(&(*nonce).into(), Payload { msg: plaintext, aad })
        .expect("invariant: a cookie is far below the 256 GiB limit")
}

/// Opens what [`seal_cookie`] sealed, or says that it is not authentic.
pub(crate) fn open_cookie(
    key: &Secret32,
    nonce: &[u8; 24],
    aad: &[u8],
    sealed: &[u8],
) -> Option<Vec<u8>> {
    let sealed = Payload { msg: sealed, aad };
    XChaCha20Poly1305::new(&key.0.into()).decrypt(&(*nonce).into(), sealed).ok()
}
