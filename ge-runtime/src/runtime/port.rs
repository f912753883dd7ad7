//! One queue of an interface under the hook, as a thread of the data path has it.

use crate::tun::TunQueue;
use ge_core::Interface;
use ge_core::flow::Direction;
use ge_core::io::{PACKET_AT, VNET_LEN};

/// What a thread beside the engine needs to know of an interface.
#[derive(Clone, PartialEq, Eq)]
pub(super) struct Port {
    pub(super) interface: Interface,
    pub(super) mac: [u8; 6],
    pub(super) mtu: u16,
    pub(super) queue: TunQueue,
}

/// Which way a captured frame goes, by its Ethernet source. The hook drops arriving frames that bear
/// our own address, so that nobody outside can make this say "outgoing". `None` for what is not a
/// captured IP frame: the kernel's own packets for the TUN carry no Ethernet header.
pub(super) fn direction(frame: &[u8], interface: Interface, mac: [u8; 6]) -> Option<Direction> {
    const IPV4: [u8; 2] = [0x08, 0x00];
    const IPV6: [u8; 2] = [0x86, 0xdd];
    let ethernet = frame.get(VNET_LEN..PACKET_AT)?;
    let version = frame.get(PACKET_AT)? >> 4;
    let ethertype = &ethernet[12..14];
    if !(ethertype == IPV4 && version == 4 || ethertype == IPV6 && version == 6) {
        return None;
    }
    Some(if ethernet[6..12] == mac {
        Direction::Outgoing(interface)
    } else {
        Direction::Incoming(interface)
    })
}
