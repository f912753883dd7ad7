//! Ed25519 (RFC 8032) with strict verification: no small-order points, no second encoding of a key
//! or of a signature.
//!
//! The library refuses an `s` that is not reduced and compares encodings of `R`, so that `R` has one
//! encoding. What it leaves open is refused here before: a key that is not canonical, and a key or
//! an `R` of small order, with which one signature would hold for many texts or keys.
//!
//! Every signed text starts with a label that names the protocol version and the use, so that a
//! signature made for one purpose is never one for another.

use crate::membership::Secret32;
use aws_lc_rs::signature::{ED25519, Ed25519KeyPair, KeyPair as _, UnparsedPublicKey};

/// Length of a signature.
pub const SIGNATURE_LEN: usize = 64;

/// A private key ready to sign. Wiped on drop.
pub struct Signer(Ed25519KeyPair);

impl Signer {
    /// The signer of an Ed25519 seed. Any 32 bytes are one.
    #[must_use]
    pub fn new(seed: &Secret32) -> Self {
        let pair = Ed25519KeyPair::from_seed_unchecked(&seed.0)
            .expect("invariant: any 32 bytes are an Ed25519 seed");
        Self(pair)
    }

    /// The public key.
    #[must_use]
    pub fn public_key(&self) -> [u8; 32] {
        self.0
            .public_key()
            .as_ref()
            .try_into()
            .expect("invariant: an Ed25519 public key has 32 bytes")
    }

    /// Signs `text`. The same text always gets the same signature.
    #[must_use]
    pub fn sign(&self, text: &[u8]) -> [u8; SIGNATURE_LEN] {
        self.0.sign(text).as_ref().try_into().expect("invariant: an Ed25519 signature has 64 bytes")
    }
}

/// Public key of an Ed25519 seed.
#[must_use]
pub fn public_key(seed: &Secret32) -> [u8; 32] {
    Signer::new(seed).public_key()
}

/// Signs `text` once with the key of `seed`. Who signs often keeps a [`Signer`].
#[must_use]
pub fn sign(seed: &Secret32, text: &[u8]) -> [u8; SIGNATURE_LEN] {
    Signer::new(seed).sign(text)
}

/// True if `signature` over `text` is by `key`, strictly.
#[must_use]
pub fn verify(key: &[u8; 32], text: &[u8], signature: &[u8; SIGNATURE_LEN]) -> bool {
    let strict = |r| is_canonical(key) && !is_small_order(key) && !is_small_order(r);
    signature.first_chunk().is_some_and(strict)
        && UnparsedPublicKey::new(&ED25519, key).verify(text, signature).is_ok()
}

/// True if the y coordinate is below p = 2^255 - 19.
fn is_canonical(point: &[u8; 32]) -> bool {
    let [low, middle @ .., high] = point;
    *low < 0xed || high & 0x7f != 0x7f || middle.iter().any(|byte| *byte != 0xff)
}

/// True for the canonical encodings of the eight points whose order divides the cofactor.
fn is_small_order(point: &[u8; 32]) -> bool {
    let mut y = *point;
    y[31] &= 0x7f;
    SMALL_ORDER.contains(&y)
}

/// Their y coordinates, little-endian: 0 (order 4), 1 (neutral), p-1 (order 2), two of order 8.
const SMALL_ORDER: [[u8; 32]; 5] = [
    [0; 32],
    [
        0x01, 0x00, 0x00, 0x00, 0x00, 0x00, 0x00, 0x00, 0x00, 0x00, 0x00, 0x00, 0x00, 0x00, 0x00,
        0x00, 0x00, 0x00, 0x00, 0x00, 0x00, 0x00, 0x00, 0x00, 0x00, 0x00, 0x00, 0x00, 0x00, 0x00,
        0x00, 0x00,
    ],
    [
        0xec, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff,
        0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff,
        0xff, 0x7f,
    ],
    [
        0x26, 0xe8, 0x95, 0x8f, 0xc2, 0xb2, 0x27, 0xb0, 0x45, 0xc3, 0xf4, 0x89, 0xf2, 0xef, 0x98,
        0xf0, 0xd5, 0xdf, 0xac, 0x05, 0xd3, 0xc6, 0x33, 0x39, 0xb1, 0x38, 0x02, 0x88, 0x6d, 0x53,
        0xfc, 0x05,
    ],
    [
        0xc7, 0x17, 0x6a, 0x70, 0x3d, 0x4d, 0xd8, 0x4f, 0xba, 0x3c, 0x0b, 0x76, 0x0d, 0x10, 0x67,
        0x0f, 0x2a, 0x20, 0x53, 0xfa, 0x2c, 0x39, 0xcc, 0xc6, 0x4e, 0xc7, 0xfd, 0x77, 0x92, 0xac,
        0x03, 0x7a,
    ],
];

#[cfg(test)]
mod tests {
    use super::*;
    use ed25519_dalek::VerifyingKey;

    /// RFC 8032 section 7.1, tests 1 and 3.
    #[test]
    fn rfc_8032() {
        let vectors = [
            (
                "9d61b19deffd5a60ba844af492ec2cc44449c5697b326919703bac031cae7f60",
                "d75a980182b10ab7d54bfed3c964073a0ee172f3daa62325af021a68f707511a",
                "",
                "e5564300c360ac729086e2cc806e828a84877f1eb8e5d974d873e065224901555fb8821590a33bacc\
                 61e39701cf9b46bd25bf5f0595bbe24655141438e7a100b",
            ),
            (
                "c5aa8df43f9f837bedb7442f31dcb7b166d38535076f094b85ce3a2e0b4458f7",
                "fc51cd8e6218a1a38da47ed00230f0580816ed13ba3303ac5deb911548908025",
                "af82",
                "6291d657deec24024827e69c3abe01a30ce548a284743a445e3680d7db5ac3ac18ff9b538d16f290a\
                 e67f760984dc6594a7c15e9716ed28dc027beceea1ec40a",
            ),
        ];
        for (seed, public, text, signature) in vectors {
            let signer = Signer::new(&Secret32(hex::decode(seed).unwrap().try_into().unwrap()));
            let text = hex::decode(text).unwrap();
            assert_eq!(hex::encode(signer.public_key()), public);
            assert_eq!(hex::encode(signer.sign(&text)), signature);
            assert!(verify(&signer.public_key(), &text, &signer.sign(&text)));
        }
    }

    fn plainly_believed(key: &[u8; 32], signature: &[u8; SIGNATURE_LEN]) -> bool {
        UnparsedPublicKey::new(&ED25519, key).verify(b"x", signature).is_ok()
    }

    /// With the neutral point as key and as R, s = 0 satisfies the plain equation for any text.
    #[test]
    fn keys_of_small_order_are_refused() {
        let [_, neutral, ..] = SMALL_ORDER;
        let mut signature = [0; SIGNATURE_LEN];
        signature[..32].copy_from_slice(&neutral);
        assert!(plainly_believed(&neutral, &signature));
        assert!(!verify(&neutral, b"x", &signature));
    }

    /// Whoever has the key can sign with the neutral point as R: s = k a.
    #[test]
    fn r_of_small_order_is_refused() {
        let key = public_key(&Secret32([7; 32]));
        let signature = "0100000000000000000000000000000000000000000000000000000000000000\
                         a4891e33a334d8072916a4f6dbb444aa60171ecdef197f11f1f27f946953d30f";
        let signature = hex::decode(signature).unwrap().try_into().unwrap();
        assert!(plainly_believed(&key, &signature));
        assert!(!verify(&key, b"x", &signature));
    }

    #[test]
    fn the_list_has_all_points_of_small_order_and_no_other() {
        let mut points = std::collections::BTreeSet::new();
        for mut y in SMALL_ORDER {
            assert!(is_canonical(&y));
            for sign in [0, 0x80] {
                y[31] ^= sign;
                assert!(is_small_order(&y));
                let point = VerifyingKey::from_bytes(&y).unwrap();
                assert!(point.is_weak());
                points.insert(point.to_edwards().compress().to_bytes());
            }
        }
        assert_eq!(points.len(), 8);
        assert!(!is_small_order(&public_key(&Secret32([7; 32]))));
    }

    /// y = p + 3 is a second encoding of the point with y = 3.
    #[test]
    fn keys_are_canonical() {
        let mut y = [0xff; 32];
        y[31] = 0x7f;
        y[0] = 0xec;
        assert!(is_canonical(&y));
        for low in 0xed..=0xff {
            y[0] = low;
            for top in [0x7f, 0xff] {
                y[31] = top;
                assert!(!is_canonical(&y), "{low:x}");
            }
        }
        y[7] = 0xfe;
        assert!(is_canonical(&y));
    }
}
