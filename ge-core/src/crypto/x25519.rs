//! X25519 (RFC 7748) that refuses points of low order.
//!
//! RFC 7748 section 6.1 leaves the check to the protocol. With such a point the shared secret does
//! not depend on our private key, so that a party could complete an exchange without contributing
//! to it; Noise is secure without the check, but a session whose keys a third party could know by
//! agreement of one end is never wanted here. The seven encodings are refused as they arrive, and
//! an all-zero result is refused too.

use crate::crypto::{self, Rng};
use crate::membership::Secret32;
use aws_lc_rs::agreement::{PrivateKey, UnparsedPublicKey, X25519, agree};
use std::sync::Arc;

/// A point whose order divides the cofactor: it carries no contribution of its sender.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("low-order X25519 point")]
pub struct LowOrder;

/// A private key and its public key, computed once. Clones share the key; the last one wipes it.
#[derive(Clone)]
pub struct KeyPair(Arc<Inner>);

struct Inner {
    secret: Secret32,
    private: PrivateKey,
    public: [u8; 32],
}

impl KeyPair {
    /// The pair of a private key. Any 32 bytes are one.
    #[must_use]
    pub fn new(secret: &Secret32) -> Self {
        let private = PrivateKey::from_private_key(&X25519, &secret.0)
            .expect("invariant: any 32 bytes are an X25519 private key");
        let mut public = [0; 32];
        let computed = private
            .compute_public_key()
            .expect("invariant: every X25519 private key has a public key");
        public.copy_from_slice(computed.as_ref());
        Self(Arc::new(Inner { secret: secret.clone(), private, public }))
    }

    /// A fresh pair.
    #[must_use]
    pub fn generate(rng: &mut Rng) -> Self {
        Self::new(&crypto::random_secret(rng))
    }

    /// The public key.
    #[must_use]
    pub fn public(&self) -> [u8; 32] {
        self.0.public
    }

    /// The private key.
    #[must_use]
    pub fn secret(&self) -> &Secret32 {
        &self.0.secret
    }

    /// Shared secret with the holder of `public`.
    ///
    /// # Errors
    /// [`LowOrder`] if `public` is such a point, or the result does not depend on the private key.
    pub fn shared_secret(&self, public: &[u8; 32]) -> Result<Secret32, LowOrder> {
        if is_low_order(public) {
            return Err(LowOrder);
        }
        let peer = UnparsedPublicKey::new(&X25519, public);
        agree(&self.0.private, peer, LowOrder, |shared| {
            shared.try_into().map(Secret32).map_err(|_| LowOrder)
        })
    }
}

/// Public key of a private key.
#[must_use]
pub fn public_key(private: &Secret32) -> [u8; 32] {
    KeyPair::new(private).public()
}

/// True for the seven low-order encodings, with or without the top bit that X25519 ignores.
#[must_use]
pub fn is_low_order(public: &[u8; 32]) -> bool {
    let mut point = *public;
    point[31] &= 0x7f;
    LOW_ORDER.contains(&point)
}

/// 0, 1, the two points of order 8, p-1, p and p+1, little-endian (p = 2^255 - 19).
pub const LOW_ORDER: [[u8; 32]; 7] = [
    [0; 32],
    small(1),
    [
        0xe0, 0xeb, 0x7a, 0x7c, 0x3b, 0x41, 0xb8, 0xae, 0x16, 0x56, 0xe3, 0xfa, 0xf1, 0x9f, 0xc4,
        0x6a, 0xda, 0x09, 0x8d, 0xeb, 0x9c, 0x32, 0xb1, 0xfd, 0x86, 0x62, 0x05, 0x16, 0x5f, 0x49,
        0xb8, 0x00,
    ],
    [
        0x5f, 0x9c, 0x95, 0xbc, 0xa3, 0x50, 0x8c, 0x24, 0xb1, 0xd0, 0xb1, 0x55, 0x9c, 0x83, 0xef,
        0x5b, 0x04, 0x44, 0x5c, 0xc4, 0x58, 0x1c, 0x8e, 0x86, 0xd8, 0x22, 0x4e, 0xdd, 0xd0, 0x9f,
        0x11, 0x57,
    ],
    near_p(0xec),
    near_p(0xed),
    near_p(0xee),
];

/// The number `value`.
const fn small(value: u8) -> [u8; 32] {
    let mut point = [0; 32];
    point[0] = value;
    point
}

/// The number whose lowest byte is `low` and that is otherwise equal to p.
const fn near_p(low: u8) -> [u8; 32] {
    let mut point = [0xff; 32];
    point[0] = low;
    point[31] = 0x7f;
    point
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn all_low_order_encodings_are_refused() {
        let pair = KeyPair::new(&Secret32([7; 32]));
        for point in LOW_ORDER {
            for top in [0, 0x80] {
                let mut point = point;
                point[31] |= top;
                assert_eq!(pair.shared_secret(&point).err(), Some(LowOrder), "{point:02x?}");
                // The list says no more than the arithmetic does.
                let peer = UnparsedPublicKey::new(&X25519, &point);
                assert!(agree(&pair.0.private, peer, (), |_| Ok(())).is_err(), "{point:02x?}");
            }
        }
    }

    #[test]
    fn both_ends_compute_the_same() {
        let (a, b) = (KeyPair::new(&Secret32([1; 32])), KeyPair::new(&Secret32([2; 32])));
        let one = a.shared_secret(&b.public()).unwrap();
        let other = b.shared_secret(&a.public()).unwrap();
        assert_eq!(one.0, other.0);
        assert_ne!(one.0, [0; 32]);
    }
}
