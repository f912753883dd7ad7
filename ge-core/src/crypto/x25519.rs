//! X25519 (RFC 7748) that refuses points of low order.
//!
//! RFC 7748 section 6.1 leaves the check to the protocol. With such a point the shared secret does
//! not depend on our private key, so that a party could complete an exchange without contributing
//! to it; Noise is secure without the check, but a session whose keys a third party could know by
//! agreement of one end is never wanted here. The seven encodings are refused as they arrive, and
//! an all-zero result is refused too.

use crate::membership::Secret32;
use x25519_dalek::{PublicKey, StaticSecret};

/// A point whose order divides the cofactor: it carries no contribution of its sender.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("low-order X25519 point")]
pub struct LowOrder;

/// Public key of a private key.
#[must_use]
pub fn public_key(private: &Secret32) -> [u8; 32] {
    PublicKey::from(&StaticSecret::from(private.0)).to_bytes()
}

/// Shared secret of `private` and `public`.
///
/// # Errors
/// [`LowOrder`] if `public` is such a point, or the result does not depend on `private`.
pub fn shared_secret(private: &Secret32, public: &[u8; 32]) -> Result<Secret32, LowOrder> {
    if is_low_order(public) {
        return Err(LowOrder);
    }
    let shared = StaticSecret::from(private.0).diffie_hellman(&PublicKey::from(*public));
    if !shared.was_contributory() {
        return Err(LowOrder);
    }
    Ok(Secret32(shared.to_bytes()))
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
        let private = Secret32([7; 32]);
        for point in LOW_ORDER {
            for top in [0, 0x80] {
                let mut point = point;
                point[31] |= top;
                assert_eq!(shared_secret(&private, &point).err(), Some(LowOrder), "{point:02x?}");
                // The list says no more than the arithmetic does.
                let raw = StaticSecret::from(private.0).diffie_hellman(&PublicKey::from(point));
                assert!(!raw.was_contributory(), "{point:02x?}");
            }
        }
    }

    #[test]
    fn both_ends_compute_the_same() {
        let (a, b) = (Secret32([1; 32]), Secret32([2; 32]));
        let one = shared_secret(&a, &public_key(&b)).unwrap();
        let other = shared_secret(&b, &public_key(&a)).unwrap();
        assert_eq!(one.0, other.0);
        assert_ne!(one.0, [0; 32]);
    }
}
