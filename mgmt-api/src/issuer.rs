//! The root key's word for an issuing key.

use crate::HexBytes;
use serde::{Deserialize, Serialize};

/// "This key signs certificates of the domain from then to then", signed by the root key.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct IssuerStatement {
    /// Ed25519 public key.
    pub key: HexBytes<32>,
    /// Unix seconds: certificates it signed count from here on.
    pub not_before: u64,
    /// Unix seconds: and until here.
    pub not_after: u64,
    /// Ed25519 signature by the root key over [`signed_bytes`](Self::signed_bytes).
    pub signature: HexBytes<64>,
}

impl IssuerStatement {
    /// What the root key signs; numbers are big-endian:
    ///
    /// ```text
    /// | "gscip/1 issuer" 14 | domain 8 | key 32 | not_before 8 | not_after 8 |
    /// ```
    #[must_use]
    pub fn signed_bytes(
        domain: &[u8; 8],
        key: &[u8; 32],
        not_before: u64,
        not_after: u64,
    ) -> Vec<u8> {
        let mut bytes = b"gscip/1 issuer".to_vec();
        bytes.extend_from_slice(domain);
        bytes.extend_from_slice(key);
        bytes.extend_from_slice(&not_before.to_be_bytes());
        bytes.extend_from_slice(&not_after.to_be_bytes());
        bytes
    }
}
