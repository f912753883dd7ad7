//! `enrolment.json`: what enrolment fixed.

use mgmt_api::{Bundle, Fingerprint, HexBytes, ServerAddress};
use serde::{Deserialize, Serialize};

/// Version of the file's layout.
const FORMAT: u32 = 1;

/// Which server to believe, and who we are.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Enrolment {
    format: u32,
    /// Where the server is, in the order to try.
    pub servers: Vec<ServerAddress>,
    /// The key it must prove.
    pub fingerprint: Fingerprint,
    /// The key that vouches for issuing keys.
    pub root_key: HexBytes<32>,
    /// The domain.
    pub domain: HexBytes<8>,
    /// This agent.
    pub agent: HexBytes<16>,
}

impl Enrolment {
    /// The record of a first answer from the server whose key has this fingerprint.
    #[must_use]
    pub fn new(servers: Vec<ServerAddress>, fingerprint: Fingerprint, first: &Bundle) -> Self {
        Self {
            format: FORMAT,
            servers,
            fingerprint,
            root_key: first.root_key,
            domain: first.domain,
            agent: first.agent,
        }
    }
}

/// The file's bytes.
///
/// # Panics
/// Never: texts and numbers always serialise.
#[must_use]
pub fn emit(enrolment: &Enrolment) -> Vec<u8> {
    serde_json::to_vec_pretty(enrolment).expect("invariant: texts and numbers always serialise")
}

/// Reads it back; `None` if it is not what [`emit`] wrote, or of another layout.
#[must_use]
pub fn parse(bytes: &[u8]) -> Option<Enrolment> {
    let enrolment: Enrolment = serde_json::from_slice(bytes).ok()?;
    (enrolment.format == FORMAT).then_some(enrolment)
}
