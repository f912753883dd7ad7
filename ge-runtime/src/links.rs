//! Interfaces as the kernel lists them, and a descriptor that says when to list them again.
//!
//! Nothing is tracked by event: whenever something changed, everything is listed anew. A lost
//! event then costs nothing, and there is one way to come to a state instead of two.

mod listing;

pub use listing::Listing;

use crate::error::KernelError;
use ge_core::id::Interface;
use ge_core::io::InterfaceInfo;
use netlink_packet_core::{
    NLM_F_DUMP, NLM_F_REQUEST, NetlinkHeader, NetlinkMessage, NetlinkPayload,
};
use netlink_packet_route::address::{AddressAttribute, AddressMessage};
use netlink_packet_route::link::{LinkAttribute, LinkFlags, LinkLayerType, LinkMessage};
use netlink_packet_route::route::{RouteAttribute, RouteHeader, RouteMessage, RouteType};
use netlink_packet_route::{AddressFamily, RouteNetlinkMessage};
use netlink_sys::{Socket, SocketAddr, protocols::NETLINK_ROUTE};
use std::collections::BTreeSet;
use std::io;
use std::net::IpAddr;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd};

/// Listings in a row that may be interrupted before it is given up to get one of one moment.
const DUMP_ATTEMPTS: usize = 4;

/// Groups of events: links, addresses and routes of both IP versions (`RTMGRP_*`).
const GROUPS: i32 = libc::RTMGRP_LINK
    | libc::RTMGRP_IPV4_IFADDR
    | libc::RTMGRP_IPV6_IFADDR
    | libc::RTMGRP_IPV4_ROUTE
    | libc::RTMGRP_IPV6_ROUTE;

/// One interface.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Link {
    /// Index, name, Ethernet address, MTU, addresses.
    pub info: InterfaceInfo,
    /// Administratively up.
    pub up: bool,
    /// Frames have Ethernet headers; only such interfaces can be hooked. Wi-Fi has them too.
    pub ethernet: bool,
}

/// Lists all interfaces with their addresses.
///
/// # Errors
/// A failed system call.
pub fn list() -> Result<Vec<Link>, KernelError> {
    let failed = |error| KernelError::io("list the network interfaces", error);
    let links = dump(RouteNetlinkMessage::GetLink(LinkMessage::default()))
        .and_then(whole)
        .map_err(failed)?;
    let addresses = dump(RouteNetlinkMessage::GetAddress(AddressMessage::default()))
        .and_then(whole)
        .map_err(failed)?;
    Ok(assemble(&links, &addresses))
}

/// Interfaces of one listing with the addresses of another.
#[must_use]
pub fn assemble(links: &[RouteNetlinkMessage], addresses: &[RouteNetlinkMessage]) -> Vec<Link> {
    let mut links: Vec<Link> = links
        .iter()
        .filter_map(|message| match message {
            RouteNetlinkMessage::NewLink(message) => Some(link(message)),
            _ => None,
        })
        .collect();
    for message in addresses {
        let RouteNetlinkMessage::NewAddress(message) = message else { continue };
        let owner = |link: &&mut Link| link.info.interface.0 == message.header.index;
        if let (Some(address), Some(link)) = (address(message), links.iter_mut().find(owner)) {
            link.info.addresses.push((address, message.header.prefix_len));
        }
    }
    links
}

/// Interfaces that a default route of the main table leaves by, in either IP version.
///
/// # Errors
/// A failed system call.
pub fn default_route_interfaces() -> Result<BTreeSet<Interface>, KernelError> {
    let mut found = BTreeSet::new();
    for family in [AddressFamily::Inet, AddressFamily::Inet6] {
        let mut message = RouteMessage::default();
        message.header.address_family = family;
        // Where thousands of routes come and go, no listing is of one moment; a default route that
        // is missed once is found when the next one changes.
        let routes = dump(RouteNetlinkMessage::GetRoute(message))
            .map_err(|error| KernelError::io("list the routes", error))?;
        found.extend(default_routes(&routes.objects));
    }
    Ok(found)
}

/// Interfaces that the default routes of a listing leave by.
pub fn default_routes(routes: &[RouteNetlinkMessage]) -> impl Iterator<Item = Interface> {
    routes.iter().flat_map(|message| match message {
        RouteNetlinkMessage::NewRoute(route) => default_route(route),
        _ => Vec::new(),
    })
}

/// The interfaces to hook: those named, or where none is named those with a default route.
///
/// # Errors
/// A name that is not there, or not Ethernet; no default route. Each says which there are.
pub fn select(names: &[String]) -> Result<Vec<InterfaceInfo>, KernelError> {
    let links = list()?;
    if names.is_empty() {
        return by_default_route(&links, &default_route_interfaces()?);
    }
    names.iter().map(|name| by_name(&links, name).cloned()).collect()
}

/// A descriptor that becomes readable when interfaces, addresses or routes changed.
pub struct LinkWatch(Socket);

impl LinkWatch {
    /// Opens the watch. List after opening, not before, and no change is missed.
    ///
    /// # Errors
    /// A failed system call.
    pub fn open() -> Result<Self, KernelError> {
        let open = || {
            let mut socket = Socket::new(NETLINK_ROUTE)?;
            socket.bind(&SocketAddr::new(0, GROUPS.cast_unsigned()))?;
            socket.set_non_blocking(true)?;
            Ok(Self(socket))
        };
        open().map_err(|error: io::Error| KernelError::io("watch the network interfaces", error))
    }

    /// Takes all events; whether there were any, or any were lost.
    ///
    /// # Errors
    /// A failed system call.
    pub fn drain(&self) -> io::Result<bool> {
        let mut changed = false;
        loop {
            match self.0.recv_from_full() {
                Ok(_) => changed = true,
                Err(error) if error.raw_os_error() == Some(libc::ENOBUFS) => changed = true,
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => return Ok(changed),
                Err(error) => return Err(error),
            }
        }
    }
}

impl AsFd for LinkWatch {
    fn as_fd(&self) -> BorrowedFd<'_> {
        // SAFETY: the socket is open as long as `self` is, and the borrow does not outlive it.
        unsafe { BorrowedFd::borrow_raw(self.0.as_raw_fd()) }
    }
}

fn by_name<'a>(links: &'a [Link], name: &str) -> Result<&'a InterfaceInfo, KernelError> {
    let link = links
        .iter()
        .find(|link| link.info.name == name)
        .ok_or_else(|| KernelError::NoInterface { name: name.to_owned(), present: names(links) })?;
    if !link.ethernet {
        return Err(KernelError::NotEthernet { name: name.to_owned(), present: names(links) });
    }
    Ok(&link.info)
}

fn by_default_route(
    links: &[Link],
    indices: &BTreeSet<Interface>,
) -> Result<Vec<InterfaceInfo>, KernelError> {
    let wanted = |link: &&Link| link.ethernet && indices.contains(&link.info.interface);
    let found: Vec<_> = links.iter().filter(wanted).map(|link| link.info.clone()).collect();
    if found.is_empty() {
        return Err(KernelError::NoDefaultRoute { present: names(links) });
    }
    Ok(found)
}

/// Names of interfaces that can be hooked.
fn names(links: &[Link]) -> String {
    let ethernet = links.iter().filter(|link| link.ethernet).map(|link| link.info.name.as_str());
    let list = ethernet.collect::<Vec<_>>().join(", ");
    if list.is_empty() { "none".to_owned() } else { list }
}

fn link(message: &LinkMessage) -> Link {
    let mut info = InterfaceInfo {
        interface: Interface(message.header.index),
        name: String::new(),
        mac: [0; 6],
        mtu: 0,
        addresses: Vec::new(),
    };
    let mut has_mac = false;
    for attribute in &message.attributes {
        match attribute {
            LinkAttribute::IfName(name) => info.name.clone_from(name),
            // The loopback's 65,536 does not fit and is not hooked.
            LinkAttribute::Mtu(mtu) => info.mtu = u16::try_from(*mtu).unwrap_or(u16::MAX),
            LinkAttribute::Address(address) => {
                if let Ok(mac) = address.as_slice().try_into() {
                    info.mac = mac;
                    has_mac = true;
                }
            }
            _ => {}
        }
    }
    let ethernet = has_mac && message.header.link_layer_type == LinkLayerType::Ether;
    Link { info, up: message.header.flags.contains(LinkFlags::Up), ethernet }
}

/// On point-to-point links `Address` is the other end's; `Local` is always ours where it is there.
fn address(message: &AddressMessage) -> Option<IpAddr> {
    let local = message.attributes.iter().find_map(|attribute| match attribute {
        AddressAttribute::Local(address) => Some(*address),
        _ => None,
    });
    local.or_else(|| {
        message.attributes.iter().find_map(|attribute| match attribute {
            AddressAttribute::Address(address) => Some(*address),
            _ => None,
        })
    })
}

fn default_route(message: &RouteMessage) -> Vec<Interface> {
    let header = &message.header;
    if header.destination_prefix_length != 0
        || header.kind != RouteType::Unicast
        || header.table != RouteHeader::RT_TABLE_MAIN
    {
        return Vec::new();
    }
    let mut found = Vec::new();
    for attribute in &message.attributes {
        match attribute {
            RouteAttribute::Oif(index) => found.push(Interface(*index)),
            RouteAttribute::MultiPath(hops) => {
                found.extend(hops.iter().map(|hop| Interface(hop.interface_index)));
            }
            _ => {}
        }
    }
    found
}

/// Refuses a listing that something changed under: what is missing there would be taken as gone,
/// and an interface without its rules, or an address that is not ours, sends in clear.
fn whole(listing: Listing) -> io::Result<Vec<RouteNetlinkMessage>> {
    if listing.interrupted {
        return Err(io::Error::other("they changed each time they were read"));
    }
    Ok(listing.objects)
}

/// Lists one kind of object, again if it changed meanwhile.
fn dump(request: RouteNetlinkMessage) -> io::Result<Listing> {
    let mut header = NetlinkHeader::default();
    header.flags = NLM_F_DUMP | NLM_F_REQUEST;
    let mut packet = NetlinkMessage::new(header, NetlinkPayload::from(request));
    packet.finalize();
    let mut bytes = vec![0; packet.buffer_len()];
    packet.serialize(&mut bytes);
    let mut socket = Socket::new(NETLINK_ROUTE)?;
    socket.bind_auto()?;
    let mut listing = Listing::default();
    for _ in 0..DUMP_ATTEMPTS {
        socket.send(&bytes, 0)?;
        listing = read_dump(&socket)?;
        if !listing.interrupted {
            break;
        }
    }
    Ok(listing)
}

/// Reads up to the end of a listing.
fn read_dump(socket: &Socket) -> io::Result<Listing> {
    let mut listing = Listing::default();
    while !listing.ended {
        let (bytes, _) = socket.recv_from_full()?;
        listing.take(&bytes)?;
    }
    Ok(listing)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn listing_that_was_interrupted_is_not_taken() {
        let link = RouteNetlinkMessage::NewLink(LinkMessage::default());
        let listing =
            |interrupted| Listing { objects: vec![link.clone()], interrupted, ended: true };
        assert!(whole(listing(true)).is_err());
        assert_eq!(whole(listing(false)).unwrap(), std::slice::from_ref(&link));
    }
}
