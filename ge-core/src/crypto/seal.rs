//! ChaCha20-Poly1305 (RFC 8439) under keys that seal exactly one message, so the nonce is zero.
//!
//! Used for the small parts of negotiation messages. Traffic has its own, faster door
//! ([`crate::traffic`]).

use crate::membership::Secret32;
use chacha20poly1305::aead::{Aead as _, Payload};
use chacha20poly1305::{ChaCha20Poly1305, KeyInit as _, Nonce};

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
