//! Parsers of packets and of the kernel's headers. What must hold is shared with the noise loops
//! of `ge-core/tests/packets`.

use crate::properties;
use ge_core::io::VNET_LEN;
use ge_core::wire::vnet::VnetHeader;

/// An IP packet: header chain, ports, echo, MSS option, TOS.
pub fn ip_parse(data: &[u8]) {
    properties::ip_parse(data);
}

/// An IP packet, as an ICMP error and as what one is about.
pub fn icmp_error(data: &[u8]) {
    properties::icmp_error(data);
}

/// `| vnet header 10 | packet |`.
pub fn vnet_hdr(data: &[u8]) {
    properties::vnet_hdr(data);
}

/// `| limit 16 | vnet header 10 | packet |`: cut, and put together again.
pub fn segment(data: &[u8]) {
    let Some((limit, rest)) = data.split_first_chunk::<2>() else { return };
    let Some((vnet, packet)) = rest.split_at_checked(VNET_LEN) else { return };
    let Ok(vnet) = VnetHeader::parse(vnet) else { return };
    properties::segment(&vnet, packet, usize::from(u16::from_be_bytes(*limit)));
}
