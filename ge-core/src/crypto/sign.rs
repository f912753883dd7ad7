//! Ed25519 (RFC 8032) with strict verification: no small-order keys, no malleable signatures.
//!
//! Every signed text starts with a label that names the protocol version and the use, so that a
//! signature made for one purpose is never one for another.

use crate::membership::Secret32;
use aws_lc_rs::signature::{Ed25519KeyPair, KeyPair as _};
use ed25519_dalek::{Signature, VerifyingKey};

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
    VerifyingKey::from_bytes(key)
        .is_ok_and(|key| key.verify_strict(text, &Signature::from_bytes(signature)).is_ok())
}

#[cfg(test)]
mod tests {
    use super::*;

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

    #[test]
    fn keys_of_small_order_are_refused() {
        // With the neutral point as key and as R, s = 0 satisfies the plain equation for any text.
        let mut neutral = [0; 32];
        neutral[0] = 1;
        let mut signature = [0; SIGNATURE_LEN];
        signature[..32].copy_from_slice(&neutral);
        let plain = VerifyingKey::from_bytes(&neutral).unwrap();
        let believed = ed25519_dalek::Verifier::verify(&plain, b"x", &Signature::from(signature));
        assert!(believed.is_ok());
        assert!(!verify(&neutral, b"x", &signature));
    }
}
