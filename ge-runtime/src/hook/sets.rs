//! The sets: verdicts the kernel applies by itself, and our own connections.
//!
//! ```text
//! clear4 drop4 protect4   | remote 4  | local 4  |            with a timeout
//! clear6 drop6 protect6   | remote 16 | local 16 |            with a timeout
//! own4           | remote 4  | remote port 2, 0 0 | local port 2, 0 0 |
//! own6           | remote 16 | remote port 2, 0 0 | local port 2, 0 0 |
//! ```
//!
//! One element serves both directions: the chains load the addresses the other way round.

use super::ruleset::{V4, V6, Version};
use crate::nft::{Batch, Element, Set};
use ge_core::flow::HostPair;
use ge_core::io::KernelVerdict;
use ge_core::limits::{PIT_ROWS_HOST, PIT_ROWS_ROUTER};
use std::collections::BTreeMap;
use std::net::{IpAddr, SocketAddr};
use std::time::Duration;

/// Elements of a verdict set: every row of the PIT, and as many that have timed out but were not
/// yet collected by the kernel. An upper bound; the kernel takes memory as elements come.
#[expect(clippy::cast_possible_truncation, reason = "131072, 2097152")]
const fn verdicts(router: bool) -> u32 {
    2 * if router { PIT_ROWS_ROUTER as u32 } else { PIT_ROWS_HOST as u32 }
}

/// Connections of our own: the management server and a few while it moves.
const OWN_CONNECTIONS: u32 = 1024;

/// `nft`'s numbers for the parts of a key: `ipv4_addr`, `ipv6_addr`, `inet_service`.
const TYPE_V4: u32 = 7;
const TYPE_V6: u32 = 8;
const TYPE_PORT: u32 = 13;
/// Bits by which `nft` shifts one part's number to make room for the next.
const TYPE_BITS: u32 = 6;

/// Declares the sets of an IP version, verdicts as many as a host or a router has.
pub(super) fn declare(batch: &mut Batch, version: Version, router: bool) {
    let v4 = version.ether_type == V4.ether_type;
    let (address, len) = if v4 { (TYPE_V4, 4) } else { (TYPE_V6, 16) };
    for name in version.verdicts() {
        batch.add_set(&Set {
            name,
            key_len: 2 * len,
            key_type: (address << TYPE_BITS) | address,
            timeout: true,
            size: verdicts(router),
        });
    }
    batch.add_set(&Set {
        name: version.own,
        key_len: len + 8,
        key_type: (((address << TYPE_BITS) | TYPE_PORT) << TYPE_BITS) | TYPE_PORT,
        timeout: false,
        size: OWN_CONNECTIONS,
    });
}

/// Appends the changes. The last verdict on a pair counts; pairs of mixed IP versions, which no
/// packet can have, are passed over.
pub(super) fn change(batch: &mut Batch, verdicts: &[KernelVerdict]) {
    for version in [V4, V6] {
        let mut last = BTreeMap::new();
        for (pair, place) in verdicts.iter().map(|verdict| place(version, verdict)) {
            if let Some(key) = pair_key(version, pair) {
                last.insert(key, place);
            }
        }
        let every: Vec<Element> = last.keys().map(|key| (key.clone(), None)).collect();
        // Old kernels neither refresh an element that is there nor delete one that is not. Added,
        // deleted and added again within one transaction, it ends as wanted wherever it began.
        for set in version.verdicts() {
            let elements = last.iter().filter_map(|(key, place)| {
                let (_, lifetime) = place.filter(|(name, _)| *name == set)?;
                Some((key.clone(), Some(lifetime)))
            });
            let wanted: Vec<Element> = elements.collect();
            batch.add_elements(set, &every);
            batch.delete_elements(set, &every);
            batch.add_elements(set, &wanted);
        }
    }
}

/// Appends the registration of one of our own connections.
pub(super) fn add_own(batch: &mut Batch, remote: SocketAddr, local_port: u16) {
    let (set, element) = own_element(remote, local_port);
    batch.add_elements(set, &[element]);
}

/// Appends its end.
pub(super) fn delete_own(batch: &mut Batch, remote: SocketAddr, local_port: u16) {
    let (set, element) = own_element(remote, local_port);
    batch.add_elements(set, std::slice::from_ref(&element));
    batch.delete_elements(set, &[element]);
}

fn own_element(remote: SocketAddr, local_port: u16) -> (&'static str, Element) {
    let (set, mut key) = match remote.ip() {
        IpAddr::V4(address) => (V4.own, address.octets().to_vec()),
        IpAddr::V6(address) => (V6.own, address.octets().to_vec()),
    };
    for port in [remote.port(), local_port] {
        key.extend_from_slice(&port.to_be_bytes());
        key.extend_from_slice(&[0; 2]);
    }
    (set, (key, None))
}

fn pair_key(version: Version, pair: HostPair) -> Option<Vec<u8>> {
    match (pair.remote.0, pair.local.0) {
        (IpAddr::V4(remote), IpAddr::V4(local)) if version.ether_type == V4.ether_type => {
            Some([remote.octets(), local.octets()].concat())
        }
        (IpAddr::V6(remote), IpAddr::V6(local)) if version.ether_type == V6.ether_type => {
            Some([remote.octets(), local.octets()].concat())
        }
        _ => None,
    }
}

/// The pair of a verdict, and the set it is to be in, for how long.
const fn place(
    version: Version,
    verdict: &KernelVerdict,
) -> (HostPair, Option<(&'static str, Duration)>) {
    match *verdict {
        KernelVerdict::Bypass { pair, lifetime } => (pair, Some((version.clear, lifetime))),
        KernelVerdict::Discard { pair, lifetime } => (pair, Some((version.drop, lifetime))),
        KernelVerdict::Protect { pair, lifetime } => (pair, Some((version.protect, lifetime))),
        KernelVerdict::Forget { pair } => (pair, None),
    }
}
