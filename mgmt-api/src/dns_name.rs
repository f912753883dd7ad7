//! Names of hosts as text, `db.example.org`, as DNS takes them (RFC 1035 2.3.4, RFC 1123 2.1).

use core::fmt;
use core::net::IpAddr;
use core::str::FromStr;
use serde::{Deserialize, Deserializer, Serialize, Serializer, de};

/// Longest name as text (RFC 1035 2.3.4).
const NAME_MAX: usize = 253;
/// Longest part of a name between two dots.
const LABEL_MAX: usize = 63;

/// A host's name: 1 to 253 bytes in labels of 1 to 63 letters, digits, `_` and `-`, none of which
/// begins or ends with `-`. In lower case, without a dot at the end.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct DnsName(String);

/// Why a text is not a name.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum DnsNameError {
    /// Not of that form.
    #[error(
        "{0:?} is neither an address range nor a host name; write it as 10.0.0.0/8, fc00::/7 or \
         db.example.org"
    )]
    Form(String),
    /// An address, which DNS is not asked for.
    #[error("{0} is an address; write it as a range, {0}/{1}")]
    Address(IpAddr, u8),
}

impl DnsName {
    /// The name.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl FromStr for DnsName {
    type Err = DnsNameError;

    fn from_str(text: &str) -> Result<Self, DnsNameError> {
        if let Ok(address) = text.parse::<IpAddr>() {
            return Err(DnsNameError::Address(address, if address.is_ipv4() { 32 } else { 128 }));
        }
        let name = text.strip_suffix('.').unwrap_or(text);
        let inner = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'_');
        let is_label = |label: &str| {
            (1..=LABEL_MAX).contains(&label.len())
                && label.bytes().all(inner)
                && !label.starts_with('-')
                && !label.ends_with('-')
        };
        // Names of digits only are addresses to some resolvers (RFC 3696 2).
        let last = name.rsplit('.').next().unwrap_or_default();
        let digits = last.bytes().all(|byte| byte.is_ascii_digit());
        if name.len() > NAME_MAX || digits || !name.split('.').all(is_label) {
            return Err(DnsNameError::Form(text.chars().take(NAME_MAX).collect()));
        }
        Ok(Self(name.to_ascii_lowercase()))
    }
}

impl fmt::Display for DnsName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(&self.0)
    }
}

impl Serialize for DnsName {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(&self.0)
    }
}

impl<'de> Deserialize<'de> for DnsName {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        String::deserialize(deserializer)?.parse().map_err(de::Error::custom)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_truth_table() {
        let long = format!("{}.a", ["a".repeat(63), "b".repeat(63)].join("."));
        let (label, name) = ("a".repeat(64), ["abcdefg"; 32].join("."));
        for (text, read) in [
            ("db.example.org", Some("db.example.org")),
            ("DB.Example.ORG.", Some("db.example.org")),
            ("printer", Some("printer")),
            ("_srv.x-1.example", Some("_srv.x-1.example")),
            (&long, Some(long.as_str())),
            (&label, None),
            (&name, None),
            ("", None),
            (".", None),
            ("a..b", None),
            (".a", None),
            ("-a.b", None),
            ("a-.b", None),
            ("a b", None),
            ("a/b", None),
            ("größe.example", None),
            ("*.example.org", None),
            ("10.1", None),
            ("10.0.0.1", None),
            ("fd00::1", None),
        ] {
            assert_eq!(
                text.parse::<DnsName>().ok().as_ref().map(DnsName::as_str),
                read,
                "{text:?}"
            );
        }
        let error = "10.0.0.1".parse::<DnsName>().unwrap_err().to_string();
        assert_eq!(error, "10.0.0.1 is an address; write it as a range, 10.0.0.1/32");
    }
}
