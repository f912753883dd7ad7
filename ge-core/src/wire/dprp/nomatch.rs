//! NOMATCH: "an agent is here, and we share no group", signed.
//!
//! ```text
//! header 24 | salt 16 | sealed (486 + tag 16) | mac1 16                          558 bytes
//!
//! sealed, readable by every agent of the domain:
//!   e_i 32 | standing 2 | place 1 | refuses 1 | tags 8 x 8 | certificate 322 | signature 64
//! ```
//!
//! `sid_r` is zero: the responder keeps nothing. The ephemeral key of the DDE makes the answer fresh.
//! The tags let agents on the way back see whether they share a group with the responder, as those
//! of an RGI do.

use super::cursor::Reader;
use super::fields::{Place, Standing, emit_certificate, read_certificate};
use super::rgi::{ShortTags, read_tags};
use super::{HEADER_LEN, KEY_LEN, MAC_LEN, Malformed};
use crate::Mode;
use crate::crypto::sign::SIGNATURE_LEN;

/// The sealed part of a NOMATCH.
///
/// # Errors
/// [`Malformed`] if the message is too short.
pub fn sealed_part(message: &[u8]) -> Result<&[u8], Malformed> {
    message
        .get(HEADER_LEN..)
        .and_then(|rest| Reader::new(rest).take_until_last(MAC_LEN))
        .ok_or(Malformed::new("NOMATCH", "too short"))
}

/// The content of a NOMATCH.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct NoMatchFacts {
    /// Ephemeral key of the DDE that is answered.
    pub e_i: [u8; KEY_LEN],
    /// The responder's mode and role.
    pub standing: Standing,
    /// Whose side of the flow it is on.
    pub place: Place,
    /// The flow is refused for good, by somebody further on: whatever the mode, and whoever else could
    /// protect it.
    pub refuses: bool,
    /// Tags of its groups; unused slots are random.
    pub tags: ShortTags,
    /// The responder's certificate.
    pub certificate: Vec<u8>,
    /// Signature of the responder.
    pub signature: [u8; SIGNATURE_LEN],
}

impl NoMatchFacts {
    /// Reads the opened content.
    ///
    /// # Errors
    /// [`Malformed`] if any field is out of its range.
    pub fn parse(plaintext: &[u8]) -> Result<Self, Malformed> {
        Self::read(&mut Reader::new(plaintext)).ok_or(Malformed::new("NOMATCH", "facts"))
    }

    /// Its mode, as far as the flow in question goes.
    #[must_use]
    pub const fn word(&self) -> Mode {
        if self.refuses { Mode::Closed } else { self.standing.mode }
    }

    /// The content to seal.
    #[must_use]
    pub fn emit(&self) -> Vec<u8> {
        [
            self.e_i.as_slice(),
            &self.standing.emit(),
            &[self.place.emit(), u8::from(self.refuses)],
            self.tags.as_flattened(),
            &emit_certificate(&self.certificate),
            &self.signature,
        ]
        .concat()
    }

    fn read(reader: &mut Reader<'_>) -> Option<Self> {
        let (e_i, standing) = (reader.array()?, Standing::read(reader)?);
        let place = Place::read(reader)?;
        let refuses = match reader.u8()? {
            0 => false,
            1 => true,
            _ => return None,
        };
        let tags = read_tags(reader)?;
        let (certificate, signature) = (read_certificate(reader)?, reader.array()?);
        let facts = Self { e_i, standing, place, refuses, tags, certificate, signature };
        reader.is_empty().then_some(facts)
    }
}
