//! The REST contract between agents and the management server: paths, JSON bodies, error codes,
//! and the enrolment token people paste.
//!
//! Transport is HTTP/1.1 over TLS 1.3 with X25519MLKEM768. The server's key is pinned by its
//! [`Fingerprint`]; the agent's Ed25519 identity key is its TLS client certificate, so that every
//! request is proved and bound to the channel.
//!
//! | request | body | answer |
//! |---|---|---|
//! | `POST /v1/enrol` | [`EnrolRequest`] | [`Bundle`] |
//! | `POST /v1/renew` | [`RenewRequest`] | [`Bundle`] |
//! | `GET /v1/bundle?after=V` | – | [`Bundle`], or 204 after at most 25 s without a newer one |
//! | `GET /healthz` | – | `ok` |
//!
//! Everything else is an [`ErrorBody`] with a 4xx or 5xx status. Bodies only ever grow: unknown
//! fields are ignored. Public bytes are hexadecimal, secrets are base64 and have no `Debug`.
#![forbid(unsafe_code)]
#![warn(missing_docs)]

mod bundle;
mod dns_name;
mod error;
mod hex_bytes;
mod issuer;
pub mod limits;
pub mod path;
mod prefix;
mod request;
mod secret;
mod token;

pub use bundle::{Bundle, Group, KeyEpoch, Lease, Revocation};
pub use dns_name::{DnsName, DnsNameError};
pub use error::{ErrorBody, ErrorCode};
pub use hex_bytes::{HexBytes, HexVec};
pub use issuer::IssuerStatement;
pub use prefix::{Prefix, PrefixError};
pub use request::{EnrolRequest, Kind, Mode, RenewRequest, Transit};
pub use secret::Secret;
pub use token::{Fingerprint, ServerAddress, ServerAddressError, Token, TokenError};
