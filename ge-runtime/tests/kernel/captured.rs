//! Packets come to the TUN whole, and both ways back work.

use crate::agent::{Agent, Policy};
use crate::namespace::{Pair, pings};
use crate::probe::PATIENCE;
use ge_core::Mode;
use std::io::{Read, Write};
use std::net::{TcpListener, TcpStream};

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

#[test]
fn tcp_passes_in_super_packets() {
    for (listen, connect) in
        [("10.9.0.2:9000", "10.9.0.2:9000"), ("[fd09::2]:9000", "[fd09::2]:9000")]
    {
        let pair = Pair::new();
        let agent = Agent::start(&pair.a, Mode::Closed, Policy::Pass);
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
