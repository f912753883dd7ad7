//! The data and ICMP sockets between two hosts.

use crate::agent::{Agent, MARK, PORT, Policy};
use crate::namespace::{Namespace, Pair};
use crate::probe::PATIENCE;
use ge_core::addr::WireAddr;
use ge_core::id::Interface;
use ge_core::io::{DatagramRun, PACKET_AT, Received, Transmit};
use ge_core::{Lane, Mode};
use ge_runtime::error::KernelError;
use ge_runtime::ledger::Ledger;
use ge_runtime::message_socket::MessageSocket;
use ge_runtime::program::Program;
use ge_runtime::udp_socket::{RECEIVE_LEN, UdpSocket, is_too_big};
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use std::net::IpAddr;
use std::os::fd::AsFd;
use std::sync::Arc;

pub(crate) const V4: (&str, &str) = ("10.9.0.1", "10.9.0.2");
pub(crate) const V6: (&str, &str) = ("fd09::1", "fd09::2");

pub(crate) fn open(host: &Namespace, v4: bool) -> UdpSocket {
    open_with(host, v4, &Arc::default())
}

/// One that writes `ledger`.
pub(crate) fn open_with(host: &Namespace, v4: bool, ledger: &Arc<Ledger>) -> UdpSocket {
    let ledger = Arc::clone(ledger);
    host.run(move || {
        if v4 {
            UdpSocket::bind_v4(PORT, MARK, &ledger).unwrap()
        } else {
            UdpSocket::bind_v6(PORT, MARK, &ledger).unwrap().unwrap()
        }
    })
}

pub(crate) fn run((from, to): (&str, &str), segment: usize, len: usize) -> DatagramRun {
    DatagramRun {
        from: Some(WireAddr(from.parse().unwrap())),
        to: Some((WireAddr(to.parse().unwrap()), PORT)),
        interface: None,
        tos: 0xb9,
        segment,
        bytes: (0..len).map(|at| (at % 253) as u8).collect(),
    }
}

/// Receives until there are as many bytes; the datagrams, and what each receive brought.
pub(crate) fn collect(socket: &UdpSocket, bytes: usize) -> (Vec<Vec<u8>>, Vec<Received>) {
    let (mut datagrams, mut receives, mut total) = (Vec::new(), Vec::new(), 0);
    let mut buf = vec![0; RECEIVE_LEN];
    while total < bytes {
        let mut fds = [PollFd::new(socket.as_fd(), PollFlags::POLLIN)];
        let patience = PollTimeout::try_from(PATIENCE).unwrap();
        assert_eq!(poll(&mut fds, patience).unwrap(), 1, "{total} of {bytes} bytes came");
        let received = socket.recv(&mut buf).unwrap();
        datagrams.extend(buf[received.at.clone()].chunks(received.segment).map(<[u8]>::to_vec));
        total += received.at.len();
        receives.push(received);
    }
    (datagrams, receives)
}

/// Threads of a data path share the port; the kernel gives each what is in its lanes, whatever the
/// rest of the datagram, and messages (which begin with "G") to one of them.
#[test]
fn the_kernel_hands_each_datagram_to_the_thread_of_its_lane() {
    const WORKERS: u8 = 3;
    for addresses in [V4, V6] {
        let pair = Pair::new();
        let agent = Agent::start(&pair.b, Mode::Closed, Policy::Drop);
        let v4 = addresses == V4;
        let (a, first) = (open(&pair.a, v4), open(&pair.b, v4));
        let (first, others) = pair.b.run(move || {
            let others = first.bind_beside(WORKERS, MARK).unwrap();
            (first, others)
        });
        let sockets: Vec<&UdpSocket> = others.iter().collect();
        let sockets = [vec![&first], sockets].concat();
        assert_eq!(sockets.len(), usize::from(WORKERS));
        // Nobody is let in later, by the sockets that an agent opens first.
        let refused = pair.b.run(move || {
            let ledger = Arc::default();
            if v4 {
                UdpSocket::bind_v4(PORT, MARK, &ledger).err()
            } else {
                UdpSocket::bind_v6(PORT, MARK, &ledger).err()
            }
        });
        assert!(matches!(refused, Some(KernelError::AnotherAgent)));
        for kind in [1, 2, 3, 4] {
            for lane in 0..Lane::COUNT {
                let mut datagram = run(addresses, 100, 100);
                datagram.bytes[0] = kind << 4 | lane << 1 | kind & 1;
                a.send(&datagram).unwrap();
                let owner = usize::from(Lane::of(lane).worker(WORKERS));
                let (datagrams, _) = collect(sockets[owner], 100);
                assert_eq!(datagrams, [datagram.bytes], "kind {kind}, lane {lane}");
            }
        }
        agent.stop();
    }
}

#[test]
fn runs_arrive_as_they_were_sent_and_glued_together() {
    for addresses in [V4, V6] {
        let pair = Pair::new();
        // Closed, and no packet is passed on: the sockets get along without the agent's loop.
        let agent = Agent::start(&pair.a, Mode::Closed, Policy::Drop);
        let v4 = addresses == V4;
        let (a, b) = (open(&pair.a, v4), open(&pair.b, v4));
        // More than 64 datagrams, more than 64 KiB, a short one at the end; and less than a receive
        // buffer of the usual size, since nobody reads while it is sent.
        let sent = run(addresses, 1200, 100 * 1200 + 300);
        assert_eq!(sent.count(), 101);
        a.send(&sent).unwrap();
        let (datagrams, receives) = collect(&b, sent.bytes.len());
        let expected: Vec<Vec<u8>> = sent.bytes.chunks(1200).map(<[u8]>::to_vec).collect();
        assert!(datagrams == expected, "datagrams changed or changed places");
        assert!(receives.len() < 50, "not glued together: {} receives", receives.len());
        for received in receives {
            let meta = received.meta;
            assert_eq!(meta.from.0, addresses.0.parse::<IpAddr>().unwrap());
            assert_eq!(meta.to.0, addresses.1.parse::<IpAddr>().unwrap());
            assert_eq!((meta.from_port, meta.tos), (PORT, 0xb9));
            assert!(meta.interface.0 > 1);
        }
        // And the other way, in past the hook.
        let back = run((addresses.1, addresses.0), 1000, 30_000);
        b.send(&back).unwrap();
        assert_eq!(collect(&a, 30_000).0.len(), 30);
        assert_eq!(agent.seen().len(), 0);
        agent.stop();
    }
}

#[test]
fn a_single_datagram_needs_no_segmentation() {
    let pair = Pair::new();
    let (a, b) = (open(&pair.a, true), open(&pair.b, true));
    for len in [1, 1472] {
        a.send(&run(V4, 1472, len)).unwrap();
        assert_eq!(collect(&b, len).0, [run(V4, 1472, len).bytes]);
    }
    a.send(&run(V4, 1472, 0)).unwrap();
    a.send(&run(V4, 100, 100)).unwrap();
    assert_eq!(collect(&b, 100).0.len(), 1, "an empty run sends nothing");
}

#[test]
fn too_big_is_told_and_does_not_end_segmentation() {
    for (addresses, overhead) in [(V4, 28), (V6, 48)] {
        let pair = Pair::new();
        let v4 = addresses == V4;
        let (a, b) = (open(&pair.a, v4), open(&pair.b, v4));
        let fits = 1500 - overhead;
        for len in [fits + 1, 20 * (fits + 1)] {
            let error = a.send(&run(addresses, fits + 1, len)).unwrap_err();
            assert!(is_too_big(&error), "{error}");
        }
        a.send(&run(addresses, fits, 20 * fits)).unwrap();
        let (datagrams, receives) = collect(&b, 20 * fits);
        assert_eq!(datagrams.len(), 20);
        assert!(receives.len() < 20, "segmentation was switched off");
    }
}

#[test]
fn an_unreachable_peer_does_not_stop_receiving() {
    let pair = Pair::new();
    let (a, b) = (open(&pair.a, true), open(&pair.b, true));
    let mut refused = run(V4, 100, 100);
    refused.to = Some((WireAddr("10.9.0.2".parse().unwrap()), 9));
    a.send(&refused).unwrap();
    a.send(&refused).unwrap();
    b.send(&run((V4.1, V4.0), 100, 100)).unwrap();
    assert_eq!(collect(&a, 100).0.len(), 1);
}

#[test]
fn runs_without_addresses_are_refused() {
    let pair = Pair::new();
    let a = open(&pair.a, true);
    for (from, to) in
        [(None, Some("10.9.0.2")), (Some("10.9.0.1"), None), (Some("fd09::1"), Some("10.9.0.2"))]
    {
        let address = |text: &str| WireAddr(text.parse().unwrap());
        let mut broken = run(V4, 100, 300);
        broken.from = from.map(address);
        broken.to = to.map(|to| (address(to), PORT));
        assert_eq!(a.send(&broken).unwrap_err().raw_os_error(), Some(libc::EINVAL));
    }
}

/// An echo request with the right checksum for ICMP; ICMPv6 gets its own from the kernel.
pub(crate) fn echo(kind: u8) -> Vec<u8> {
    let mut icmp = [kind, 0, 0, 0, 0x12, 0x34, 0, 1].to_vec();
    icmp.extend_from_slice(b"message!");
    let words = icmp.chunks(2).map(|word| u32::from(u16::from_be_bytes([word[0], word[1]])));
    let sum: u32 = words.sum();
    let folded = (sum & 0xffff) + (sum >> 16);
    let checksum = !u16::try_from(folded).unwrap();
    icmp[2..4].copy_from_slice(&checksum.to_be_bytes());
    icmp
}

#[test]
fn icmp_messages_leave_and_answers_come_by_the_hook_only() {
    for ((from, to), kind, ether_type, start) in
        [(V4, 8, 0x0800, PACKET_AT + 20), (V6, 128, 0x86dd, PACKET_AT + 40)]
    {
        let pair = Pair::new();
        let agent = Agent::start(&pair.a, Mode::Closed, Policy::Pass);
        let interface = Interface(agent.config.interfaces[0].ifindex);
        let message = Transmit {
            from: WireAddr(from.parse().unwrap()),
            to: WireAddr(to.parse().unwrap()),
            interface,
            protocol: if kind == 8 { 1 } else { 58 },
            bytes: echo(kind),
        };
        let socket = pair.a.run(|| MessageSocket::open(MARK, Program::Ges).unwrap());
        socket.send(&message).unwrap();
        let answer = (0..1000)
            .find_map(|_| {
                std::thread::yield_now();
                pair.a.sh("true");
                agent.seen().pop()
            })
            .expect("no answer came by the hook");
        assert!(!answer.outgoing);
        assert_eq!(answer.ether_type(), ether_type);
        assert_eq!(&answer.bytes[start + 4..], &message.bytes[4..]);
        let queues = pair.a.sh("cat /proc/thread-self/net/raw /proc/thread-self/net/raw6");
        let queued = queues.lines().filter(|line| line.contains(':') && line.contains("00000000:"));
        for line in queued {
            assert!(line.contains("00000000:00000000"), "something is queued: {line}");
        }
        agent.stop();
    }
}
