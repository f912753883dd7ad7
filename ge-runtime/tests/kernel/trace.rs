//! What the hook leaves behind: nothing.

use crate::agent::{Agent, Policy};
use crate::namespace::{Namespace, Pair};
use ge_core::Mode;
use ge_runtime::hook::Hook;

fn machine(host: &Namespace) -> String {
    host.sh("nft list ruleset; ip -d addr; ip rule; ip -6 rule; \
         ip route show table all; ip -6 route show table all; tc qdisc show dev eth0")
}

#[test]
fn installed_and_removed_leaves_the_machine_byte_identical() {
    for mode in [Mode::Open, Mode::Closed] {
        let pair = Pair::new();
        let before = machine(&pair.a);
        let agent = Agent::start(&pair.a, mode, Policy::Pass);
        assert!(pair.a.run(|| Hook::installed().unwrap()));
        // While it runs, only the TUN's loopback address has been added, and no route of IPv6.
        let routes = pair.a.sh("ip route show table all; ip -6 route show table all");
        let ours: Vec<&str> = routes.lines().filter(|route| route.contains("ges0")).collect();
        assert_eq!(ours.len(), 1, "{ours:?}");
        assert!(ours[0].starts_with("local 127.58.65.1 "), "{ours:?}");
        agent.stop();
        assert!(!pair.a.run(|| Hook::installed().unwrap()));
        assert_eq!(machine(&pair.a), before, "{mode:?}");
    }
}

#[test]
fn the_table_reads_as_documented() {
    let pair = Pair::new();
    let agent = Agent::start(&pair.a, Mode::Closed, Policy::Pass);
    let rules = pair.a.sh("nft list ruleset");
    for part in [
        "table netdev gsagent",
        "type ipv4_addr . ipv4_addr",
        "type ipv6_addr . ipv6_addr",
        "type ipv4_addr . inet_service . inet_service",
        "type filter hook ingress device \"eth0\" priority",
        "type filter hook egress device \"eth0\" priority",
        "policy drop",
        "fwd to \"ges0\"",
        "meta mark 0x00005865 accept",
        "@nh,96,32 . @nh,128,32 @clear4 accept",
        "@nh,128,32 . @nh,96,32 @clear4 accept",
        "@nh,72,8 0x6 @nh,128,32 . @nh,96,32 @protect4 fwd to \"ges0\"",
        "@nh,192,128 . @nh,64,128 @protect6 fwd to \"ges0\"",
        "udp dport 5865 accept",
    ] {
        assert!(rules.contains(part), "no {part:?} in\n{rules}");
    }
    agent.stop();
}
