//! The guard: destinations that must be protected are refused by the kernel whatever becomes of the
//! agent, in open mode too. A table of its own, since the other one goes with an open agent:
//!
//! ```text
//! table netdev gsguard, persistent, behind gsagent {
//!   chain gin_eth0   ingress, IP only      chain gout_eth0   egress
//!     IPv4 jump gin4, IPv6 jump gin6         mark is ours   accept
//!     policy accept                          IPv4 jump gout4, IPv6 jump gout6
//!                                            policy accept
//!   chain gin4 gin6                        chain gout4 gout6
//!     group bit                accept        group bit                accept
//!     our data port            accept        [router: others' sealed data accept]
//!     DHCP, IGMP, MLD, ND      accept        DHCP, IGMP, MLD, ND      accept
//!     management server        accept        management server        accept
//!     from the server's port   accept
//!     source must be protected  drop         target must be protected  drop
//! }
//! ```
//! While the agent lives it sees packets first: what it takes never comes here, what it sends bears
//! its mark. What comes here are packets that `gsagent` accepts by itself, or that no `gsagent` is
//! there for.

use super::HookConfig;
use super::ruleset::{
    PORT_SOURCE, PORT_TARGET, TCP, UDP, V4, V6, Version, Way, dhcp, group, ip, management_server,
    neighbours, octets, protocol,
};
use crate::nft::{Base, Batch, Field, HookPoint, Rule, Set, Verdict};
use std::net::IpAddr;

/// Name of the guard's table, as `nft list tables` shows it.
pub const GUARD: &str = "gsguard";

/// Single addresses: those of 64 names with 256 each.
const ADDRESSES: u32 = 16_384;
/// Behind the chains of `gsagent`, which have priority 0.
const BEHIND: i32 = 10;

/// What the kernel is to refuse without the agent.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Guard {
    /// Ranges: address and length.
    pub ranges: Vec<(IpAddr, u8)>,
    /// Single addresses.
    pub addresses: Vec<IpAddr>,
    /// Ports of management servers, whose answers must come in.
    pub server_ports: Vec<u16>,
}

impl Guard {
    /// True if there is nothing to refuse.
    #[must_use]
    pub const fn is_empty(&self) -> bool {
        self.ranges.is_empty() && self.addresses.is_empty()
    }
}

/// The transaction that puts the guard in place of an older one; that takes it away, if there is
/// nothing to refuse.
pub(super) fn replace(config: &HookConfig, flags: u32) -> Batch {
    let mut batch = Batch::new(GUARD);
    batch.add_table(None);
    batch.delete_table();
    if config.guard.is_empty() {
        return batch;
    }
    batch.add_table(Some(flags));
    for version in [V4, V6] {
        addresses(&mut batch, &config.guard, version);
        refusals(&mut batch, config, version, Way::In);
        refusals(&mut batch, config, version, Way::Out);
    }
    for interface in &config.interfaces {
        let name = &interface.name;
        let (inner, outer) = (format!("gin_{name}"), format!("gout_{name}"));
        let accept = Verdict::Accept;
        batch.add_base_chain_at(BEHIND, &inner, HookPoint::Ingress, name, accept);
        batch.add_base_chain_at(BEHIND, &outer, HookPoint::Egress, name, accept);
        let ours = Rule::default().meta_is(libc::NFT_META_MARK, &config.mark.to_ne_bytes());
        batch.add_rule(&outer, "our mark", &ours.verdict(accept));
        for version in [V4, V6] {
            for (chain, target) in
                [(&inner, chain(version, Way::In)), (&outer, chain(version, Way::Out))]
            {
                let jump = ip(version).verdict(Verdict::Jump(target));
                batch.add_rule(chain, "IP", &jump);
            }
        }
    }
    batch
}

const fn chain(version: Version, way: Way) -> &'static str {
    match (version.is_v4(), way) {
        (true, Way::In) => "gin4",
        (true, Way::Out) => "gout4",
        (false, Way::In) => "gin6",
        (false, Way::Out) => "gout6",
    }
}

const fn set(version: Version) -> &'static str {
    if version.is_v4() { "must4" } else { "must6" }
}

fn addresses(batch: &mut Batch, guard: &Guard, version: Version) {
    let (key_type, key_len) = if version.is_v4() { (7, 4) } else { (8, 16) };
    let name = set(version);
    batch.add_set(&Set { name, key_len, key_type, timeout: false, size: ADDRESSES });
    let keys = guard.addresses.iter().filter_map(|address| octets(*address, version));
    let elements: Vec<_> = keys.map(|key| (key, None)).collect();
    batch.add_elements(name, &elements);
}

fn refusals(batch: &mut Batch, config: &HookConfig, version: Version, way: Way) {
    let chain = chain(version, way);
    batch.add_chain(chain);
    batch.add_rule(chain, "group", &group(Rule::default()).verdict(Verdict::Accept));
    sealed_data(batch, chain, config, version, way);
    dhcp(batch, chain, version);
    neighbours(batch, chain, version);
    management_server(batch, chain, config, version, way);
    let address = match way {
        Way::In => version.source,
        Way::Out => version.target,
    };
    if way == Way::In {
        for port in &config.guard.server_ports {
            let rule = protocol(version, TCP).equals(PORT_SOURCE, &port.to_be_bytes());
            batch.add_rule(chain, "from the server's port", &rule.verdict(Verdict::Accept));
        }
    }
    let rule = Rule::default().in_set(&[address], set(version)).counted();
    batch.add_rule(chain, "must be protected", &rule.verdict(Verdict::Drop));
    for (first, length) in &config.guard.ranges {
        let Some(first) = octets(*first, version) else { continue };
        let rule = in_range(address, &first, *length).counted().verdict(Verdict::Drop);
        batch.add_rule(chain, "must be protected", &rule);
    }
}

/// Sealed data that arrives may be ours; at a router also others'. A host's own program that sends
/// to that port has no mark and is refused as any other.
fn sealed_data(batch: &mut Batch, chain: &str, config: &HookConfig, version: Version, way: Way) {
    let sealed = || protocol(version, UDP).equals(PORT_TARGET, &config.data_port.to_be_bytes());
    match (&config.router, way) {
        (_, Way::In) => {
            batch.add_rule(chain, "sealed data", &sealed().verdict(Verdict::Accept));
        }
        (None, Way::Out) => {}
        (Some(router), Way::Out) => {
            let own = router.addresses.iter().filter_map(|address| octets(*address, version));
            for own in own {
                let rule = sealed().equals(version.source, &own).verdict(Verdict::Drop);
                batch.add_rule(chain, "not sealed by us", &rule);
            }
            batch.add_rule(chain, "sealed data of others", &sealed().verdict(Verdict::Accept));
        }
    }
}

fn in_range(address: Field, first: &[u8], length: u8) -> Rule {
    if length == 0 {
        return Rule::default();
    }
    // Only the bytes that count: the mask is of the field's length.
    let len = u32::from(length).div_ceil(8);
    let field = Field { base: Base::Network, offset: address.offset, len };
    let mut mask = vec![0xff; len as usize];
    if !length.is_multiple_of(8) {
        mask[len as usize - 1] = 0xff << (8 - length % 8);
    }
    Rule::default().masked(field, &mask, &first[..len as usize])
}
