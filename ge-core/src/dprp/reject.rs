//! Why a message was refused, and who is to blame.

use crate::DropReason;
use crate::cert::CertError;
use crate::id::GroupId;
use crate::mode::Mode;
use crate::wire::dprp::Malformed;

/// Why a negotiation cannot be started. All of them are local.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum CreateError {
    /// No domain key is in force.
    #[error("no domain key is in force")]
    NoDomainKey,
    /// No group key is in force.
    #[error("no group key is in force")]
    NoGroupKey,
    /// The agent's own certificate is not valid now.
    #[error("own certificate is not valid now")]
    Certificate,
    /// The two hosts have addresses of different IP versions.
    #[error("the two hosts have addresses of different IP versions")]
    MixedFamilies,
    /// The receiver index or data port is out of range.
    #[error("receiver index or data port is out of range")]
    Parameters,
}

/// Why a message was refused.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Reject {
    /// Not a message of the expected kind, or a field out of its range.
    #[error(transparent)]
    Malformed(#[from] Malformed),
    /// `mac1` is wrong: not of this domain.
    #[error("mac1 is wrong")]
    BadMac,
    /// A sealed part did not open.
    #[error("the {0} did not open")]
    BadSeal(&'static str),
    /// Sent too long ago or from the future, or under a key that has ended.
    #[error("stale")]
    Stale,
    /// Not a message this negotiation waits for.
    #[error("not expected now")]
    Unexpected,
    /// No tag of a group of ours.
    #[error("no common group")]
    NoCommonGroup,
    /// The other end, in this mode, denies a common group that its own certificate proves; its keys are
    /// of another epoch than ours. This must never count as an outsider's answer, nor as a refusal.
    #[error("the peer is a member of {0:?} but does not hold the key in force")]
    OtherEpoch(GroupId, Mode),
    /// An agent on the path is closed and not content with the two ends: its certificate's
    /// reference.
    #[error("an agent on the path lets nobody through")]
    NotContent([u8; 8]),
    /// The certificate is wrong.
    #[error(transparent)]
    BadCertificate(#[from] CertError),
    /// The certificate was revoked.
    #[error("the certificate is revoked")]
    Revoked,
    /// The signature over the decision is wrong.
    #[error("the signature over the decision is wrong")]
    BadSignature,
    /// Authentic, but against the rules.
    #[error("the peer broke a rule: {0}")]
    Misbehaved(&'static str),
    /// This agent cannot go on.
    #[error("{0}")]
    Own(#[from] CreateError),
}

/// Who must have made the bytes that were refused.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fault {
    /// Anybody: nothing about the bytes was authentic.
    Anybody,
    /// Some agent of the domain, or a network that repeats its messages.
    Domain,
    /// The agent that calls itself the other end.
    Peer,
    /// This agent itself.
    Own,
}

impl Reject {
    /// The counter it belongs to.
    #[must_use]
    pub const fn drop_reason(&self) -> DropReason {
        match self {
            Self::Malformed(_) => DropReason::Malformed,
            Self::BadMac => DropReason::BadMac,
            Self::BadSeal(_) => DropReason::BadTag,
            Self::Stale => DropReason::Stale,
            Self::BadCertificate(_) | Self::Revoked => DropReason::BadCertificate,
            Self::Unexpected
            | Self::NoCommonGroup
            | Self::OtherEpoch(..)
            | Self::NotContent(_)
            | Self::BadSignature
            | Self::Misbehaved(_)
            | Self::Own(_) => DropReason::BadMessage,
        }
    }

    /// Who is to blame.
    #[must_use]
    pub const fn fault(&self) -> Fault {
        match self {
            Self::Malformed(_) | Self::BadMac | Self::Unexpected => Fault::Anybody,
            Self::BadSeal(_) | Self::Stale | Self::NoCommonGroup | Self::NotContent(_) => {
                Fault::Domain
            }
            Self::OtherEpoch(..)
            | Self::BadCertificate(_)
            | Self::Revoked
            | Self::BadSignature
            | Self::Misbehaved(_) => Fault::Peer,
            Self::Own(_) => Fault::Own,
        }
    }
}
