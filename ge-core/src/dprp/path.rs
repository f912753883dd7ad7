//! Sealing of what agents between the ends may read: path parts, records, and the NOMATCH.
//!
//! ```text
//! sealed = salt 16 | ChaCha20-Poly1305(key, nonce 0, plaintext)
//! key    = HMAC(K_rec, "gscip/1 path" | use 1 | sid_i | sid_r | salt)
//! ```
//!
//! `K_rec` comes from the domain key. The salt is random, so that two writers never share a key;
//! the use byte keeps one part from being taken for another, the numbers of the negotiation keep
//! it from being moved to another negotiation.

use crate::NegotiationId;
use crate::crypto::seal::{open_once, seal_once};
use crate::crypto::{self, Rng, kdf};
use crate::membership::Secret32;
use crate::wire::dprp::{Header, SALT_LEN};

/// What is sealed.
#[derive(Clone, Copy)]
pub(super) enum Use {
    Rgi = 1,
    Record = 2,
    Mpit = 3,
    Cdn = 4,
    NoMatch = 5,
}

/// The numbers of a negotiation: the initiator's, the responder's.
pub(super) type Sids = (NegotiationId, NegotiationId);

pub(super) fn sids(header: &Header) -> Sids {
    (header.sid_i, header.sid_r)
}

/// Seals `plaintext` under a fresh key.
pub(super) fn seal(
    record_key: &Secret32,
    part: Use,
    sids: Sids,
    plaintext: &[u8],
    rng: &mut Rng,
) -> Vec<u8> {
    let salt: [u8; SALT_LEN] = crypto::random(rng);
    let sealed = seal_once(&key(record_key, part, sids, &salt), &[], plaintext);
    [salt.as_slice(), &sealed].concat()
}

/// Opens what [`seal`] sealed for the same use and negotiation.
pub(super) fn open(record_key: &Secret32, part: Use, sids: Sids, sealed: &[u8]) -> Option<Vec<u8>> {
    let (salt, sealed) = sealed.split_first_chunk::<SALT_LEN>()?;
    open_once(&key(record_key, part, sids, salt), &[], sealed)
}

fn key(record_key: &Secret32, part: Use, sids: Sids, salt: &[u8; SALT_LEN]) -> Secret32 {
    let label: &[u8] = b"gscip/1 path";
    Secret32(kdf::hmac(record_key, &[label, &[part as u8], &sids.0.0, &sids.1.0, salt]))
}
