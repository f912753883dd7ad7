//! Wycheproof vectors for every primitive, through the same door the protocol uses.

use super::{kdf, sign, x25519};
use crate::membership::Secret32;
use crate::traffic::AeadKind;
use aws_lc_rs::aead::{Aad, LessSafeKey, Nonce, UnboundKey};
use chacha20poly1305::aead::{Aead as _, Payload};
use chacha20poly1305::{ChaCha20Poly1305, KeyInit as _};
use wycheproof::{TestResult, aead, eddsa, hkdf, mac, xdh};

fn key32(bytes: &[u8]) -> Option<[u8; 32]> {
    bytes.try_into().ok()
}

#[test]
fn x25519_agrees_or_refuses() {
    let set = xdh::TestSet::load(xdh::TestName::X25519).unwrap();
    let (mut agreed, mut refused) = (0, 0);
    for test in set.test_groups.iter().flat_map(|group| &group.tests) {
        let private = Secret32(key32(&test.private_key).unwrap());
        let Some(public) = key32(&test.public_key) else { continue };
        match x25519::KeyPair::new(&private).shared_secret(&public) {
            Ok(shared) => {
                assert_eq!(shared.0.as_slice(), test.shared_secret.as_slice(), "{}", test.tc_id);
                assert_ne!(test.result, TestResult::Invalid, "{}", test.tc_id);
                agreed += 1;
            }
            Err(x25519::LowOrder) => {
                // Refused only where the vector's secret is all zero; never a valid one.
                assert_ne!(test.result, TestResult::Valid, "{}", test.tc_id);
                assert_eq!(test.shared_secret.as_slice(), [0; 32], "{}", test.tc_id);
                refused += 1;
            }
        }
    }
    assert!(agreed > 400 && refused >= 14, "{agreed} agreed, {refused} refused");
}

#[test]
fn ed25519_strict() {
    let set = eddsa::TestSet::load(eddsa::TestName::Ed25519).unwrap();
    let (mut valid, mut invalid) = (0, 0);
    for group in &set.test_groups {
        let key = key32(&group.key.pk).unwrap();
        for test in &group.tests {
            let signature: Option<&[u8; 64]> = test.sig.as_slice().try_into().ok();
            let believed = signature.is_some_and(|sig| sign::verify(&key, &test.msg, sig));
            assert_eq!(
                believed,
                test.result == TestResult::Valid,
                "{} {}",
                test.tc_id,
                test.comment
            );
            if believed { valid += 1 } else { invalid += 1 }
        }
    }
    assert!(valid > 50 && invalid > 50, "{valid} valid, {invalid} invalid");
}

/// Seals and opens each vector with 96-bit nonces and 128-bit tags: the only ones we use.
fn aead_vectors(
    name: aead::TestName,
    seal: impl Fn(&[u8; 32], [u8; 12], &[u8], &[u8]) -> Vec<u8>,
    open: impl Fn(&[u8; 32], [u8; 12], &[u8], &[u8]) -> Option<Vec<u8>>,
) {
    let set = aead::TestSet::load(name).unwrap();
    let (mut valid, mut invalid) = (0, 0);
    let groups = set
        .test_groups
        .iter()
        .filter(|group| (group.key_size, group.nonce_size, group.tag_size) == (256, 96, 128));
    for test in groups.flat_map(|group| &group.tests) {
        let (key, nonce) = (key32(&test.key).unwrap(), test.nonce.as_slice().try_into().unwrap());
        let sealed = [test.ct.as_slice(), &test.tag].concat();
        let opened = open(&key, nonce, &test.aad, &sealed);
        if test.result == TestResult::Valid {
            assert_eq!(opened.as_deref(), Some(test.pt.as_slice()), "open {}", test.tc_id);
            assert_eq!(seal(&key, nonce, &test.aad, &test.pt), sealed, "seal {}", test.tc_id);
            valid += 1;
        } else {
            assert_eq!(opened, None, "{}", test.tc_id);
            invalid += 1;
        }
    }
    assert!(valid > 30 && invalid > 20, "{valid} valid, {invalid} invalid");
}

fn traffic_key(kind: AeadKind, key: &[u8; 32]) -> LessSafeKey {
    LessSafeKey::new(UnboundKey::new(kind.algorithm(), key).unwrap())
}

fn traffic_vectors(name: aead::TestName, kind: AeadKind) {
    aead_vectors(
        name,
        |key, nonce, aad, text| {
            let mut sealed = text.to_vec();
            let nonce = Nonce::assume_unique_for_key(nonce);
            let tag = traffic_key(kind, key)
                .seal_in_place_separate_tag(nonce, Aad::from(aad), &mut sealed)
                .unwrap();
            sealed.extend_from_slice(tag.as_ref());
            sealed
        },
        |key, nonce, aad, sealed| {
            let nonce = Nonce::assume_unique_for_key(nonce);
            let mut sealed = sealed.to_vec();
            let opened = traffic_key(kind, key).open_in_place(nonce, Aad::from(aad), &mut sealed);
            opened.ok().map(|text| text.to_vec())
        },
    );
}

#[test]
fn traffic_aes_256_gcm() {
    traffic_vectors(aead::TestName::AesGcm, AeadKind::Aes256Gcm);
}

#[test]
fn traffic_chacha20_poly1305() {
    traffic_vectors(aead::TestName::ChaCha20Poly1305, AeadKind::ChaCha20Poly1305);
}

#[test]
fn control_chacha20_poly1305() {
    aead_vectors(
        aead::TestName::ChaCha20Poly1305,
        |key, nonce, aad, msg| {
            ChaCha20Poly1305::new(&(*key).into())
                .encrypt(&nonce.into(), Payload { msg, aad })
                .unwrap()
        },
        |key, nonce, aad, msg| {
            ChaCha20Poly1305::new(&(*key).into()).decrypt(&nonce.into(), Payload { msg, aad }).ok()
        },
    );
}

#[test]
fn hkdf_sha256() {
    let set = hkdf::TestSet::load(hkdf::TestName::HkdfSha256).unwrap();
    let mut used = 0;
    for test in set.test_groups.iter().flat_map(|group| &group.tests) {
        // Our keys are 32 bytes, and so is what we derive.
        let Some(ikm) = key32(&test.ikm) else { continue };
        if test.result != TestResult::Valid || test.okm.len() < 32 {
            continue;
        }
        let okm = kdf::Prk::extract(&[&test.salt], &ikm).expand("", &test.info);
        assert_eq!(okm.0.as_slice(), &test.okm[..32], "{}", test.tc_id);
        used += 1;
    }
    assert!(used > 10, "{used} used");
}

#[test]
fn hmac_sha256() {
    let set = mac::TestSet::load(mac::TestName::HmacSha256).unwrap();
    let (mut valid, mut invalid) = (0, 0);
    for group in set.test_groups.iter().filter(|group| group.key_size == 256) {
        for test in &group.tests {
            let key = Secret32(key32(&test.key).unwrap());
            let whole = kdf::hmac(&key, &[&test.msg]);
            let same = kdf::same(&whole[..group.tag_size / 8], &test.tag);
            assert_eq!(same, test.result == TestResult::Valid, "{}", test.tc_id);
            if same { valid += 1 } else { invalid += 1 }
        }
    }
    assert!(valid > 20 && invalid > 20, "{valid} valid, {invalid} invalid");
}
