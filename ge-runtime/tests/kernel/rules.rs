//! Who is let past the agent, who is not, and what the verdict sets do.

use crate::agent::{Agent, MARK, PORT, Policy};
use crate::namespace::{MAC_A, Pair, pings, silent};
use crate::probe::{Program, Sniffer, UdpFrame, inject};
use ge_core::Mode;
use ge_core::flow::HostPair;
use ge_core::io::KernelVerdict;
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::os::fd::AsFd;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

/// Replacements of the rules under traffic.
const REPLACEMENTS: usize = 300;
const HOUR: Duration = Duration::from_secs(3600);
/// The group of multicast DNS, as address and as Ethernet address.
const GROUP: ([u8; 4], [u8; 6]) = ([224, 0, 0, 251], [1, 0, 0x5e, 0, 0, 0xfb]);
/// DHCP from a server: passes in either mode, so it tells when what came before it was dealt with.
const FENCE: (u16, u16) = (67, 68);

fn pairs() -> [(HostPair, &'static str); 2] {
    [("10.9.0.1", "10.9.0.2"), ("fd09::1", "fd09::2")].map(|(local, remote)| {
        (HostPair::new(local.parse().unwrap(), remote.parse().unwrap()), remote)
    })
}

#[test]
fn verdicts_are_applied_by_the_kernel() {
    for mode in [Mode::Open, Mode::Closed] {
        let pair = Pair::new();
        let agent = Agent::start(&pair.a, mode, Policy::Pass);
        for (hosts, remote) in pairs() {
            let apply = |verdict| agent.hook.apply(&[verdict]).unwrap();
            apply(KernelVerdict::Forget { pair: hosts });
            apply(KernelVerdict::Bypass { pair: hosts, lifetime: HOUR });
            apply(KernelVerdict::Bypass { pair: hosts, lifetime: HOUR });
            assert!(pings(&pair.a, remote));
            assert_eq!(agent.seen().len(), 0, "{mode:?} {remote}: bypassed packets came");
            apply(KernelVerdict::Discard { pair: hosts, lifetime: HOUR });
            assert!(silent(&pair.a, remote));
            assert_eq!(agent.seen().len(), 0, "{mode:?} {remote}: discarded packets came");
            apply(KernelVerdict::Forget { pair: hosts });
            assert!(pings(&pair.a, remote));
            assert_eq!(agent.seen().len(), 4, "{mode:?} {remote}");
        }
        agent.stop();
    }
}

#[test]
fn negotiation_reaches_the_agent_past_a_verdict() {
    let pair = Pair::new();
    let agent = Agent::start(&pair.a, Mode::Open, Policy::Drop);
    for ((hosts, _), local) in pairs().into_iter().zip(["10.9.0.1", "fd09::1"]) {
        let bypass = KernelVerdict::Bypass { pair: hosts, lifetime: HOUR };
        agent.hook.apply(&[bypass]).unwrap();
        assert!(pings(&pair.b, local), "an ordinary echo is answered by the kernel");
        assert_eq!(agent.seen().len(), 0, "{local}");
        // "GE", what a negotiation message begins with.
        pair.b.try_sh(&format!("ping -n -q -c 1 -W 1 -s 8 -p 4745 {local}"));
        assert_eq!(agent.seen().len(), 1, "{local}");
    }
    agent.stop();
}

#[test]
fn verdicts_of_many_pairs_are_one_call() {
    let pair = Pair::new();
    let agent = Agent::start(&pair.a, Mode::Open, Policy::Pass);
    let verdicts: Vec<KernelVerdict> = (0..3000_u32)
        .map(|at| {
            let remote = std::net::Ipv4Addr::from(0x0b00_0000 + at);
            let pair = HostPair::new("10.9.0.1".parse().unwrap(), remote.into());
            KernelVerdict::Bypass { pair, lifetime: HOUR }
        })
        .collect();
    agent.hook.apply(&verdicts).unwrap();
    agent.hook.apply(&verdicts).unwrap();
    let listed = pair.a.sh("nft list set netdev gsagent clear4");
    assert_eq!(listed.matches("expires").count(), 3000);
    // The last verdict on a pair within one call counts.
    let (hosts, remote) = pairs()[0];
    let bypass = KernelVerdict::Bypass { pair: hosts, lifetime: HOUR };
    agent.hook.apply(&[KernelVerdict::Forget { pair: hosts }, bypass]).unwrap();
    assert!(pings(&pair.a, remote));
    assert_eq!(agent.seen().len(), 0);
    agent.hook.apply(&[bypass, KernelVerdict::Forget { pair: hosts }]).unwrap();
    assert!(pings(&pair.a, remote));
    assert_eq!(agent.seen().len(), 4);
    agent.stop();
}

#[test]
fn protected_pairs_are_in_no_other_set_and_go_to_the_agent() {
    let pair = Pair::new();
    let agent = Agent::start(&pair.a, Mode::Open, Policy::Pass);
    for (hosts, remote) in pairs() {
        let number = if hosts.remote.0.is_ipv4() { "4" } else { "6" };
        let [shortcut, other] = ["protect", "clear"].map(|set| format!("{set}{number}"));
        let has = |set: &str| {
            let listed = pair.a.sh(&format!("nft list set netdev gsagent {set}"));
            listed.contains("expires")
        };
        agent.hook.apply(&[KernelVerdict::Bypass { pair: hosts, lifetime: HOUR }]).unwrap();
        assert_eq!((has(&shortcut), has(&other)), (false, true));
        agent.hook.apply(&[KernelVerdict::Protect { pair: hosts, lifetime: HOUR }]).unwrap();
        assert_eq!((has(&shortcut), has(&other)), (true, false));
        let address = SocketAddr::new(hosts.remote.0, 0);
        let there = pair.b.run(move || TcpListener::bind(address).unwrap());
        let to = there.local_addr().unwrap();
        drop(pair.a.run(move || TcpStream::connect_timeout(&to, Duration::from_secs(5)).unwrap()));
        assert!(!agent.seen().is_empty(), "{remote}");
        agent.hook.apply(&[KernelVerdict::Forget { pair: hosts }]).unwrap();
        assert_eq!((has(&shortcut), has(&other)), (false, false));
    }
    agent.stop();
}

#[test]
fn a_verdict_ends_with_its_lifetime() {
    let pair = Pair::new();
    let agent = Agent::start(&pair.a, Mode::Open, Policy::Pass);
    let (hosts, remote) = pairs()[0];
    let lifetime = Duration::from_millis(300);
    agent.hook.apply(&[KernelVerdict::Bypass { pair: hosts, lifetime }]).unwrap();
    let returned = (0..100).any(|_| pings(&pair.a, remote) && !agent.seen().is_empty());
    assert!(returned, "the kernel never forgot the verdict");
    agent.stop();
}

#[test]
fn our_own_address_as_source_is_dropped() {
    let pair = Pair::new();
    let agent = Agent::start(&pair.a, Mode::Open, Policy::Pass);
    let program = Program::bind(&pair.a, "10.9.0.1:7000");
    let good = UdpFrame::b_to_a((7000, 7000));
    inject(&pair.b, &UdpFrame { mac_from: MAC_A, ..good }.bytes(&[], b"forged"));
    inject(&pair.b, &good.bytes(&[], b"good"));
    assert_eq!(program.next(), b"good");
    assert_eq!(agent.count(0x0800), (0, 1));
    agent.stop();
}

#[test]
fn unicast_in_a_multicast_frame_does_not_pass() {
    let pair = Pair::new();
    let agent = Agent::start(&pair.a, Mode::Open, Policy::Pass);
    let program = Program::bind(&pair.a, "10.9.0.1:7000");
    let good = UdpFrame::b_to_a((7000, 7000));
    for mac_to in [GROUP.1, [0xff; 6]] {
        inject(&pair.b, &UdpFrame { mac_to, ..good }.bytes(&[], b"smuggled"));
    }
    inject(&pair.b, &good.bytes(&[], b"good"));
    assert_eq!(program.next(), b"good");
    assert_eq!(agent.count(0x0800), (0, 1));
    agent.stop();
}

#[test]
fn multicast_and_broadcast_by_mode() {
    for mode in [Mode::Open, Mode::Closed] {
        let pair = Pair::new();
        let agent = Agent::start(&pair.a, mode, Policy::Drop);
        let (program, fence) =
            (Program::bind(&pair.a, "0.0.0.0:5353"), Program::bind(&pair.a, "0.0.0.0:68"));
        program.join(&pair.a, GROUP.0, [10, 9, 0, 1]);
        let base = UdpFrame::b_to_a((5353, 5353));
        let groups = [
            UdpFrame { mac_to: GROUP.1, to: GROUP.0, ..base },
            UdpFrame { mac_to: [0xff; 6], to: [255; 4], ..base },
            UdpFrame { mac_to: [0xff; 6], to: [10, 9, 0, 255], ..base },
        ];
        for frame in groups {
            inject(&pair.b, &frame.bytes(&[], b"to all"));
            inject(&pair.b, &UdpFrame::b_to_a(FENCE).bytes(&[], b"fence"));
            assert_eq!(fence.next(), b"fence");
            assert_eq!(program.is_empty(), mode == Mode::Closed, "{mode:?} to {:?}", frame.to);
        }
        let sniffer = Sniffer::open(&pair.b);
        for frame in groups {
            let frame = UdpFrame { mac_from: MAC_A, from: [10, 9, 0, 1], ..frame };
            inject_unchecked(&pair, frame.bytes(&[], b"to all"));
        }
        let left = left(&pair, &sniffer, MAC_A);
        let left = left.iter().filter(|frame| frame.ends_with(b"to all")).count();
        assert_eq!(left, if mode == Mode::Open { 3 } else { 0 }, "{mode:?}");
        assert_eq!(agent.seen().len(), 0, "{mode:?}: group packets came to the agent");
        agent.stop();
    }
}

#[test]
fn link_local_by_mode() {
    for mode in [Mode::Open, Mode::Closed] {
        let pair = Pair::new();
        let agent = Agent::start(&pair.a, mode, Policy::Drop);
        if mode == Mode::Open {
            assert!(pings(&pair.a, "fe80::2%eth0") && pings(&pair.b, "fe80::1%eth0"));
        } else {
            assert!(silent(&pair.a, "fe80::2%eth0") && silent(&pair.b, "fe80::1%eth0"));
        }
        assert_eq!(agent.seen().len(), 0);
        agent.stop();
    }
}

#[test]
fn neighbours_are_found_in_either_mode() {
    for mode in [Mode::Open, Mode::Closed] {
        let pair = Pair::new();
        let agent = Agent::start(&pair.a, mode, Policy::Pass);
        for host in [&pair.a, &pair.b] {
            host.sh("ip neigh flush dev eth0; ip -6 neigh flush dev eth0");
        }
        assert!(pings(&pair.a, "10.9.0.2") && pings(&pair.b, "fd09::1"), "{mode:?}");
        agent.stop();
    }
}

#[test]
fn dhcp_passes_by_both_ports_and_not_by_one() {
    for mode in [Mode::Open, Mode::Closed] {
        let pair = Pair::new();
        let agent = Agent::start(&pair.a, mode, Policy::Drop);
        let program = Program::bind(&pair.a, "10.9.0.1:68");
        inject(&pair.b, &UdpFrame::b_to_a((5000, 68)).bytes(&[], b"not DHCP"));
        inject(&pair.b, &UdpFrame::b_to_a((67, 68)).bytes(&[], b"DHCP"));
        assert_eq!(program.next(), b"DHCP", "{mode:?}");
        assert_eq!(agent.count(0x0800), (0, 1), "{mode:?}");
        agent.stop();
    }
}

#[test]
fn tagged_frames_pass_in_open_and_end_in_closed_mode() {
    for mode in [Mode::Open, Mode::Closed] {
        let pair = Pair::new();
        let agent = Agent::start(&pair.a, mode, Policy::Drop);
        let sniffer = Sniffer::open(&pair.b);
        let fence = Program::bind(&pair.a, "10.9.0.1:68");
        for tag in [[0x81, 0, 0, 5], [0x88, 0xa8, 0, 5]] {
            inject_unchecked(&pair, UdpFrame::a_to_b((7000, 7000)).bytes(&tag, b"tagged"));
            inject(&pair.b, &UdpFrame::b_to_a((7000, 7000)).bytes(&tag, b"tagged"));
        }
        inject(&pair.b, &UdpFrame::b_to_a(FENCE).bytes(&[], b"fence"));
        assert_eq!(fence.next(), b"fence");
        let left = left(&pair, &sniffer, MAC_A);
        let left = left.iter().filter(|frame| frame.ends_with(b"tagged")).count();
        assert_eq!(left, if mode == Mode::Open { 2 } else { 0 }, "{mode:?}");
        assert_eq!(agent.seen().len(), 0, "{mode:?}: tagged frames came to the agent");
        agent.stop();
    }
}

#[test]
fn frames_of_other_machines_by_mode() {
    const GUEST: [u8; 6] = [2, 0, 0, 0, 0, 0x77];
    for mode in [Mode::Open, Mode::Closed] {
        let pair = Pair::new();
        let agent = Agent::start(&pair.a, mode, Policy::Drop);
        let sniffer = Sniffer::open(&pair.b);
        let fence = Program::bind(&pair.a, "10.9.0.1:68");
        let ours = UdpFrame { mac_from: GUEST, ..UdpFrame::a_to_b((7000, 7000)) };
        let out = UdpFrame { from: [10, 9, 0, 77], ..ours };
        inject_unchecked(&pair, out.bytes(&[], b"a guest's"));
        // What this machine sends under an Ethernet address that the agent does not know.
        inject_unchecked(&pair, ours.bytes(&[], b"our own"));
        let incoming = UdpFrame { mac_to: GUEST, ..UdpFrame::b_to_a((7000, 7000)) };
        inject(&pair.b, &incoming.bytes(&[], b"for a guest"));
        inject(&pair.b, &UdpFrame::b_to_a(FENCE).bytes(&[], b"fence"));
        assert_eq!(fence.next(), b"fence");
        let left = left(&pair, &sniffer, GUEST);
        assert_eq!(left.len(), usize::from(mode == Mode::Open), "{mode:?}");
        assert!(left.iter().all(|frame| frame.ends_with(b"a guest's")), "{mode:?}: our own left");
        let seen = agent.seen();
        let guests =
            seen.iter().filter(|seen| seen.bytes[10..22].windows(6).any(|mac| mac == GUEST));
        assert_eq!(guests.count(), 0, "{mode:?}: frames of others came to the agent");
        agent.stop();
    }
}

#[test]
fn our_own_connection_passes_in_closed_mode() {
    for (server, any) in [("10.9.0.2:9443", "0.0.0.0:0"), ("[fd09::2]:9443", "[::]:0")] {
        let pair = Pair::new();
        let mut agent = Agent::start(&pair.a, Mode::Closed, Policy::Drop);
        let _listener = pair.b.run(move || TcpListener::bind(server).unwrap());
        let remote: SocketAddr = server.parse().unwrap();
        let (socket, port) = pair.a.run(move || marked_tcp(any));
        agent.hook.add_own(remote, port).unwrap();
        // Own connections outlive a change of the rules.
        agent.hook.set_mode(Mode::Open).unwrap();
        agent.hook.set_mode(Mode::Closed).unwrap();
        let address = nix::sys::socket::SockaddrStorage::from(remote);
        nix::sys::socket::connect(std::os::fd::AsRawFd::as_raw_fd(&socket), &address).unwrap();
        assert_eq!(agent.seen().len(), 0);
        // Another program's connection does not.
        let other = pair
            .a
            .run(move || TcpStream::connect_timeout(&remote, Duration::from_millis(300)).is_ok());
        assert!(!other, "an unmarked connection left");
        agent.hook.remove_own(remote, port).unwrap();
        agent.stop();
    }
}

#[test]
fn rules_change_with_the_interface() {
    let pair = Pair::new();
    let mut agent = Agent::start(&pair.a, Mode::Open, Policy::Pass);
    assert!(pings(&pair.a, "10.9.0.2"));
    let mut config = agent.config.clone();
    config.interfaces[0].name = "gone0".into();
    let error = agent.hook.reinstall(&config).map_or_else(
        |error| error.to_string(),
        |()| {
            // Kernels from 6.16 on take names of interfaces that are yet to come.
            agent.hook.reinstall(&agent.config.clone()).unwrap();
            "gone0".to_owned()
        },
    );
    assert!(error.contains("gone0"), "{error}");
    agent.seen();
    assert!(pings(&pair.a, "10.9.0.2"));
    assert_eq!(agent.count(0x0800), (2, 2), "the old rules are in force after a failed change");
    agent.stop();
}

#[test]
fn nothing_passes_while_the_rules_are_replaced() {
    let pair = Pair::new();
    let mut agent = Agent::start(&pair.a, Mode::Open, Policy::Drop);
    let sniffer = Sniffer::open(&pair.b);
    let program = Program::bind(&pair.a, "10.9.0.1:7000");
    let stop = Arc::new(AtomicBool::new(false));
    let flood = std::thread::spawn({
        let stop = Arc::clone(&stop);
        move || {
            while !stop.load(Ordering::Relaxed) {
                // The queue of the TUN may be full.
                let _ = program.0.send_to(b"for the agent", "10.9.0.2:7000");
            }
        }
    });
    let config = agent.config.clone();
    let (mut captured, mut left) = (0, 0);
    for _ in 0..REPLACEMENTS {
        agent.hook.reinstall(&config).unwrap();
        captured += agent.seen().len();
        left += sniffer.unicast_ip_from(MAC_A);
    }
    stop.store(true, Ordering::Relaxed);
    flood.join().unwrap();
    assert!(captured > REPLACEMENTS, "there was hardly any traffic: {captured}");
    assert_eq!(left, 0, "packets passed between the old rules and the new");
    agent.stop();
}

#[test]
fn marked_traffic_leaves_and_the_data_port_is_ours() {
    let pair = Pair::new();
    let agent = Agent::start(&pair.a, Mode::Closed, Policy::Drop);
    let program = Program::bind(&pair.b, "10.9.0.2:5865");
    let ours = pair.a.run(|| {
        let socket = std::net::UdpSocket::bind(("10.9.0.1", PORT)).unwrap();
        nix::sys::socket::setsockopt(&socket.as_fd(), nix::sys::socket::sockopt::Mark, &MARK)
            .unwrap();
        socket.send_to(b"sealed", "10.9.0.2:5865").unwrap();
        socket
    });
    assert_eq!(program.next(), b"sealed");
    program.0.send_to(b"answer", "10.9.0.1:5865").unwrap();
    ours.set_read_timeout(Some(crate::probe::PATIENCE)).unwrap();
    let mut buf = [0; 16];
    let len = ours.recv(&mut buf).unwrap();
    assert_eq!(&buf[..len], b"answer");
    assert_eq!(agent.seen().len(), 0);
    agent.stop();
}

/// A TCP socket with our mark, bound but not connected, and its port.
fn marked_tcp(any: &'static str) -> (std::os::fd::OwnedFd, u16) {
    use nix::sys::socket::{
        AddressFamily, SockFlag, SockType, SockaddrStorage, bind, getsockname, setsockopt, socket,
        sockopt::Mark,
    };
    use std::os::fd::AsRawFd;
    let any: SocketAddr = any.parse().unwrap();
    let family = if any.is_ipv4() { AddressFamily::Inet } else { AddressFamily::Inet6 };
    let fd = socket(family, SockType::Stream, SockFlag::empty(), None).unwrap();
    setsockopt(&fd, Mark, &MARK).unwrap();
    bind(fd.as_raw_fd(), &SockaddrStorage::from(any)).unwrap();
    let bound: SockaddrStorage = getsockname(fd.as_raw_fd()).unwrap();
    let v4 = bound.as_sockaddr_in().map(nix::sys::socket::SockaddrIn::port);
    let port = v4.or_else(|| bound.as_sockaddr_in6().map(nix::sys::socket::SockaddrIn6::port));
    (fd, port.unwrap())
}

/// What the sniffer at the other end has seen that left from an Ethernet address, up to now: a frame
/// that passes in either mode is sent behind it, to nobody, so that nobody answers.
fn left(pair: &Pair, sniffer: &Sniffer, mac: [u8; 6]) -> Vec<Vec<u8>> {
    let behind = UdpFrame { mac_to: [2, 0, 0, 0, 0, 0x99], ..UdpFrame::a_to_b(FENCE) };
    inject_unchecked(pair, behind.bytes(&[], b"all left"));
    let frames = sniffer.until(b"all left").into_iter();
    frames.filter(|frame| frame[6..12] == mac).collect()
}

/// Sends a frame by a's `eth0`. The kernel may report that the hook dropped it.
fn inject_unchecked(pair: &Pair, frame: Vec<u8>) {
    let with_vnet = [&[0; 10][..], &frame].concat();
    pair.a.run(move || {
        let ifindex = nix::net::if_::if_nametoindex("eth0").unwrap();
        let socket =
            ge_runtime::packet_socket::PacketSocket::open(ifindex, 0, &Arc::default()).unwrap();
        let _ = socket.put_back(&with_vnet);
    });
}
