//! Refusals: a code for programs, a sentence with the fix for people.

use serde::{Deserialize, Serialize};

/// Why a request was refused.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum ErrorCode {
    /// No such token, or not its secret.
    WrongToken,
    /// The token has no uses left.
    TokenUsed,
    /// The token's time is over.
    TokenExpired,
    /// An administrator took the token back.
    TokenRevoked,
    /// The token is for the other kind of agent.
    WrongKind,
    /// The identity key is a member already, by another token.
    AlreadyEnrolled,
    /// The member was removed from the domain.
    Removed,
    /// The identity key is not known.
    NotMember,
    /// The request came without a client certificate.
    NoIdentity,
    /// The request cannot be read.
    BadRequest,
    /// The server failed; asking again later may help.
    Internal,
    /// A code of a newer server.
    #[serde(other)]
    Unknown,
}

impl ErrorCode {
    /// Kebab-case spelling for metrics, logs and JSON.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::WrongToken => "wrong-token",
            Self::TokenUsed => "token-used",
            Self::TokenExpired => "token-expired",
            Self::TokenRevoked => "token-revoked",
            Self::WrongKind => "wrong-kind",
            Self::AlreadyEnrolled => "already-enrolled",
            Self::Removed => "removed",
            Self::NotMember => "not-member",
            Self::NoIdentity => "no-identity",
            Self::BadRequest => "bad-request",
            Self::Internal => "internal",
            Self::Unknown => "unknown",
        }
    }

    /// HTTP status it travels with.
    #[must_use]
    pub const fn status(self) -> u16 {
        match self {
            Self::BadRequest => 400,
            Self::NoIdentity => 401,
            Self::AlreadyEnrolled => 409,
            Self::Internal | Self::Unknown => 500,
            Self::Removed => 410,
            Self::NotMember => 404,
            Self::WrongToken
            | Self::TokenUsed
            | Self::TokenExpired
            | Self::TokenRevoked
            | Self::WrongKind => 403,
        }
    }
}

/// Body of every answer that is a refusal.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, thiserror::Error)]
#[error("{message}")]
pub struct ErrorBody {
    /// For programs.
    pub code: ErrorCode,
    /// For people: one sentence that names the fix.
    pub message: String,
}
