//! The enrolment token: one text to paste that says where the server is, which key it has, and
//! that the holder may join.
//!
//! `gst1_` followed by base64url (RFC 4648 5, no padding) of
//!
//! ```text
//! | version 1 | fingerprint 32 | id 8 | secret 32 | n 1 | n x ( length 2 | "host:port" ) | check 4 |
//! ```
//!
//! Numbers are big-endian. `check` is the start of SHA-256 over all before it: it tells a badly
//! copied token from a wrong one before anything is sent.

use crate::limits::{ADDRESS_BYTES, TOKEN_ADDRESSES};
use crate::{HexBytes, Secret};
use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use core::fmt;
use core::net::IpAddr;
use core::str::FromStr;
use serde::{Deserialize, Deserializer, Serialize, Serializer, de};
use sha2::{Digest, Sha256};
use zeroize::Zeroizing;

const TEXT_PREFIX: &str = "gst1_";
const VERSION: u8 = 1;
const CHECK_LEN: usize = 4;

/// An enrolment token. Its text is a secret: it is never on a command line and never logged.
#[derive(Clone, Debug)]
pub struct Token {
    /// Key the server must prove.
    pub fingerprint: Fingerprint,
    /// Which token, for `token list` and `token revoke`.
    pub id: HexBytes<8>,
    /// Proof of holding it.
    pub secret: Secret,
    /// Where the server is, in the order to try.
    pub servers: Vec<ServerAddress>,
}

/// Why a text is not a token.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum TokenError {
    /// It does not begin with the mark of a token.
    #[error(
        "this is not an enrolment token: it does not begin with gst1_; make one with `mgmt-server token create`"
    )]
    Form,
    /// Characters are missing or changed.
    #[error("the token is damaged: copy the whole line again, it is one piece without spaces")]
    Damaged,
    /// A newer server made it.
    #[error("the token is of a newer version than this agent understands; update the agent")]
    Version,
}

impl Token {
    /// The text to paste.
    #[must_use]
    pub fn encode(&self) -> Zeroizing<String> {
        let mut bytes = Zeroizing::new(vec![VERSION]);
        bytes.extend_from_slice(&self.fingerprint.0);
        bytes.extend_from_slice(&self.id.0);
        bytes.extend_from_slice(self.secret.expose());
        let servers: Vec<String> =
            self.servers.iter().take(TOKEN_ADDRESSES).map(ToString::to_string).collect();
        bytes.push(u8::try_from(servers.len()).unwrap_or(u8::MAX));
        for server in servers {
            bytes.extend_from_slice(&u16::try_from(server.len()).unwrap_or(u16::MAX).to_be_bytes());
            bytes.extend_from_slice(server.as_bytes());
        }
        let check = Sha256::digest(&bytes[..]);
        bytes.extend_from_slice(&check[..CHECK_LEN]);
        Zeroizing::new(format!(
            "{TEXT_PREFIX}{}",
            *Zeroizing::new(URL_SAFE_NO_PAD.encode(&bytes[..]))
        ))
    }
}

impl FromStr for Token {
    type Err = TokenError;

    fn from_str(text: &str) -> Result<Self, TokenError> {
        let body = text.trim().strip_prefix(TEXT_PREFIX).ok_or(TokenError::Form)?;
        let bytes = Zeroizing::new(URL_SAFE_NO_PAD.decode(body).map_err(|_| TokenError::Damaged)?);
        let (body, check) = bytes.split_last_chunk::<CHECK_LEN>().ok_or(TokenError::Damaged)?;
        if Sha256::digest(body)[..CHECK_LEN] != check[..] {
            return Err(TokenError::Damaged);
        }
        let (&version, body) = body.split_first().ok_or(TokenError::Damaged)?;
        if version != VERSION {
            return Err(TokenError::Version);
        }
        parse_version_1(body).ok_or(TokenError::Damaged)
    }
}

fn parse_version_1(bytes: &[u8]) -> Option<Token> {
    let (fingerprint, bytes) = bytes.split_first_chunk::<32>()?;
    let (id, bytes) = bytes.split_first_chunk::<8>()?;
    let (secret, bytes) = bytes.split_first_chunk::<32>()?;
    let (&count, mut bytes) = bytes.split_first()?;
    if count == 0 || usize::from(count) > TOKEN_ADDRESSES {
        return None;
    }
    let mut servers = Vec::with_capacity(usize::from(count));
    for _ in 0..count {
        let (length, rest) = bytes.split_first_chunk::<2>()?;
        let (server, rest) = rest.split_at_checked(usize::from(u16::from_be_bytes(*length)))?;
        servers.push(core::str::from_utf8(server).ok()?.parse().ok()?);
        bytes = rest;
    }
    bytes.is_empty().then(|| Token {
        fingerprint: HexBytes(*fingerprint),
        id: HexBytes(*id),
        secret: Secret::new(*secret),
        servers,
    })
}

/// SHA-256 of the DER SubjectPublicKeyInfo of the server's TLS certificate. The key, not the
/// certificate, so that the server may renew the certificate.
pub type Fingerprint = HexBytes<32>;

impl Fingerprint {
    /// Fingerprint of a DER SubjectPublicKeyInfo.
    #[must_use]
    pub fn of_spki(spki: &[u8]) -> Self {
        Self(Sha256::digest(spki).into())
    }
}

/// `host:port` of a server; the host is a name or an address.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct ServerAddress {
    host: String,
    port: u16,
}

/// A text that is not a server's address.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{0:?} is not a server address; write it as https://HOST:PORT")]
pub struct ServerAddressError(String);

impl ServerAddress {
    /// Name or address, IPv6 without brackets.
    #[must_use]
    pub fn host(&self) -> &str {
        &self.host
    }

    /// TCP port.
    #[must_use]
    pub const fn port(&self) -> u16 {
        self.port
    }
}

impl From<core::net::SocketAddr> for ServerAddress {
    fn from(addr: core::net::SocketAddr) -> Self {
        Self { host: addr.ip().to_string(), port: addr.port() }
    }
}

impl FromStr for ServerAddress {
    type Err = ServerAddressError;

    /// Takes `https://HOST:PORT`, with or without the scheme and a final slash.
    fn from_str(text: &str) -> Result<Self, ServerAddressError> {
        let error = || ServerAddressError(text.to_owned());
        let rest = text.strip_prefix("https://").unwrap_or(text);
        let rest = rest.strip_suffix('/').unwrap_or(rest);
        let (host, port) = rest.rsplit_once(':').ok_or_else(error)?;
        let port: u16 = port.parse().map_err(|_| error())?;
        let host = match host.strip_prefix('[').and_then(|host| host.strip_suffix(']')) {
            Some(inner) => inner.parse::<core::net::Ipv6Addr>().map_err(|_| error())?.to_string(),
            None => host.to_owned(),
        };
        let plain = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'.' | b'-' | b'_');
        let address = host.parse::<IpAddr>().is_ok();
        if port == 0
            || rest.len() > ADDRESS_BYTES
            || host.is_empty()
            || !(address || host.bytes().all(plain))
        {
            return Err(error());
        }
        Ok(Self { host, port })
    }
}

impl fmt::Display for ServerAddress {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.host.contains(':') {
            write!(f, "[{}]:{}", self.host, self.port)
        } else {
            write!(f, "{}:{}", self.host, self.port)
        }
    }
}

impl Serialize for ServerAddress {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for ServerAddress {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        String::deserialize(deserializer)?.parse().map_err(de::Error::custom)
    }
}
