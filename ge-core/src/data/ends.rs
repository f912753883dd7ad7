//! Who is at the two ends of a session, as its datagrams see it.

use crate::addr::WireAddr;
use crate::batch::Heading;
use crate::flow::HostPair;
use crate::id::Interface;
use core::net::IpAddr;

/// The two ends of a session.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Ends {
    /// The hosts, ours first.
    pub(crate) pair: HostPair,
    /// Under which address we send and receive, and the peer.
    pub(crate) wire: [WireAddr; 2],
    /// The peer's data port.
    pub(crate) peer_port: u16,
    /// The peer is behind a NAT: by which address it knows itself.
    pub(crate) translated: Option<IpAddr>,
}

impl Ends {
    /// The addresses on the wire are the flow's own: its IP header need not travel twice.
    pub(crate) fn wire_is_flow(&self) -> bool {
        self.wire[0].0 == self.pair.local.0 && self.wire[1].0 == self.pair.remote.0
    }

    /// How datagrams to the peer are addressed.
    pub(crate) const fn heading(&self, interface: Interface, tos: u8) -> Heading {
        Heading { from: self.wire[0], to: (self.wire[1], self.peer_port), interface, tos }
    }
}
