//! DDE, always 416 bytes: first Noise message (`psk0, e`), readable by every agent of the domain.
//!
//! ```text
//! header 24 | e_i 32 | sealed 328 | mac1 16 | mac2 16
//!
//! sealed under psk0 and e_i (312 + tag 16):
//!   time stamp 8 | flow 40 | standing 2 | 0 0 | 8 tag slots x 16 | options 132
//! ```
//!
//! A tag slot holds the tag of one of the initiator's groups or random bytes; which is which, and
//! in what order, only members can tell. `mac2` is zero, or an HMAC under a cookie: who is under load
//! looks at it, and nobody else does.

use super::cursor::Reader;
use super::fields::{Standing, read_flow};
use super::{FLOW_LEN, HEADER_LEN, KEY_LEN, Kind, MAC_LEN, Malformed, SEAL_LEN, peek, tlv};
use crate::flow::{HostPair, Ports};
use crate::limits::TAG_SLOTS;
use crate::now::UnixTime;

/// Length of every DDE: padded so that the longest RGI is less than three times as long, and nobody
/// gains by asking in a victim's name.
pub const DDE_LEN: usize = 416;
const _: () = assert!(crate::wire::dprp::rgi::LONGEST <= 3 * DDE_LEN);
/// Length of the sealed content.
pub const FACTS_LEN: usize = DDE_LEN - HEADER_LEN - KEY_LEN - SEAL_LEN - 2 * MAC_LEN;
/// Length of the option area.
const OPTIONS_LEN: usize = FACTS_LEN - 8 - FLOW_LEN - 4 - TAG_SLOTS * MAC_LEN;

/// Tags by which members recognise a group; unused slots are random.
pub type Tags = [[u8; MAC_LEN]; TAG_SLOTS];

/// What stays the same when a request is sent again: of a DDE all but `mac2`, which comes with a
/// cookie; of an MPIT all.
#[must_use]
pub fn lasting(request: &[u8]) -> &[u8] {
    let is_dde = peek(request).is_some_and(|header| header.kind == Kind::Dde);
    let kept = request.len() - if is_dde { MAC_LEN.min(request.len()) } else { 0 };
    &request[..kept]
}

/// The clear parts of a DDE.
#[derive(Clone, Copy)]
pub struct DdeParts<'a> {
    /// The initiator's ephemeral key.
    pub ephemeral: &'a [u8; KEY_LEN],
    /// The first Noise message: `ephemeral` and the sealed facts.
    pub noise: &'a [u8],
    /// Everything `mac1` covers.
    pub covered: &'a [u8],
    /// HMAC under the domain key.
    pub mac1: &'a [u8; MAC_LEN],
    /// HMAC under the cookie, or zeros.
    pub mac2: &'a [u8; MAC_LEN],
}

impl<'a> DdeParts<'a> {
    /// Cuts a message into its parts.
    ///
    /// # Errors
    /// [`Malformed`] if the length is not [`DDE_LEN`].
    pub fn parse(message: &'a [u8]) -> Result<Self, Malformed> {
        Self::cut(message).ok_or(Malformed::new("DDE", "wrong length"))
    }

    fn cut(message: &'a [u8]) -> Option<Self> {
        let message: &[u8; DDE_LEN] = message.try_into().ok()?;
        let (rest, mac2) = message.split_last_chunk::<MAC_LEN>()?;
        let (covered, mac1) = rest.split_last_chunk::<MAC_LEN>()?;
        let noise = covered.get(HEADER_LEN..)?;
        let ephemeral = noise.first_chunk()?;
        Some(Self { ephemeral, noise, covered, mac1, mac2 })
    }
}

/// The sealed content of a DDE.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct DdeFacts {
    /// When it was sent.
    pub timestamp: UnixTime,
    /// The two hosts, as the initiator sees them.
    pub pair: HostPair,
    /// Protocol and ports of the first packet.
    pub ports: Ports,
    /// The initiator's mode and role.
    pub standing: Standing,
    /// Tags of the initiator's groups.
    pub tags: Tags,
    /// Encoded options.
    pub options: [u8; OPTIONS_LEN],
}

impl DdeFacts {
    /// No options.
    pub const NO_OPTIONS: [u8; OPTIONS_LEN] = [0; OPTIONS_LEN];

    /// Reads the opened content.
    ///
    /// # Errors
    /// [`Malformed`] if any field is out of its range.
    pub fn parse(plaintext: &[u8]) -> Result<Self, Malformed> {
        let facts =
            Self::read(&mut Reader::new(plaintext)).ok_or(Malformed::new("DDE", "facts"))?;
        tlv::parse(&facts.options)?;
        Ok(facts)
    }

    /// The content to seal; `flow` is the encoded pair and ports.
    #[must_use]
    pub fn emit(&self, flow: &[u8; FLOW_LEN]) -> Vec<u8> {
        [
            &self.timestamp.0.to_be_bytes(),
            flow.as_slice(),
            &self.standing.emit(),
            &[0, 0],
            self.tags.as_flattened(),
            &self.options,
        ]
        .concat()
    }

    fn read(reader: &mut Reader<'_>) -> Option<Self> {
        let timestamp = UnixTime(reader.u64()?);
        let (pair, ports) = read_flow(reader)?;
        let standing = Standing::read(reader)?;
        if reader.u16()? != 0 {
            return None;
        }
        let mut tags = [[0; MAC_LEN]; TAG_SLOTS];
        for tag in &mut tags {
            *tag = reader.array()?;
        }
        let options = reader.array()?;
        reader.is_empty().then_some(Self { timestamp, pair, ports, standing, tags, options })
    }
}
