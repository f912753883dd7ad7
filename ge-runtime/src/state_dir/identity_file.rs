//! `identity.key`: the agent's private keys.
//!
//! ```text
//! | "gesid/1\n" 8 | Ed25519 seed 32 | X25519 private key 32 | check 4 |
//! ```
//!
//! `check` is the start of SHA-256 over all before it: a key with one bit wrong would be another
//! identity, and nobody would know why the server refuses it.

use ge_core::membership::{Identity, Secret32};
use sha2::{Digest, Sha256};
use zeroize::Zeroizing;

const MAGIC: &[u8; 8] = b"gesid/1\n";
const CHECK: usize = 4;
const LENGTH: usize = 8 + 32 + 32 + CHECK;

/// The file's bytes.
#[must_use]
pub fn emit(identity: &Identity) -> Zeroizing<Vec<u8>> {
    let mut bytes = Zeroizing::new(Vec::with_capacity(LENGTH));
    bytes.extend_from_slice(MAGIC);
    bytes.extend_from_slice(&identity.identity.0);
    bytes.extend_from_slice(&identity.noise_static.0);
    let check = Sha256::digest(&bytes[..]);
    bytes.extend_from_slice(&check[..CHECK]);
    bytes
}

/// Reads them back; `None` if they are not what [`emit`] wrote.
#[must_use]
pub fn parse(bytes: &[u8]) -> Option<Identity> {
    let (body, check) = bytes.split_last_chunk::<CHECK>()?;
    if Sha256::digest(body)[..CHECK] != check[..] {
        return None;
    }
    let (seed, private) = body.strip_prefix(MAGIC)?.split_first_chunk::<32>()?;
    let private: &[u8; 32] = private.try_into().ok()?;
    Some(Identity { identity: Secret32(*seed), noise_static: Secret32(*private) })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_changed_or_cut_file_is_refused() {
        let identity = Identity { identity: Secret32([1; 32]), noise_static: Secret32([2; 32]) };
        let bytes = emit(&identity);
        assert_eq!(bytes.len(), LENGTH);
        assert!(parse(&bytes).is_some_and(|read| emit(&read) == bytes));
        for place in 0..bytes.len() {
            let mut changed = bytes.clone();
            changed[place] ^= 1;
            assert!(parse(&changed).is_none(), "byte {place}");
            assert!(parse(&bytes[..place]).is_none(), "cut at {place}");
        }
    }
}
