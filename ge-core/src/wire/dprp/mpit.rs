//! MPIT: third Noise message (`s, se`) and the decision, signed by the initiator.
//!
//! ```text
//! header 24 | sealed s_i 48 | sealed payload 48 | path part | mac1 16      750 to 988 bytes
//!
//! payload (32 + tag 16), for the responder only:
//!   SHA-256 of the path part as sent 32
//! path part, for every agent of the domain on the path:
//!   salt 16 | sealed (+ tag 16):
//!   e_i 32 | e_r 32 | time stamp 8 | flow 40 | SHA-256 of the responder's certificate 32 |
//!   initiator's parameters 24 | responder's parameters 24 |
//!   initiator's certificate 322 | records nrec x 32 | action table (nrec + 2) x 2 | signature 64
//! ```
//!
//! The action table has one row per agent in the direction of the flow's first packet: the
//! initiator, the agents between, the responder. Records come in the order in which the RGI met
//! their agents: the one nearest the responder first. The parameters of both ends tell the agents
//! between which sealed datagrams are the session's.

use super::cursor::Reader;
use super::fields::{
    TableRow, emit_certificate, emit_parameters, read_certificate, read_parameters,
};
use super::rgi::Record;
use super::{FLOW_LEN, HEADER_LEN, Header, KEY_LEN, MAC_LEN, Malformed, SEAL_LEN};
use crate::crypto::sign::SIGNATURE_LEN;
use crate::dprp::SessionParameters;
use crate::now::UnixTime;

/// Length of the opened payload.
const PAYLOAD_LEN: usize = 32;
/// Length of the Noise message.
const NOISE_LEN: usize = KEY_LEN + SEAL_LEN + PAYLOAD_LEN + SEAL_LEN;

/// The clear parts of an MPIT.
#[derive(Clone, Copy)]
pub struct MpitParts<'a> {
    /// The Noise message.
    pub noise: &'a [u8],
    /// Sealed path part.
    pub path: &'a [u8],
}

impl<'a> MpitParts<'a> {
    /// Cuts a message into its parts.
    ///
    /// # Errors
    /// [`Malformed`] if it is too short.
    pub fn parse(message: &'a [u8]) -> Result<Self, Malformed> {
        Self::cut(message).ok_or(Malformed::new("MPIT", "too short"))
    }

    fn cut(message: &'a [u8]) -> Option<Self> {
        let mut reader = Reader::new(message.get(HEADER_LEN..)?);
        let noise = reader.take(NOISE_LEN)?;
        let path = reader.take_until_last(MAC_LEN)?;
        Some(Self { noise, path })
    }
}

/// What the initiator tells the responder alone.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct MpitPayload {
    /// SHA-256 of the sealed path part.
    pub path_hash: [u8; 32],
}

impl MpitPayload {
    /// Reads the opened payload.
    ///
    /// # Errors
    /// [`Malformed`] if any field is out of its range.
    pub fn parse(plaintext: &[u8]) -> Result<Self, Malformed> {
        Self::read(&mut Reader::new(plaintext)).ok_or(Malformed::new("MPIT", "payload"))
    }

    /// The payload to seal.
    #[must_use]
    pub fn emit(&self) -> Vec<u8> {
        self.path_hash.to_vec()
    }

    fn read(reader: &mut Reader<'_>) -> Option<Self> {
        let payload = Self { path_hash: reader.array()? };
        reader.is_empty().then_some(payload)
    }
}

/// What the initiator tells every agent on the path, and signs.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct MpitPath {
    /// The initiator's ephemeral key.
    pub e_i: [u8; KEY_LEN],
    /// The responder's ephemeral key.
    pub e_r: [u8; KEY_LEN],
    /// Time stamp of the DDE.
    pub timestamp: UnixTime,
    /// The flow, encoded.
    pub flow: [u8; FLOW_LEN],
    /// SHA-256 of the responder's certificate.
    pub responder_certificate_hash: [u8; 32],
    /// Where the initiator receives.
    pub initiator: SessionParameters,
    /// Where the responder receives.
    pub responder: SessionParameters,
    /// The initiator's certificate.
    pub certificate: Vec<u8>,
    /// Records as the RGI brought them.
    pub records: Vec<Record>,
    /// One row per agent on the path.
    pub table: Vec<TableRow>,
    /// Signature of the initiator.
    pub signature: [u8; SIGNATURE_LEN],
}

impl MpitPath {
    /// Reads the opened path part.
    ///
    /// # Errors
    /// [`Malformed`] if any field is out of its range or the number of records is not the header's.
    pub fn parse(header: &Header, plaintext: &[u8]) -> Result<Self, Malformed> {
        Self::read(header.record_count(), &mut Reader::new(plaintext))
            .ok_or(Malformed::new("MPIT", "path part"))
    }

    /// The path part to seal.
    #[must_use]
    pub fn emit(&self) -> Vec<u8> {
        [
            self.e_i.as_slice(),
            &self.e_r,
            &self.timestamp.0.to_be_bytes(),
            &self.flow,
            &self.responder_certificate_hash,
            &emit_parameters(self.initiator),
            &emit_parameters(self.responder),
            &emit_certificate(&self.certificate),
            &emit_decision(&self.records, &self.table),
            &self.signature,
        ]
        .concat()
    }

    fn read(records: usize, reader: &mut Reader<'_>) -> Option<Self> {
        let path = Self {
            e_i: reader.array()?,
            e_r: reader.array()?,
            timestamp: UnixTime(reader.u64()?),
            flow: reader.array()?,
            responder_certificate_hash: reader.array()?,
            initiator: read_parameters(reader)?,
            responder: read_parameters(reader)?,
            certificate: read_certificate(reader)?,
            records: (0..records).map(|_| Record::read(reader)).collect::<Option<_>>()?,
            table: (0..records + 2).map(|_| TableRow::read(reader)).collect::<Option<_>>()?,
            signature: reader.array()?,
        };
        reader.is_empty().then_some(path)
    }
}

/// Records and action table as they travel and are signed.
pub(crate) fn emit_decision(records: &[Record], table: &[TableRow]) -> Vec<u8> {
    let records = records.iter().flat_map(Record::emit);
    records.chain(table.iter().flat_map(|row| row.emit())).collect()
}
