//! What is different on a router: most packets are for other machines.

use crate::agent::{Agent, MARK, Policy};
use crate::namespace::{MAC_A, Namespace, Pair, inside_of, pings, silent};
use crate::probe::{PATIENCE, Program, Sniffer};
use ge_core::Mode;
use ge_core::addr::WireAddr;
use ge_core::flow::HostPair;
use ge_core::id::Interface;
use ge_core::io::{KernelVerdict, Transmit};
use ge_runtime::hook::RouterConfig;
use ge_runtime::message_socket::MessageSocket;
use ge_runtime::program::Program as Which;
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::time::Duration;

const HOUR: Duration = Duration::from_secs(3600);
const V4: u16 = 0x0800;
const V6: u16 = 0x86dd;
/// Where a management server is.
const SERVER: &str = "10.9.0.2:7443";

fn router(pair: &Pair, mode: Mode, policy: Policy) -> Agent {
    let addresses = ["10.8.0.1", "10.9.0.1", "fd08::1", "fd09::1"];
    let config = RouterConfig {
        addresses: addresses.map(|text| text.parse().unwrap()).to_vec(),
        servers: vec![SERVER.parse().unwrap()],
    };
    Agent::start_as(&pair.a, mode, policy, Some(config))
}

#[test]
fn what_passes_is_seen_and_forwarded_whatever_the_policy() {
    for policy in ["0", "1", "2"] {
        let pair = Pair::new();
        let inside = inside_of(&pair);
        pair.a.sh(&format!(
            "echo {policy} > /proc/sys/net/ipv4/conf/all/rp_filter; \
             echo 0 > /proc/sys/net/ipv4/conf/default/forwarding"
        ));
        let agent = router(&pair, Mode::Closed, Policy::Pass);
        for (from, to, ether_type) in [
            (&inside, "10.9.0.2", V4),
            (&pair.b, "10.8.0.2", V4),
            (&inside, "fd09::2", V6),
            (&pair.b, "fd08::2", V6),
        ] {
            assert!(pings(from, to), "rp_filter {policy} to {to}");
            assert_eq!(agent.count(ether_type), (2, 2), "rp_filter {policy} to {to}");
        }
        agent.stop();
    }
}

#[test]
fn a_router_s_own_masquerading_goes_on() {
    let pair = Pair::new();
    let inside = inside_of(&pair);
    // The other machine knows nothing of the inside.
    pair.b.sh("ip route del 10.8.0.0/24 && ip route del fd08::/64");
    pair.a.sh(
        "nft 'add table inet nat; add chain inet nat post { type nat hook postrouting priority 100 ; }; \
         add rule inet nat post oifname eth0 masquerade'",
    );
    let agent = router(&pair, Mode::Closed, Policy::Pass);
    for (to, ether_type) in [("10.9.0.2", V4), ("fd09::2", V6)] {
        assert!(pings(&inside, to), "{to}");
        assert_eq!(agent.count(ether_type), (2, 2), "{to}");
    }
    let listener = pair.b.run(|| TcpListener::bind("10.9.0.2:9000").unwrap());
    let stream = inside.run(|| TcpStream::connect("10.9.0.2:9000").unwrap());
    let (_, from) = listener.accept().unwrap();
    assert_eq!(from.ip().to_string(), "10.9.0.1");
    drop(stream);
    agent.stop();
}

/// Sends a datagram to the data port and says whether the agent saw it, once the program at the
/// other end has it.
fn seen_on_the_way(agent: &Agent, from: &Namespace, source: &'static str, to: &Program) -> usize {
    let address = to.0.local_addr().unwrap();
    let sender = Program::bind(from, source);
    agent.seen();
    sender.0.send_to(b"sealed", address).unwrap();
    assert_eq!(to.next(), b"sealed", "to {address}");
    agent.seen().len()
}

#[test]
fn sealed_data_of_others_by_mode() {
    for (mode, seen) in [(Mode::Open, 0), (Mode::Closed, 1)] {
        let pair = Pair::new();
        let inside = inside_of(&pair);
        let agent = router(&pair, mode, Policy::Pass);
        for (own, other, outside) in [
            ("10.9.0.1:5865", "10.8.0.2:5865", "10.9.0.2:0"),
            ("[fd09::1]:5865", "[fd08::2]:5865", "[fd09::2]:0"),
        ] {
            let ours = Program::bind(&pair.a, own);
            assert_eq!(seen_on_the_way(&agent, &pair.b, outside, &ours), 0, "{mode:?} {own}");
            let theirs = Program::bind(&inside, other);
            let count = seen_on_the_way(&agent, &pair.b, outside, &theirs);
            assert_eq!(count, seen, "{mode:?} {other} inwards");
        }
        for (far, near) in [("10.9.0.2:5865", "10.8.0.2:0"), ("[fd09::2]:5865", "[fd08::2]:0")] {
            let theirs = Program::bind(&pair.b, far);
            let count = seen_on_the_way(&agent, &inside, near, &theirs);
            assert_eq!(count, seen, "{mode:?} {far} outwards");
        }
        agent.stop();
    }
}

#[test]
fn the_data_port_is_no_way_past_the_agent_for_the_router_s_own_programs() {
    let pair = Pair::new();
    let _inside = inside_of(&pair);
    let agent = router(&pair, Mode::Open, Policy::Pass);
    let there = Program::bind(&pair.b, "10.9.0.2:5865");
    assert_eq!(seen_on_the_way(&agent, &pair.a, "10.9.0.1:0", &there), 1);
    agent.stop();
}

#[test]
fn negotiation_that_passes_is_seen_both_ways_past_a_verdict() {
    let pair = Pair::new();
    let inside = inside_of(&pair);
    let agent = router(&pair, Mode::Open, Policy::Pass);
    for (near, far, ether_type) in [("10.8.0.2", "10.9.0.2", V4), ("fd08::2", "fd09::2", V6)] {
        let hosts = HostPair::new(near.parse().unwrap(), far.parse().unwrap());
        agent.hook.apply(&[KernelVerdict::Bypass { pair: hosts, lifetime: HOUR }]).unwrap();
        assert!(pings(&inside, far) && pings(&pair.b, near));
        assert_eq!(
            agent.count(ether_type),
            (0, 0),
            "{far}: an ordinary echo is passed by the kernel"
        );
        // "GE", what a negotiation message begins with; ordinary machines reflect it.
        inside.sh(&format!("ping -n -q -c 1 -W 5 -s 8 -p 4745 {far}"));
        assert_eq!(agent.count(ether_type), (1, 1), "{far}");
        agent.hook.apply(&[KernelVerdict::Discard { pair: hosts, lifetime: HOUR }]).unwrap();
        assert!(silent(&inside, far));
        inside.sh(&format!("ping -n -q -c 1 -W 5 -s 8 -p 4745 {far}"));
        assert_eq!(agent.count(ether_type), (1, 1), "{far}");
    }
    agent.stop();
}

#[test]
fn machines_behind_a_closed_router_reach_the_management_server() {
    let pair = Pair::new();
    let inside = inside_of(&pair);
    let agent = router(&pair, Mode::Closed, Policy::Drop);
    let listener = pair.b.run(|| TcpListener::bind(SERVER).unwrap());
    let other = pair.b.run(|| TcpListener::bind("10.9.0.2:7444").unwrap());
    // Not past the server's rule, should it be protected for all else.
    let hosts = HostPair::new("10.8.0.2".parse().unwrap(), "10.9.0.2".parse().unwrap());
    agent.hook.apply(&[KernelVerdict::Protect { pair: hosts, lifetime: HOUR }]).unwrap();
    inside.run(|| {
        let address: SocketAddr = SERVER.parse().unwrap();
        drop(TcpStream::connect_timeout(&address, PATIENCE).unwrap());
    });
    drop(listener.accept().unwrap());
    assert_eq!(agent.seen().len(), 0);
    let refused = inside.run(|| {
        let address: SocketAddr = "10.9.0.2:7444".parse().unwrap();
        TcpStream::connect_timeout(&address, Duration::from_millis(300)).is_err()
    });
    assert!(refused && !agent.seen().is_empty(), "another port passed");
    drop(other);
    agent.stop();
}

fn message(kind: u8, from: &str, to: &str, interface: Interface) -> Transmit {
    Transmit {
        from: WireAddr(from.parse().unwrap()),
        to: WireAddr(to.parse().unwrap()),
        interface,
        protocol: if kind == 8 { 1 } else { 58 },
        bytes: crate::data::echo(kind),
    }
}

#[test]
fn messages_leave_from_addresses_of_other_machines() {
    let pair = Pair::new();
    let _inside = inside_of(&pair);
    let agent = router(&pair, Mode::Closed, Policy::Drop);
    let interface = Interface(agent.config.interfaces[0].ifindex);
    let sniffer = Sniffer::open(&pair.b);
    let [host, router] = [Which::Ges, Which::Gen]
        .map(|program| pair.a.run(move || MessageSocket::open(MARK, program).unwrap()));
    for (kind, from, to, at) in
        [(8, "10.8.0.77", "10.9.0.2", 14 + 12), (128, "fd08::77", "fd09::2", 14 + 8)]
    {
        let message = message(kind, from, to, interface);
        assert!(host.send(&message).is_err(), "a host speaks for itself alone");
        router.send(&message).unwrap();
        let source: Vec<u8> = match message.from.0 {
            std::net::IpAddr::V4(v4) => v4.octets().to_vec(),
            std::net::IpAddr::V6(v6) => v6.octets().to_vec(),
        };
        sniffer.await_from(MAC_A, 1, |frame| {
            frame.get(at..at + source.len()) == Some(&source[..])
                && frame.ends_with(&message.bytes[8..])
        });
    }
    agent.stop();
}
