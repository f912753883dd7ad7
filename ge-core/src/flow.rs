//! What a PIT row covers.

use crate::addr::FlowAddr;
use crate::id::Interface;
use core::net::IpAddr;

/// An operating-system user, for rows that narrow to one.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct OwnerUid(pub u32);

/// Two hosts, as this agent sees them: `local` is ours (or of a machine we stand for).
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct HostPair {
    /// The side this agent stands for.
    pub local: FlowAddr,
    /// The other side.
    pub remote: FlowAddr,
}

impl HostPair {
    /// The pair `local` and `remote`.
    #[must_use]
    pub const fn new(local: IpAddr, remote: IpAddr) -> Self {
        Self { local: FlowAddr(local), remote: FlowAddr(remote) }
    }

    /// The same pair from the other side.
    #[must_use]
    pub const fn reversed(self) -> Self {
        Self { local: self.remote, remote: self.local }
    }
}

/// Transport protocol and ports of a flow, where they matter (first packet of a negotiation,
/// rules that name ports). Zero where the protocol has none. ICMP uses its identifier as port.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Ports {
    /// IP protocol number.
    pub protocol: u8,
    /// Port on the local side.
    pub local: u16,
    /// Port on the remote side.
    pub remote: u16,
}

/// Key of a PIT row. A row covers a host pair by default; `ports` and `owner` narrow it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct FlowKey {
    /// The two hosts.
    pub pair: HostPair,
    /// Only this protocol and these ports, where a rule names them.
    pub ports: Option<Ports>,
    /// Only this user's flows, where a rule names one.
    pub owner: Option<OwnerUid>,
}

impl FlowKey {
    /// The default scope: everything between two hosts.
    #[must_use]
    pub const fn host_pair(pair: HostPair) -> Self {
        Self { pair, ports: None, owner: None }
    }
}

/// Where a packet was captured: the interface it arrives on or leaves by.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Direction {
    /// A local program's packet about to leave by the interface.
    Outgoing(Interface),
    /// A packet that arrived on the interface.
    Incoming(Interface),
}

impl Direction {
    /// The interface, whichever way.
    #[must_use]
    pub const fn interface(self) -> Interface {
        match self {
            Self::Outgoing(interface) | Self::Incoming(interface) => interface,
        }
    }
}
