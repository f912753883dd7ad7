//! Modes and roles of an agent (GSCIP: OP and CL; GES and GEN).

use core::net::IpAddr;

/// What an agent does with traffic of machines that share no group with it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Mode {
    /// Let it pass as plaintext (GSCIP: OP).
    Open,
    /// Refuse it (GSCIP: CL).
    Closed,
}

impl Mode {
    /// `open` or `closed`, as configuration, logs and JSON spell it.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Open => "open",
            Self::Closed => "closed",
        }
    }
}

/// What a closed agent asks of a session that two other agents hold through it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub enum Transit {
    /// Nobody else's session passes.
    Strict,
    /// One of the two ends is a member of one of this agent's groups.
    #[default]
    Vouched,
    /// Any session of two members of the domain passes.
    Any,
}

impl Transit {
    /// `strict`, `vouched` or `any`, as configuration, logs and JSON spell it.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Strict => "strict",
            Self::Vouched => "vouched",
            Self::Any => "any",
        }
    }
}

/// What an agent may stand for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Role {
    /// Software on a host (GES): stands for the host's own addresses.
    Host,
    /// A router in front of ordinary machines (GEN): stands for its certified prefixes.
    Router {
        /// Prefixes the management server certified.
        prefixes: Vec<Prefix>,
    },
}

/// An address range, `address/length`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Prefix {
    /// First address of the range.
    pub address: IpAddr,
    /// Number of leading bits that count.
    pub length: u8,
}

impl Prefix {
    /// True if `addr` lies in the range. An address of the other IP version never does.
    #[must_use]
    pub fn contains(&self, addr: IpAddr) -> bool {
        match (self.address, addr) {
            (IpAddr::V4(net), IpAddr::V4(ip)) => {
                let mask = u32::MAX.checked_shl(32 - u32::from(self.length.min(32))).unwrap_or(0);
                (u32::from(net) ^ u32::from(ip)) & mask == 0
            }
            (IpAddr::V6(net), IpAddr::V6(ip)) => {
                let mask =
                    u128::MAX.checked_shl(128 - u32::from(self.length.min(128))).unwrap_or(0);
                (u128::from(net) ^ u128::from(ip)) & mask == 0
            }
            (IpAddr::V4(_), IpAddr::V6(_)) | (IpAddr::V6(_), IpAddr::V4(_)) => false,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn prefix_truth_table() {
        let cases = [
            ("10.0.0.0", 8, "10.255.0.1", true),
            ("10.0.0.0", 8, "11.0.0.1", false),
            ("0.0.0.0", 0, "203.0.113.1", true),
            ("192.0.2.1", 32, "192.0.2.1", true),
            ("192.0.2.1", 32, "192.0.2.2", false),
            ("fd00::", 8, "fdff::1", true),
            ("fd00::", 8, "fe80::1", false),
            ("::", 0, "2001:db8::1", true),
            ("::", 0, "10.0.0.1", false),
        ];
        for (address, length, addr, inside) in cases {
            let prefix = Prefix { address: address.parse().unwrap(), length };
            assert_eq!(prefix.contains(addr.parse().unwrap()), inside, "{address}/{length} {addr}");
        }
    }
}
