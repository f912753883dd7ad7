//! CDN: key confirmation, and the decision signed by the responder.
//!
//! ```text
//! header 24 | confirmation 48 | path part 450 | mac1 16                          538 bytes
//!
//! confirmation (32 + tag 16), under a key of the new session:
//!   SHA-256 of the MPIT's path part as sent 32
//! path part, for every agent of the domain on the path:
//!   salt 16 | sealed (418 + tag 16):
//!   SHA-256 of the MPIT's path part as sent 32 | responder's certificate 322 | signature 64
//! ```

use super::cursor::Reader;
use super::fields::{emit_certificate, read_certificate};
use super::{HEADER_LEN, MAC_LEN, Malformed, SEAL_LEN};
use crate::crypto::sign::SIGNATURE_LEN;

/// Length of the sealed confirmation.
pub(crate) const CONFIRMATION_LEN: usize = 32 + SEAL_LEN;

/// The clear parts of a CDN.
#[derive(Clone, Copy)]
pub struct CdnParts<'a> {
    /// Everything the confirmation's seal also covers: the header.
    pub header: &'a [u8],
    /// Sealed key confirmation.
    pub confirmation: &'a [u8],
    /// Sealed path part.
    pub path: &'a [u8],
}

impl<'a> CdnParts<'a> {
    /// Cuts a message into its parts.
    ///
    /// # Errors
    /// [`Malformed`] if it is too short.
    pub fn parse(message: &'a [u8]) -> Result<Self, Malformed> {
        Self::cut(message).ok_or(Malformed::new("CDN", "too short"))
    }

    fn cut(message: &'a [u8]) -> Option<Self> {
        let mut reader = Reader::new(message);
        let header = reader.take(HEADER_LEN)?;
        let confirmation = reader.take(CONFIRMATION_LEN)?;
        let path = reader.take_until_last(MAC_LEN)?;
        Some(Self { header, confirmation, path })
    }
}

/// What the responder tells every agent on the path, and signs.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CdnPath {
    /// SHA-256 of the MPIT's sealed path part.
    pub mpit_hash: [u8; 32],
    /// The responder's certificate.
    pub certificate: Vec<u8>,
    /// Signature of the responder.
    pub signature: [u8; SIGNATURE_LEN],
}

impl CdnPath {
    /// Reads the opened path part.
    ///
    /// # Errors
    /// [`Malformed`] if any field is out of its range.
    pub fn parse(plaintext: &[u8]) -> Result<Self, Malformed> {
        Self::read(&mut Reader::new(plaintext)).ok_or(Malformed::new("CDN", "path part"))
    }

    /// The path part to seal.
    #[must_use]
    pub fn emit(&self) -> Vec<u8> {
        [self.mpit_hash.as_slice(), &emit_certificate(&self.certificate), &self.signature].concat()
    }

    fn read(reader: &mut Reader<'_>) -> Option<Self> {
        let path = Self {
            mpit_hash: reader.array()?,
            certificate: read_certificate(reader)?,
            signature: reader.array()?,
        };
        reader.is_empty().then_some(path)
    }
}
