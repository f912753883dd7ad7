//! Packets come to the TUN whole, and both ways back work.

use crate::agent::{Agent, Policy};
use crate::namespace::{MAC_A, MAC_B, Pair, pings};
use crate::probe::{PATIENCE, UdpFrame, inject};
use ge_core::Mode;
use std::io::{Read, Write};
use std::net::{Ipv6Addr, TcpListener, TcpStream};

const V4: u16 = 0x0800;
const V6: u16 = 0x86dd;

#[test]
fn ping_is_seen_both_ways_and_passes() {
    for mode in [Mode::Open, Mode::Closed] {
        let pair = Pair::new();
        let agent = Agent::start(&pair.a, mode, Policy::Pass);
        for (address, ether_type) in [("10.9.0.2", V4), ("fd09::2", V6)] {
            assert!(pings(&pair.a, address), "{mode:?} {address}");
            assert_eq!(agent.count(ether_type), (2, 2), "{mode:?} {address}");
        }
        for (address, ether_type) in [("10.9.0.1", V4), ("fd09::1", V6)] {
            assert!(pings(&pair.b, address), "{mode:?} {address}");
            assert_eq!(agent.count(ether_type), (2, 2), "{mode:?} {address}");
        }
        agent.stop();
    }
}

#[test]
fn packets_are_taken_whatever_the_reverse_path_policy() {
    for policy in ["0", "1", "2"] {
        let pair = Pair::new();
        pair.a.sh(&format!("echo {policy} > /proc/sys/net/ipv4/conf/all/rp_filter"));
        let agent = Agent::start(&pair.a, Mode::Open, Policy::Pass);
        assert!(pings(&pair.b, "10.9.0.1"), "rp_filter {policy}");
        agent.stop();
    }
}

#[test]
fn fragments_come_as_they_are_on_the_wire() {
    let pair = Pair::new();
    let agent = Agent::start(&pair.a, Mode::Closed, Policy::Pass);
    for address in ["10.9.0.2", "fd09::2"] {
        let (answered, output) = pair.a.try_sh(&format!("ping -n -q -s 4000 -c 1 -W 2 {address}"));
        assert!(answered, "{output}");
        let seen = agent.seen();
        assert_eq!(seen.iter().filter(|seen| seen.outgoing).count(), 3, "{address}");
        assert_eq!(seen.iter().filter(|seen| !seen.outgoing).count(), 3, "{address}");
    }
    agent.stop();
}

/// 4 MB from a to b and back, unchanged.
pub(crate) fn transfer(pair: &Pair, listen: &'static str, connect: &'static str) {
    let listener = pair.b.run(move || TcpListener::bind(listen).unwrap());
    let echo = std::thread::spawn(move || {
        let (mut stream, _) = listener.accept().unwrap();
        let mut data = Vec::new();
        stream.read_to_end(&mut data).unwrap();
        stream.write_all(&data).unwrap();
    });
    let sent: Vec<u8> = (0..4_000_000_u32).map(|at| (at % 251) as u8).collect();
    let expected = sent.clone();
    let received = pair.a.run(move || {
        let mut stream = TcpStream::connect(connect).unwrap();
        stream.set_read_timeout(Some(PATIENCE)).unwrap();
        stream.write_all(&sent).unwrap();
        stream.shutdown(std::net::Shutdown::Write).unwrap();
        let mut data = Vec::new();
        stream.read_to_end(&mut data).unwrap();
        data
    });
    echo.join().unwrap();
    assert!(received == expected, "{connect}: the data changed on its way");
}

#[test]
fn tcp_passes_in_super_packets() {
    for (listen, connect) in
        [("10.9.0.2:9000", "10.9.0.2:9000"), ("[fd09::2]:9000", "[fd09::2]:9000")]
    {
        let pair = Pair::new();
        let agent = Agent::start(&pair.a, Mode::Closed, Policy::Pass);
        transfer(&pair, listen, connect);
        let seen = agent.seen();
        for outgoing in [true, false] {
            let longest = seen
                .iter()
                .filter(|seen| seen.outgoing == outgoing && seen.gso_type() != 0)
                .map(|seen| seen.bytes.len())
                .max();
            assert!(longest > Some(10_000), "{connect} outgoing {outgoing}: {longest:?}");
        }
        agent.stop();
    }
}

/// The kernel looks for ports and types of a later IPv6 fragment at the start of the frame, where
/// the Ethernet address of the receiver is: 0x82 is also a type of neighbour discovery.
#[test]
fn later_fragments_are_not_taken_for_neighbour_discovery() {
    let pair = Pair::new();
    pair.b.sh("ip link set eth0 address 82:00:00:00:00:0b");
    let agent = Agent::start(&pair.a, Mode::Closed, Policy::Pass);
    for address in ["10.9.0.2", "fd09::2"] {
        let (answered, output) = pair.a.try_sh(&format!("ping -n -q -s 4000 -c 1 -W 2 {address}"));
        let seen = agent.seen();
        let outgoing = seen.iter().filter(|seen| seen.outgoing).count();
        assert!(answered && outgoing == 3, "{address}: {outgoing} of 3 fragments came\n{output}");
    }
    agent.stop();
}

/// The same on arrival, where the frame begins with the IP header: its second word is the flow
/// label, which the sender chooses, and the rule for sealed data looks at such a place.
#[test]
fn later_fragments_are_not_taken_for_sealed_data() {
    let pair = Pair::new();
    let agent = Agent::start(&pair.a, Mode::Closed, Policy::Drop);
    let mut packet = vec![0x60, 0x00, 0x16, 0xe9, 0x00, 0x18, 44, 64];
    packet.extend_from_slice(&"fd09::2".parse::<Ipv6Addr>().unwrap().octets());
    packet.extend_from_slice(&"fd09::1".parse::<Ipv6Addr>().unwrap().octets());
    // Next header UDP, offset 8, no more fragments; then its data.
    packet.extend_from_slice(&[17, 0, 0, 8, 0, 0, 0, 1]);
    packet.extend_from_slice(&[0x5a; 16]);
    inject(&pair.b, &[&MAC_A[..], &MAC_B, &[0x86, 0xdd], &packet].concat());
    inject(&pair.b, &UdpFrame::b_to_a((7000, 7000)).bytes(&[], b"fence"));
    let fence = (0..1000).any(|_| {
        pair.a.sh("true");
        agent.all_seen().iter().any(|seen| seen.ether_type() == V4)
    });
    assert!(fence, "nothing comes to the agent");
    assert_eq!(agent.count(V6), (0, 1), "a fragment with the flow label 5865 passed the agent");
    agent.stop();
}
