//! RGI: second Noise message (`e, ee, s, es, psk2`), with the chosen group and the path part.
//!
//! ```text
//! header 24 | e_r 32 | rtag 16 | sealed s_r 48 | sealed payload 412 | path part 236 |
//! records nrec x 64 | mac1 16                                       784 to 1,232 bytes
//!
//! payload (396 + tag 16), for the initiator only:
//!   standing 2 | parameters 24 | source of the DDE as it came 16 |
//!   SHA-256 of the path part as sent 32 | certificate 322
//! path part, for every agent of the domain on the path:
//!   salt 16 | sealed (204 + tag 16):
//!   DDE digest 32 | flow 40 | initiator's tags 8 x 8 | responder's tags 8 x 8 | standing 2 | 0 0
//! record, appended by each agent between the ends:
//!   salt 16 | sealed (32 + tag 16):
//!   certificate reference 8 | stance 2 | matches 2 | time 4 | lmac 16
//! ```
//!
//! Tags in the path part are cut to 8 bytes: there they only tell an agent between the ends which
//! groups to look for, the ends agree on the full ones. The DDE digest binds e_i, time and flow
//! (see [`crate::dprp`]), so that an agent on the path needs to keep no state between messages.

use super::cursor::Reader;
use super::fields::{
    Consent, PARAMETERS_LEN, Place, Standing, emit_certificate, emit_flow, emit_parameters,
    read_certificate, read_flow, read_parameters,
};
use super::{
    CERTIFICATE_FIELD, FLOW_LEN, HEADER_LEN, Header, KEY_LEN, MAC_LEN, Malformed, SALT_LEN,
    SEAL_LEN,
};
use crate::dprp::SessionParameters;
use crate::flow::{HostPair, Ports};
use crate::limits::{MESSAGE_MAX, PATH_RECORDS, TAG_SLOTS};

/// Length of the opened payload.
const PAYLOAD_LEN: usize = 2 + PARAMETERS_LEN + ADDRESS_LEN + 32 + CERTIFICATE_FIELD;
/// Length of the Noise message without its ephemeral key.
const NOISE_LEN: usize = KEY_LEN + SEAL_LEN + PAYLOAD_LEN + SEAL_LEN;
/// Length of the opened path part.
const PATH_LEN: usize = 32 + FLOW_LEN + 2 * TAG_SLOTS * SHORT_TAG + 4;
/// Length of the path part as sent.
pub const SEALED_PATH_LEN: usize = SALT_LEN + PATH_LEN + SEAL_LEN;
/// Length of an address: IPv6, or IPv4 and zeros.
pub const ADDRESS_LEN: usize = 16;
/// Length of an opened record.
pub const RECORD_LEN: usize = 32;
/// Length of a record as sent.
pub const SEALED_RECORD_LEN: usize = SALT_LEN + RECORD_LEN + SEAL_LEN;
/// Length of a tag in the path part.
pub const SHORT_TAG: usize = 8;

/// Length of an RGI with all records.
pub const LONGEST: usize = HEADER_LEN
    + KEY_LEN
    + MAC_LEN
    + NOISE_LEN
    + SEALED_PATH_LEN
    + PATH_RECORDS * SEALED_RECORD_LEN
    + MAC_LEN;
const _: () = assert!(LONGEST <= MESSAGE_MAX);

/// Shortened tags in the path part.
pub type ShortTags = [[u8; SHORT_TAG]; TAG_SLOTS];

/// The clear parts of an RGI.
#[derive(Clone, Copy)]
pub struct RgiParts<'a> {
    /// The responder's ephemeral key.
    pub ephemeral: &'a [u8; KEY_LEN],
    /// Tag of the chosen group.
    pub rtag: &'a [u8; MAC_LEN],
    /// The Noise message without the ephemeral key in front.
    pub noise: &'a [u8],
    /// Sealed path part.
    pub path: &'a [u8; SEALED_PATH_LEN],
    /// Sealed records.
    pub records: &'a [[u8; SEALED_RECORD_LEN]],
}

impl<'a> RgiParts<'a> {
    /// Cuts a message into its parts.
    ///
    /// # Errors
    /// [`Malformed`] if the length does not fit the number of records.
    pub fn parse(header: &Header, message: &'a [u8]) -> Result<Self, Malformed> {
        Self::cut(header, message).ok_or(Malformed::new("RGI", "wrong length"))
    }

    fn cut(header: &Header, message: &'a [u8]) -> Option<Self> {
        let mut reader = Reader::new(message.get(HEADER_LEN..)?);
        let (ephemeral, rtag) = (reader.chunk()?, reader.chunk()?);
        let noise = reader.take(NOISE_LEN)?;
        let path = reader.chunk()?;
        let (records, cut) = reader.take(header.record_count() * SEALED_RECORD_LEN)?.as_chunks();
        let _mac1 = reader.chunk::<MAC_LEN>()?;
        (reader.is_empty() && cut.is_empty()).then_some(Self {
            ephemeral,
            rtag,
            noise,
            path,
            records,
        })
    }
}

/// What the responder tells the initiator alone.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RgiPayload {
    /// The responder's mode and role.
    pub standing: Standing,
    /// Where the responder receives.
    pub parameters: SessionParameters,
    /// Source address of the packet that brought the DDE, IPv4 in the first 4 bytes: behind a NAT
    /// it is not the flow's.
    pub observed: [u8; ADDRESS_LEN],
    /// SHA-256 of the sealed path part.
    pub path_hash: [u8; 32],
    /// The responder's certificate.
    pub certificate: Vec<u8>,
}

impl RgiPayload {
    /// Reads the opened payload.
    ///
    /// # Errors
    /// [`Malformed`] if any field is out of its range.
    pub fn parse(plaintext: &[u8]) -> Result<Self, Malformed> {
        Self::read(&mut Reader::new(plaintext)).ok_or(Malformed::new("RGI", "payload"))
    }

    /// The payload to seal.
    #[must_use]
    pub fn emit(&self) -> Vec<u8> {
        [
            self.standing.emit().as_slice(),
            &emit_parameters(self.parameters),
            &self.observed,
            &self.path_hash,
            &emit_certificate(&self.certificate),
        ]
        .concat()
    }

    fn read(reader: &mut Reader<'_>) -> Option<Self> {
        let payload = Self {
            standing: Standing::read(reader)?,
            parameters: read_parameters(reader)?,
            observed: reader.array()?,
            path_hash: reader.array()?,
            certificate: read_certificate(reader)?,
        };
        reader.is_empty().then_some(payload)
    }
}

/// What the responder tells every agent on the path.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RgiPath {
    /// Binds the DDE that is answered.
    pub digest: [u8; 32],
    /// The two hosts, as the initiator sees them.
    pub pair: HostPair,
    /// Protocol and ports.
    pub ports: Ports,
    /// The initiator's tag slots, shortened.
    pub initiator_tags: ShortTags,
    /// Tags of the responder's groups, shortened; unused slots are random.
    pub responder_tags: ShortTags,
    /// The responder's mode and role.
    pub standing: Standing,
}

impl RgiPath {
    /// Reads the opened path part.
    ///
    /// # Errors
    /// [`Malformed`] if any field is out of its range.
    pub fn parse(plaintext: &[u8]) -> Result<Self, Malformed> {
        Self::read(&mut Reader::new(plaintext)).ok_or(Malformed::new("RGI", "path part"))
    }

    /// The path part to seal. `None` if the flow mixes IP versions.
    #[must_use]
    pub fn emit(&self) -> Option<Vec<u8>> {
        let bytes = [
            self.digest.as_slice(),
            &emit_flow(self.pair, self.ports)?,
            self.initiator_tags.as_flattened(),
            self.responder_tags.as_flattened(),
            &self.standing.emit(),
            &[0, 0],
        ]
        .concat();
        Some(bytes)
    }

    fn read(reader: &mut Reader<'_>) -> Option<Self> {
        let digest = reader.array()?;
        let (pair, ports) = read_flow(reader)?;
        let (initiator_tags, responder_tags) = (read_tags(reader)?, read_tags(reader)?);
        let standing = Standing::read(reader)?;
        let sound = reader.u16()? == 0 && reader.is_empty();
        sound.then_some(Self { digest, pair, ports, initiator_tags, responder_tags, standing })
    }
}

pub(super) fn read_tags(reader: &mut Reader<'_>) -> Option<ShortTags> {
    let mut tags = [[0; SHORT_TAG]; TAG_SLOTS];
    for tag in &mut tags {
        *tag = reader.array()?;
    }
    Some(tags)
}

/// What one agent between the ends says.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Record {
    /// First 8 bytes of SHA-256 of its certificate.
    pub certificate_ref: [u8; 8],
    /// What it asks of what passes.
    pub consent: Consent,
    /// Whose side it is on.
    pub place: Place,
    /// Which of the initiator's and of the responder's tag slots it recognised.
    pub matches: [u8; 2],
    /// When it said so: low 32 bits of Unix time.
    pub time: u32,
    /// Its private MAC over what it said, by which it knows its own record again.
    pub lmac: [u8; MAC_LEN],
}

impl Record {
    /// Reads an opened record.
    ///
    /// # Errors
    /// [`Malformed`] if any field is out of its range.
    pub fn parse(plaintext: &[u8]) -> Result<Self, Malformed> {
        let mut reader = Reader::new(plaintext);
        Self::read(&mut reader)
            .filter(|_| reader.is_empty())
            .ok_or(Malformed::new("record", "field"))
    }

    /// The record to seal.
    #[must_use]
    pub fn emit(&self) -> [u8; RECORD_LEN] {
        let mut bytes = [0; RECORD_LEN];
        bytes[..8].copy_from_slice(&self.certificate_ref);
        bytes[8] = self.consent.emit();
        bytes[9] = self.place.emit();
        bytes[10..12].copy_from_slice(&self.matches);
        bytes[12..16].copy_from_slice(&self.time.to_be_bytes());
        bytes[16..].copy_from_slice(&self.lmac);
        bytes
    }

    pub(crate) fn read(reader: &mut Reader<'_>) -> Option<Self> {
        Some(Self {
            certificate_ref: reader.array()?,
            consent: Consent::read(reader)?,
            place: Place::read(reader)?,
            matches: reader.array()?,
            time: reader.u32()?,
            lmac: reader.array()?,
        })
    }
}
