//! What the two ends sign.
//!
//! ```text
//! decision = domain 8 | sid_i 8 | sid_r 8 | e_i 32 | e_r 32 | flow 40 | time stamp 8 | nrec 1 |
//!            records | action table | parameters of I 24 | parameters of R 24 |
//!            SHA-256(cert_I) 32 | SHA-256(cert_R) 32
//! sig_I    = Ed25519(IK_I, "gscip/1 mpit" | decision)
//! sig_R    = Ed25519(IK_R, "gscip/1 cdn"  | decision | SHA-256(MPIT path part as sent))
//! NOMATCH  = Ed25519(IK_R, "gscip/1 nomatch" | domain 8 | sid_i 8 | e_i 32 | standing 2 |
//!                          place 1 | refuses 1 | tags 64 | SHA-256(cert_R) 32)
//! ```

use super::SessionParameters;
use super::path::Sids;
use crate::crypto;
use crate::id::{DomainId, NegotiationId};
use crate::now::UnixTime;
use crate::wire::dprp::mpit::emit_decision;
use crate::wire::dprp::nomatch::NoMatchFacts;
use crate::wire::dprp::rgi::Record;
use crate::wire::dprp::{FLOW_LEN, TableRow, emit_parameters};

/// Everything both ends agree on.
pub(super) struct Decision<'a> {
    pub(super) domain: DomainId,
    pub(super) sids: Sids,
    pub(super) e_i: &'a [u8; 32],
    pub(super) e_r: &'a [u8; 32],
    pub(super) flow: &'a [u8; FLOW_LEN],
    pub(super) timestamp: UnixTime,
    pub(super) records: &'a [Record],
    pub(super) table: &'a [TableRow],
    pub(super) initiator: SessionParameters,
    pub(super) responder: SessionParameters,
    pub(super) cert_i_hash: &'a [u8; 32],
    pub(super) cert_r_hash: &'a [u8; 32],
}

impl Decision<'_> {
    /// The fields in the order above, without a label.
    pub(super) fn emit(&self) -> Vec<u8> {
        [
            self.domain.0.as_slice(),
            &self.sids.0.0,
            &self.sids.1.0,
            self.e_i,
            self.e_r,
            self.flow,
            &self.timestamp.0.to_be_bytes(),
            &[self.records.len() as u8],
            &emit_decision(self.records, self.table),
            &emit_parameters(self.initiator),
            &emit_parameters(self.responder),
            self.cert_i_hash,
            self.cert_r_hash,
        ]
        .concat()
    }
}

/// The text of the initiator's signature.
pub(super) fn mpit_text(decision: &[u8]) -> Vec<u8> {
    [b"gscip/1 mpit", decision].concat()
}

/// The text of the responder's signature.
pub(super) fn cdn_text(decision: &[u8], mpit_hash: &[u8; 32]) -> Vec<u8> {
    [b"gscip/1 cdn", decision, mpit_hash].concat()
}

/// The text of a NOMATCH's signature.
pub(super) fn nomatch_text(
    domain: DomainId,
    sid_i: NegotiationId,
    facts: &NoMatchFacts,
) -> Vec<u8> {
    let NoMatchFacts { e_i, standing, place, refuses, tags, certificate, signature: _ } = facts;
    let hash = crypto::sha256(&[certificate]);
    let label: &[u8] = b"gscip/1 nomatch";
    let (standing, place) = (standing.emit(), [place.emit(), u8::from(*refuses)]);
    [label, &domain.0, &sid_i.0, e_i, &standing, &place, tags.as_flattened(), &hash].concat()
}
