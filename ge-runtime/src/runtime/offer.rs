//! What a router offers to stand for when it enrols.

use crate::error::KernelError;
use crate::links::{self, Link};
use crate::options::{Prefix, RunOptions};
use crate::program::Program;
use ge_core::io::InterfaceInfo;
use mgmt_api::limits::REPORTED_SUBNETS;
use std::collections::BTreeSet;
use std::net::IpAddr;

/// The ranges named, or else the networks of all interfaces that are not outside. Nothing for a
/// host: it stands for itself alone.
///
/// # Errors
/// An interface that is not there, or no way to tell which are outside.
pub(super) fn offered(options: &RunOptions) -> Result<Vec<Prefix>, KernelError> {
    if options.program == Program::Ges || !options.protect.is_empty() {
        return Ok(options.protect.clone());
    }
    let outside = links::select(&options.interfaces)?;
    Ok(inside(&links::list()?, &outside))
}

fn inside(links: &[Link], outside: &[InterfaceInfo]) -> Vec<Prefix> {
    let is_outside =
        |link: &&Link| outside.iter().any(|info| info.interface == link.info.interface);
    let networks: BTreeSet<Prefix> = links
        .iter()
        .filter(|link| link.up && !is_outside(link))
        .flat_map(|link| &link.info.addresses)
        .filter(|(address, _)| is_routable(*address))
        .filter_map(|(address, length)| Prefix::covering(*address, *length))
        .collect();
    networks.into_iter().take(REPORTED_SUBNETS).collect()
}

/// True for addresses by which one machine knows another that is not on its own link.
fn is_routable(address: IpAddr) -> bool {
    match address {
        IpAddr::V4(v4) => !v4.is_loopback() && !v4.is_link_local(),
        IpAddr::V6(v6) => !v6.is_loopback() && !v6.is_unicast_link_local(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use ge_core::Interface;

    fn link(index: u32, up: bool, addresses: &[(&str, u8)]) -> Link {
        let addresses =
            addresses.iter().map(|(ip, length)| (ip.parse().unwrap(), *length)).collect();
        let interface = Interface(index);
        let name = format!("eth{index}");
        let info = InterfaceInfo { interface, name, mac: [0; 6], mtu: 1500, addresses };
        Link { info, up, ethernet: true }
    }

    #[test]
    fn networks_that_are_not_outside() {
        let links = [
            link(1, true, &[("127.0.0.1", 8), ("::1", 128)]),
            link(2, true, &[("192.0.2.9", 24), ("2001:db8::9", 64)]),
            link(3, true, &[("10.30.1.1", 24), ("fe80::1", 64), ("fd00:30::1", 64)]),
            link(4, true, &[("10.30.1.2", 24), ("169.254.3.4", 16)]),
            link(5, false, &[("10.99.0.1", 16)]),
        ];
        let found = inside(&links, &[links[1].info.clone()]);
        let found: Vec<String> = found.iter().map(ToString::to_string).collect();
        assert_eq!(found, ["10.30.1.0/24", "fd00:30::/64"]);
    }
}
