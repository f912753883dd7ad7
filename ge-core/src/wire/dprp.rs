//! Bytes of the negotiation (DPRP): the header all messages share, and one file per message.
//!
//! Nothing here knows a key: sealed parts go in and out as bytes, [`crate::dprp`] seals and opens
//! them. The messages do not know their carrier either (ICMP echo, UDP, later the relay). All
//! numbers are big-endian, every length is checked before use, and what may be zero must be zero.
//!
//! ```text
//!  0       2   3    4     5    6     8               16              24
//! +-------+---+----+-----+----+-----+---------------+---------------+---
//! | "GE"  |ver|kind|flags|nrec| len | sid_i         | sid_r         |
//! +-------+---+----+-----+----+-----+---------------+---------------+---
//! ```
//!
//! `len` is the length of the whole message. `sid_i` and `sid_r` number the negotiation for its
//! initiator and its responder; `sid_r` is zero where no responder is known yet. `nrec` counts the
//! records of agents between the two ends. `flags` is zero. Every message ends with `mac1` (the
//! DDE: `mac1`, `mac2`), an HMAC under the domain key over everything before it; only the COOKIE has
//! its seal instead.
//!
//! | message | direction | clear | sealed | file |
//! |---|---|---|---|---|
//! | DDE | I → R | e_i | flow, mode, tags | [`dde`] |
//! | RGI | R → I | e_r, rtag | certificate, parameters; path part; records | [`rgi`] |
//! | MPIT | I → R | | parameters; path part with action table and signature | [`mpit`] |
//! | CDN | R → I | | key confirmation; path part with signature | [`cdn`] |
//! | NOMATCH | R → I | | certificate, mode, signature | [`nomatch`] |
//! | COOKIE | R → I | | cookie | [`cookie`] |
//!
//! Source: PROTOCOL.md 2.2 and 2.3.

pub mod cdn;
pub mod cookie;
pub(crate) mod cursor;
pub mod dde;
mod fields;
pub mod mpit;
pub mod nomatch;
pub mod rgi;
pub mod tlv;

pub use fields::{Consent, FLOW_LEN, Place, Standing, TableRow};
pub(crate) use fields::{emit_address, emit_flow, emit_parameters, read_address, read_flow};

use crate::cert::CERTIFICATE_MAX;
use crate::id::NegotiationId;
use crate::limits::{MESSAGE_MAX, PATH_RECORDS};
use cursor::Reader;

/// First two bytes of every message.
pub const MAGIC: [u8; 2] = *b"GE";
/// Version of the protocol.
pub const VERSION: u8 = 1;
/// Length of the header.
pub const HEADER_LEN: usize = 24;
/// Length of `mac1`, `mac2` and of a tag by which members recognise a group.
pub const MAC_LEN: usize = 16;
/// Length of a public key on the wire.
pub const KEY_LEN: usize = 32;
/// Length of an AEAD tag.
pub const SEAL_LEN: usize = 16;
/// Length of the random salt in front of a path part or record.
pub const SALT_LEN: usize = 16;
/// A certificate with its length, padded so that its size says nothing about its holder.
pub(crate) const CERTIFICATE_FIELD: usize = 2 + CERTIFICATE_MAX;

/// Why bytes are not a message of this protocol.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("malformed {message}: {what}")]
pub struct Malformed {
    /// Which message or part.
    pub message: &'static str,
    /// What is wrong with it.
    pub what: &'static str,
}

impl Malformed {
    pub(crate) const fn new(message: &'static str, what: &'static str) -> Self {
        Self { message, what }
    }
}

/// The messages.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Kind {
    /// Detect Destination End GE: who is at the other end?
    Dde,
    /// Report GE Information: the answer, with the chosen group.
    Rgi,
    /// Make Process Information Table: the decision, signed by the initiator.
    Mpit,
    /// Complete DPRP Negotiation: the same, signed by the responder.
    Cdn,
    /// The responder shares no group with the initiator.
    NoMatch,
    /// Show that you receive what is sent to your address.
    Cookie,
}

impl Kind {
    /// The byte in the header.
    #[must_use]
    pub const fn code(self) -> u8 {
        match self {
            Self::Dde => 1,
            Self::Rgi => 2,
            Self::Mpit => 3,
            Self::Cdn => 4,
            Self::NoMatch => 5,
            Self::Cookie => 6,
        }
    }

    const fn from_code(code: u8) -> Option<Self> {
        Some(match code {
            1 => Self::Dde,
            2 => Self::Rgi,
            3 => Self::Mpit,
            4 => Self::Cdn,
            5 => Self::NoMatch,
            6 => Self::Cookie,
            _ => return None,
        })
    }

    /// Whether the message travels towards the responder (an echo request) or back (a reply).
    #[must_use]
    pub const fn is_request(self) -> bool {
        matches!(self, Self::Dde | Self::Mpit)
    }

    const fn may_have_records(self) -> bool {
        matches!(self, Self::Rgi | Self::Mpit)
    }
}

/// The clear header.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Header {
    /// Which message.
    pub kind: Kind,
    /// Records of agents between the ends, at most [`PATH_RECORDS`].
    pub records: u8,
    /// Length of the whole message.
    pub length: u16,
    /// The negotiation as its initiator numbers it.
    pub sid_i: NegotiationId,
    /// The negotiation as its responder numbers it, or zero.
    pub sid_r: NegotiationId,
}

impl Header {
    /// The 24 bytes.
    #[must_use]
    pub fn emit(&self) -> [u8; HEADER_LEN] {
        let mut bytes = [0; HEADER_LEN];
        bytes[..2].copy_from_slice(&MAGIC);
        bytes[2] = VERSION;
        bytes[3] = self.kind.code();
        bytes[5] = self.records;
        bytes[6..8].copy_from_slice(&self.length.to_be_bytes());
        bytes[8..16].copy_from_slice(&self.sid_i.0);
        bytes[16..].copy_from_slice(&self.sid_r.0);
        bytes
    }

    /// Number of records as a length.
    #[must_use]
    pub fn record_count(&self) -> usize {
        usize::from(self.records)
    }
}

/// Reads the clear header of a payload, without any key. `None` if the payload is not one whole
/// message of this protocol and version. Nothing said here is authentic.
#[must_use]
pub fn peek(payload: &[u8]) -> Option<Header> {
    let mut reader = Reader::new(payload);
    if reader.array()? != MAGIC || reader.u8()? != VERSION {
        return None;
    }
    let kind = Kind::from_code(reader.u8()?)?;
    let (flags, records, length) = (reader.u8()?, reader.u8()?, reader.u16()?);
    let records_fit =
        if kind.may_have_records() { usize::from(records) <= PATH_RECORDS } else { records == 0 };
    let length_fits = usize::from(length) == payload.len() && payload.len() <= MESSAGE_MAX;
    if flags != 0 || !records_fit || !length_fits {
        return None;
    }
    let (sid_i, sid_r) = (NegotiationId(reader.array()?), NegotiationId(reader.array()?));
    Some(Header { kind, records, length, sid_i, sid_r })
}

/// Splits a message into the part that `mac1` covers and `mac1`. `None` if it is too short.
pub(crate) fn split_mac(message: &[u8]) -> Option<(&[u8], &[u8; MAC_LEN])> {
    message.split_last_chunk()
}

/// Puts a message together: header, `parts`; the macs are appended by the caller. `macs` is the
/// length they will have.
pub(crate) fn assemble(
    kind: Kind,
    records: usize,
    sids: (NegotiationId, NegotiationId),
    parts: &[&[u8]],
    macs: usize,
) -> Vec<u8> {
    let length = HEADER_LEN + parts.iter().map(|part| part.len()).sum::<usize>() + macs;
    let length = u16::try_from(length).expect("invariant: a message is at most MESSAGE_MAX long");
    let records = u8::try_from(records).expect("invariant: at most PATH_RECORDS records");
    let header = Header { kind, records, length, sid_i: sids.0, sid_r: sids.1 };
    let mut message = Vec::with_capacity(usize::from(length));
    message.extend_from_slice(&header.emit());
    parts.iter().for_each(|part| message.extend_from_slice(part));
    message
}
