//! Caps of the contract, each with its reason. Both sides enforce them.

use core::time::Duration;

/// A request body is never larger: the largest is an enrolment with its subnets, under 4 KiB.
pub const REQUEST_BYTES: usize = 16 * 1024;
/// An answer is never larger: 10,000 revocations of about 240 bytes each fit.
pub const RESPONSE_BYTES: usize = 4 * 1024 * 1024;
/// How long the server holds a request for news. Below the 30 s after which many middle boxes
/// forget an idle TCP connection.
pub const LONG_POLL: Duration = Duration::from_secs(25);
/// Groups per member: the certificate has eight commits (PROTOCOL.md 2.1).
pub const GROUPS_PER_MEMBER: usize = 8;
/// Prefixes per router: the certificate has three (PROTOCOL.md 2.1).
pub const PREFIXES_PER_ROUTER: usize = 3;
/// Subnets an agent may offer when it enrols: what one machine's interfaces can plausibly have.
pub const REPORTED_SUBNETS: usize = 64;
/// Address ranges one token may allow its routers: as many as an organisation's sites share.
pub const PREFIXES_PER_TOKEN: usize = 64;
/// Address ranges in each list of the policy: every member gets all of them.
pub const POLICY_PREFIXES: usize = 1024;
/// Names in the list of what must be protected: each agent asks its resolver for all of them again
/// and again.
pub const POLICY_NAMES: usize = 64;
/// Length of a member's or group's name: one DNS label (RFC 1035 2.3.4).
pub const NAME_BYTES: usize = 63;
/// Server addresses in one token: as many servers as one domain will run.
pub const TOKEN_ADDRESSES: usize = 8;
/// Length of one `host:port` in a token: a DNS name (253) and a port.
pub const ADDRESS_BYTES: usize = 253 + 6;

/// True if `name` may name a member or a group: 1 to 63 letters, digits, `.`, `_` and `-`,
/// beginning with a letter or digit. Safe in a shell, a log line and a table.
#[must_use]
pub fn is_name(name: &str) -> bool {
    let rest = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'.' | b'_' | b'-');
    name.len() <= NAME_BYTES
        && name.bytes().next().is_some_and(|byte| byte.is_ascii_alphanumeric())
        && name.bytes().all(rest)
}
