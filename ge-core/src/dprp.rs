//! The negotiation (DPRP): four messages that are an authenticated key exchange.
//!
//! ```text
//! initiator                                       responder
//!   Initiator::create_dde  -- DDE:  psk0, e ------->  consume_dde -> ReceivedDde
//!                                                     ReceivedDde::answer -> Responder
//!   Initiator::consume_rgi <- RGI:  e, ee, s, es, psk2 --
//!   (Agreement)            -- MPIT: s, se ---------->  Responder::consume_mpit (Agreement)
//!   Initiator::consume_cdn <- CDN:  key confirmation --
//! ```
//!
//! The core is `Noise_XXpsk0+psk2_25519_ChaChaPoly_SHA256`: psk0 comes from the domain key, so that
//! every agent of the domain can read the first message and nobody else; psk2 comes from the key of
//! a group both ends hold, found by tags that only members recognise. Group keys seal no traffic.
//! Around the core lie the path parts, which tell agents between the ends what was agreed, signed
//! by both ends.
//!
//! Everything here is a function of its arguments: no table, no timer, no retry; those are the
//! engine's. A message that is refused changes nothing: the right one is still accepted later.
//! Source: PROTOCOL.md 2.

mod between;
mod cookie;
mod decide;
mod initiator;
mod noise;
mod offer;
mod path;
mod peer;
mod received;
mod reject;
mod responder;
mod tags;
mod transcript;

pub(crate) use between::reference;
pub use between::{Answered, Committed, Recorded, Tentative, Witness};
pub use cookie::{Cookie, CookieSecret, Questioned, create_cookie};
pub use initiator::{Initiator, NoMatch, RefusedPath};
pub use received::{ReceivedDde, SeenDde, Word, authenticate, consume_dde};
pub use reject::{CreateError, Fault, Reject};
pub use responder::Responder;

use crate::addr::WireAddr;
use crate::cert::Certificate;
use crate::flow::{HostPair, Ports};
use crate::id::{Epoch, GroupId, SessionIndex};
use crate::membership::Secret32;
use crate::mode::Mode;
use crate::traffic::AeadKind;
use crate::wire::dprp::rgi::Record;
use core::net::IpAddr;

/// What is negotiated, as its initiator sees it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Proposal {
    /// The two hosts; `local` is the source.
    pub pair: HostPair,
    /// Protocol and ports of the first packet, seen from the source.
    pub ports: Ports,
    /// Mode of the initiator.
    pub mode: Mode,
    /// The initiator speaks for another machine: it is a router.
    pub router: bool,
    /// What the initiator wants to know.
    pub purpose: Purpose,
}

/// What a negotiation is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Purpose {
    /// To protect the flow, if a group is shared.
    Protect,
    /// Only to learn whether an agent further on refuses the flow; no group is offered.
    Survey,
}

/// What a negotiation is bound to besides itself.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Binding {
    /// Nothing: the two agents have no session.
    Fresh,
    /// The session whose keys it renews.
    Rekey {
        /// Handshake hash of that session ([`Agreement::handshake_hash`]).
        previous: [u8; 32],
    },
}

/// What one end tells the other about its side of the session.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct SessionParameters {
    /// The index by which the sender of these parameters finds the session: 1 to 2^24-1.
    pub index: SessionIndex,
    /// UDP port on which it receives. Not zero.
    pub data_port: u16,
    /// Address at which it receives: the flow's own where it stands for itself.
    pub wire: WireAddr,
}

/// What a completed negotiation leaves. Secrets are wiped on drop.
pub struct Agreement {
    /// The group both ends hold.
    pub group: GroupId,
    /// Epoch of its key; the session ends with it.
    pub epoch: Epoch,
    /// The other end, verified.
    pub peer: Certificate,
    /// Mode of the other end.
    pub peer_mode: Mode,
    /// Where the other end receives.
    pub peer_parameters: SessionParameters,
    /// The initiator only: under which address the responder sees it, if that is not the flow's.
    pub seen_as: Option<IpAddr>,
    /// Agents between the two ends, the one nearest the responder first.
    pub path: Vec<Record>,
    /// Cipher of the traffic.
    pub aead: AeadKind,
    /// Traffic secret for sending.
    pub send: Secret32,
    /// Traffic secret for receiving.
    pub receive: Secret32,
    /// Names this exchange; equal at both ends, different for any two exchanges.
    pub handshake_hash: [u8; 32],
}

#[cfg(test)]
mod impostor;

/// A small domain with fixed keys.
#[cfg(test)]
#[allow(dead_code, unreachable_pub)]
#[path = "../tests/protocol/domain.rs"]
pub(crate) mod domain;
