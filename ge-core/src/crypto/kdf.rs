//! Key derivation (HKDF-SHA256, RFC 5869) and message authentication (HMAC-SHA256, RFC 2104).
//!
//! Every derivation starts with a label that names the protocol version and the use, every input
//! has a fixed length, and every output is 32 bytes, so that no two derivations can be given the
//! same input by different meanings:
//!
//! ```text
//! domain key TK  -> Extract("gscip/1 tk" | domain 8 | epoch 4)            -> "psk" "mac1" "rec" "cookie"
//! group key GK   -> Extract("gscip/1 gk" | domain 8 | group 4 | epoch 4)  -> "psk" "tag"
//! Noise key      -> Extract("gscip/1 session" | handshake hash 32)        -> "traffic" "cdn"
//! traffic secret -> Extract("gscip/1 subkey")                             -> "sub" | counter bits 24..64,
//!                                                            "lane" | lane 1 | counter bits 24..64
//! ```
//!
//! Numbers are big-endian. Source: PROTOCOL.md 2.1.

use crate::id::{DomainId, Epoch, GroupId};
use crate::membership::Secret32;
use hkdf::Hkdf;
use hmac::{Hmac, KeyInit as _, Mac as _};
use sha2::Sha256;
use subtle::ConstantTimeEq as _;
use zeroize::{Zeroize, ZeroizeOnDrop};

/// Length of the truncated HMACs of the protocol (mac1, tags).
pub const MAC_LEN: usize = 16;

/// A pseudorandom key from which labelled keys are expanded. Wiped on drop.
#[derive(Clone, Zeroize, ZeroizeOnDrop)]
pub struct Prk([u8; 32]);

impl Prk {
    /// HKDF-Extract with the concatenated `salt` and the input key `ikm`.
    #[must_use]
    pub fn extract(salt: &[&[u8]], ikm: &[u8; 32]) -> Self {
        Self(Hkdf::<Sha256>::extract(Some(&salt.concat()), ikm).0.into())
    }

    /// HKDF-Expand to 32 bytes; the info is `label` followed by `context`.
    #[must_use]
    pub fn expand(&self, label: &str, context: &[u8]) -> Secret32 {
        let mut okm = Secret32([0; 32]);
        Hkdf::<Sha256>::from_prk(&self.0)
            .and_then(|hkdf| {
                hkdf.expand_multi_info(&[label.as_bytes(), context], &mut okm.0)
                    .map_err(|_| hkdf::InvalidPrkLength)
            })
            .expect("invariant: a 32-byte PRK and 32 bytes of output are always allowed");
        okm
    }
}

/// PRK of a domain key TK.
#[must_use]
pub fn domain_prk(domain: DomainId, epoch: Epoch, key: &Secret32) -> Prk {
    Prk::extract(&[b"gscip/1 tk", &domain.0, &epoch.0.to_be_bytes()], &key.0)
}

/// PRK of a group key GK.
#[must_use]
pub fn group_prk(domain: DomainId, group: GroupId, epoch: Epoch, key: &Secret32) -> Prk {
    let (group, epoch) = (group.0.to_be_bytes(), epoch.0.to_be_bytes());
    Prk::extract(&[b"gscip/1 gk", &domain.0, &group, &epoch], &key.0)
}

/// PRK of one direction of a session, from the key that Noise split off for it. The handshake hash
/// binds everything both ends saw.
#[must_use]
pub fn session_prk(handshake_hash: &[u8; 32], noise_key: &Secret32) -> Prk {
    Prk::extract(&[b"gscip/1 session", handshake_hash], &noise_key.0)
}

/// PRK of the subkeys of one traffic secret.
#[must_use]
pub fn subkey_prk(traffic: &Secret32) -> Prk {
    Prk::extract(&[b"gscip/1 subkey"], &traffic.0)
}

/// HMAC-SHA256 over the concatenation of `parts`.
#[must_use]
pub fn hmac(key: &Secret32, parts: &[&[u8]]) -> [u8; 32] {
    hmac_under(&key.0, parts)
}

fn hmac_under(key: &[u8], parts: &[&[u8]]) -> [u8; 32] {
    let mut mac =
        Hmac::<Sha256>::new_from_slice(key).expect("invariant: HMAC takes keys of every length");
    for part in parts {
        mac.update(part);
    }
    mac.finalize().into_bytes().into()
}

/// The first `N` bytes of HMAC-SHA256. `N` is at most 32.
#[must_use]
pub fn short_hmac<const N: usize>(key: &Secret32, parts: &[&[u8]]) -> [u8; N] {
    const { assert!(N <= 32) };
    let mut short = [0; N];
    short.copy_from_slice(&hmac(key, parts)[..N]);
    short
}

/// The same under a cookie, which is shorter than other keys.
pub(crate) fn short_hmac_under(cookie: &[u8; MAC_LEN], parts: &[&[u8]]) -> [u8; MAC_LEN] {
    let mut short = [0; MAC_LEN];
    short.copy_from_slice(&hmac_under(cookie, parts)[..MAC_LEN]);
    short
}

/// Constant-time comparison. False if the lengths differ.
#[must_use]
pub fn same(a: &[u8], b: &[u8]) -> bool {
    a.ct_eq(b).into()
}
