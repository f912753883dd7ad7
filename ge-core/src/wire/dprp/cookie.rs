//! COOKIE, always 80 bytes: "I am busy; show that you receive what is sent to your address".
//!
//! ```text
//! header 24 | nonce 24 | sealed cookie 16 + tag 16
//! ```
//!
//! `sid_r` is zero: nothing is kept of who was told to come back. The seal is XChaCha20-Poly1305
//! under the domain's cookie key with the `mac1` of the DDE as associated data; it stands in place
//! of `mac1`, so that the message stays a fifth of what it answers. Source: PROTOCOL.md 2.3.

use super::dde::DDE_LEN;
use super::{HEADER_LEN, Kind, MAC_LEN, Malformed, SEAL_LEN, peek};
use crate::NegotiationId;

/// Length of the nonce of XChaCha20-Poly1305.
pub const NONCE_LEN: usize = 24;
/// Length of every COOKIE.
pub const COOKIE_LEN: usize = HEADER_LEN + NONCE_LEN + MAC_LEN + SEAL_LEN;
const _: () = assert!(COOKIE_LEN < DDE_LEN, "who has shown nothing gets less than it sent");

/// The parts of a COOKIE.
#[derive(Clone, Copy)]
pub struct CookieParts<'a> {
    /// Random.
    pub nonce: &'a [u8; NONCE_LEN],
    /// The cookie under its seal.
    pub sealed: &'a [u8],
}

impl<'a> CookieParts<'a> {
    /// Cuts a COOKIE for the negotiation `id` into its parts.
    ///
    /// # Errors
    /// [`Malformed`] if it is not a COOKIE of this negotiation, or not [`COOKIE_LEN`] long.
    pub fn parse(message: &'a [u8], id: NegotiationId) -> Result<Self, Malformed> {
        Self::cut(message, id).ok_or(Malformed::new("COOKIE", "header or length"))
    }

    fn cut(message: &'a [u8], id: NegotiationId) -> Option<Self> {
        let header = peek(message)?;
        let fits = header.kind == Kind::Cookie
            && header.sid_i == id
            && header.sid_r == NegotiationId::default()
            && message.len() == COOKIE_LEN;
        let (nonce, sealed) = message.get(HEADER_LEN..)?.split_first_chunk()?;
        fits.then_some(Self { nonce, sealed })
    }
}
