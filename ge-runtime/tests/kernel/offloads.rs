//! Offloads that the kernel has, has not, or has until it is used; and what it drops.

use crate::agent::{Agent, MARK, Policy};
use crate::captured::transfer;
use crate::data::{V4, V6, collect, open, open_with, run};
use crate::namespace::{MAC_A, MAC_B, Namespace, Pair};
use crate::probe::{PATIENCE, Program as Ordinary, Sniffer};
use ge_core::Mode;
use ge_core::coalesce::Gather;
use ge_core::io::PACKET_AT;
use ge_core::wire::ip::{HEADER_MAX, emit_header};
use ge_core::wire::vnet::{Gso, GsoKind, PartialChecksum, VnetHeader};
use ge_runtime::ledger::{Cause, Ledger, Place, State};
use ge_runtime::offload::{Offload, Switches};
use ge_runtime::packet_socket::PacketSocket;
use ge_runtime::program::Program;
use ge_runtime::tun::{QUEUE_LEN, READ_LEN, Tun, TunCounts};
use ge_runtime::udp_socket::{RECEIVE_LEN, UdpSocket, probe_segments};
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use std::net::IpAddr;
use std::ops::Range;
use std::os::fd::{AsFd, AsRawFd};
use std::sync::Arc;

fn without(names: &[&str]) -> Arc<Ledger> {
    Arc::new(Ledger::new(Switches::without(names.iter().copied()).unwrap()))
}

fn set(socket: &UdpSocket, level: i32, name: i32) {
    let on = 1_i32;
    let length = libc::socklen_t::try_from(size_of_val(&on)).unwrap();
    // SAFETY: the kernel reads `length` bytes at `on`, a live number of that size.
    let result = unsafe {
        let fd = socket.as_fd().as_raw_fd();
        libc::setsockopt(fd, level, name, (&raw const on).cast(), length)
    };
    assert_eq!(result, 0, "{}", std::io::Error::last_os_error());
}

/// Without a checksum in its datagrams a socket may not segment: EINVAL, from the first call on.
#[test]
fn a_socket_that_cannot_segment_sends_the_same_datagrams_one_by_one() {
    /// `UDP_NO_CHECK6_TX`, `UDP_NO_CHECK6_RX`.
    const NO_CHECK6: [i32; 2] = [101, 102];
    for addresses in [V4, V6] {
        let pair = Pair::new();
        let (v4, ledger) = (addresses == V4, without(&[]));
        let (a, b) = (open_with(&pair.a, v4, &ledger), open(&pair.b, v4));
        if v4 {
            set(&a, libc::SOL_SOCKET, libc::SO_NO_CHECK);
        } else {
            set(&a, libc::IPPROTO_UDP, NO_CHECK6[0]);
            set(&b, libc::IPPROTO_UDP, NO_CHECK6[1]);
        }
        for _ in 0..2 {
            let sent = run(addresses, 1200, 100 * 1200 + 300);
            a.send(&sent).unwrap();
            let (datagrams, _) = collect(&b, sent.bytes.len());
            let expected: Vec<Vec<u8>> = sent.bytes.chunks(1200).map(<[u8]>::to_vec).collect();
            assert!(datagrams == expected, "datagrams changed or changed places");
        }
        assert_eq!(ledger.state(Offload::UdpSend), State::FellBack(libc::EINVAL));
        let record = ledger.offloads()[Offload::UdpSend as usize];
        // As many as fit into one call.
        assert_eq!((record.refusals, record.replayed), (1, 65_507 / 1200));
        assert_eq!(ledger.losses.all().map(|(.., count)| count).sum::<u64>(), 0);
    }
}

#[test]
fn each_direction_of_udp_works_without_the_offload_of_the_other() {
    for (off_a, off_b) in
        [(&["udp-send"][..], &[][..]), (&[], &["udp-receive"]), (&["all"], &["all"])]
    {
        let pair = Pair::new();
        let a = open_with(&pair.a, true, &without(off_a));
        let b = open_with(&pair.b, true, &without(off_b));
        let sent = run(V4, 1000, 40_500);
        a.send(&sent).unwrap();
        let (datagrams, receives) = collect(&b, sent.bytes.len());
        assert_eq!(datagrams.concat(), sent.bytes, "{off_a:?} {off_b:?}");
        assert_eq!(datagrams.len(), 41);
        if !off_b.is_empty() {
            assert_eq!(receives.len(), 41, "{off_b:?}: merged all the same");
        }
    }
}

/// The number of datagrams in one call is what the kernel takes.
#[test]
fn segments_are_probed_by_sending() {
    let release = nix::sys::utsname::uname().unwrap().release().to_string_lossy().into_owned();
    let mut numbers = release.split(['.', '-']).map(|part| part.parse::<u32>().unwrap_or(0));
    let version = (numbers.next().unwrap(), numbers.next().unwrap());
    let expected = if version >= (6, 9) { 128 } else { 64 };
    let pair = Pair::new();
    let ledger = without(&[]);
    let probed = Arc::clone(&ledger);
    pair.a.run(move || probe_segments(&probed));
    assert_eq!((ledger.segments(), ledger.state(Offload::UdpSend)), (expected, State::On));
    let (a, b) = (open_with(&pair.a, true, &ledger), open(&pair.b, true));
    let sent = run(V4, 50, 128 * 50);
    a.send(&sent).unwrap();
    let (datagrams, receives) = collect(&b, sent.bytes.len());
    assert_eq!(datagrams.concat(), sent.bytes);
    assert!(receives.len() <= 128 / usize::try_from(expected).unwrap(), "{}", receives.len());
    // Where loopback has no address nothing is known.
    let ledger = without(&[]);
    let probed = Arc::clone(&ledger);
    pair.b.sh("ip addr flush dev lo");
    pair.b.run(move || probe_segments(&probed));
    assert_eq!((ledger.segments(), ledger.state(Offload::UdpSend)), (64, State::On));
}

/// A link slower than the sender: it waits a little, then drops; and every datagram is either on
/// the other side or counted.
#[test]
fn a_full_queue_is_waited_for_and_what_is_dropped_is_counted() {
    const RUNS: usize = 400;
    let pair = Pair::new();
    pair.a.sh("tc qdisc add dev eth0 root tbf rate 400mbit burst 128kb limit 100mb");
    let ledger = without(&[]);
    let (a, b) = (open_with(&pair.a, true, &ledger), open(&pair.b, true));
    let sender = std::thread::spawn(move || {
        let run = run(V4, 1200, 50 * 1200);
        (0..RUNS).filter(|_| a.send(&run).is_err()).count()
    });
    let mut buf = vec![0; RECEIVE_LEN];
    let (mut received, mut failed) = (0_u64, None);
    let mut sender = Some(sender);
    loop {
        if sender.as_ref().is_some_and(std::thread::JoinHandle::is_finished) {
            failed = sender.take().map(|sender| sender.join().unwrap());
        }
        let lost = ledger.losses.get(Place::Send, Cause::QueueFull);
        if sender.is_none() && received + lost == RUNS as u64 * 50 {
            break;
        }
        let mut fds = [PollFd::new(b.as_fd(), PollFlags::POLLIN)];
        let came = poll(&mut fds, PollTimeout::try_from(PATIENCE).unwrap()).unwrap();
        assert_eq!(came, 1, "{received} came, {lost} are counted as lost");
        if let Ok(one) = b.recv(&mut buf) {
            received += one.count() as u64;
        }
    }
    assert!(failed > Some(0), "the queue was never full");
    assert!(ledger.losses.get(Place::Send, Cause::QueueFull) > 0);
    assert!(ledger.is_on(Offload::UdpSend));
}

/// 20 datagrams too big for the link, then a short one that fits: it is sent.
#[test]
fn too_big_costs_only_what_is_too_big() {
    let pair = Pair::new();
    let ledger = without(&[]);
    let (a, b) = (open_with(&pair.a, true, &ledger), open(&pair.b, true));
    a.send(&run(V4, 1473, 20 * 1473 + 500)).unwrap_err();
    assert_eq!(collect(&b, 500).0.len(), 1);
    assert_eq!(ledger.losses.get(Place::Send, Cause::TooBig), 20);
}

#[test]
fn what_a_full_receive_buffer_drops_is_told() {
    let pair = Pair::new();
    let (a, b) = (open(&pair.a, true), open(&pair.b, true));
    let before = b.memory().unwrap();
    assert_eq!(before.dropped, 0);
    assert!(before.receive >= 32 << 20 && before.send >= 8 << 20, "{before:?}");
    // More than the kernel's own figure, twice what was asked for, has room for.
    let calls = before.receive.div_ceil(50 * 1200);
    for _ in 0..calls {
        a.send(&run(V4, 1200, 50 * 1200)).unwrap();
    }
    assert!(b.memory().unwrap().dropped > 0);
}

/// A TUN whose queue nobody reads.
#[test]
fn what_a_full_tun_drops_is_told() {
    let pair = Pair::new();
    let tun = pair.a.run(|| Tun::open("ges0", Program::Ges, &Arc::default()).unwrap());
    pair.a.sh("ip route add 10.77.0.0/16 dev ges0");
    let program = Ordinary::bind(&pair.a, "0.0.0.0:7000");
    let (tun, before) = pair.a.run(move || {
        let counts = tun.counts().unwrap();
        (tun, counts)
    });
    assert_eq!(before, TunCounts::default(), "trying its offloads is no loss");
    for _ in 0..QUEUE_LEN + 500 {
        program.0.send_to(b"x", "10.77.0.1:7").unwrap();
    }
    let (after, more) = pair.a.run(move || {
        let after = tun.counts().unwrap();
        let mut buf = vec![0; READ_LEN];
        (0..3).for_each(|_| assert!(tun.queue(0).read(&mut buf).unwrap() > 0));
        (after, tun.counts().unwrap())
    });
    assert!(after.queue >= 400, "{after:?}");
    assert_eq!((after.read, after.written), (0, 0));
    assert_eq!(more, TunCounts { read: 3, ..after });
}

/// Numbered datagrams of one flow from b to a: IP and UDP header as for all of them merged, with
/// the partial checksum, then their data.
fn merged_datagrams(count: u8, size: usize) -> (VnetHeader, Vec<u8>, Vec<u8>) {
    let data: Vec<u8> = (0..count).flat_map(|number| vec![number; size]).collect();
    let (from, to): (IpAddr, IpAddr) = ([10, 9, 0, 2].into(), [10, 9, 0, 1].into());
    let mut header = [0; HEADER_MAX];
    let length = 8 + data.len();
    let ip = emit_header(&mut header, from, to, 17, length, 0, 64);
    let mut header = header[..ip].to_vec();
    for field in [7000_u16, 7001, u16::try_from(length).unwrap(), 0] {
        header.extend_from_slice(&field.to_be_bytes());
    }
    let words = header[12..20].chunks(2).map(|w| u32::from(u16::from_be_bytes([w[0], w[1]])));
    let sum: u32 = words.sum::<u32>() + 17 + u32::try_from(length).unwrap();
    let folded = (sum & 0xffff) + (sum >> 16);
    header[26..28].copy_from_slice(&u16::try_from(folded).unwrap().to_be_bytes());
    let gso = Gso { kind: GsoKind::UdpDatagrams, size: u16::try_from(size).unwrap(), ecn: false };
    let vnet = VnetHeader {
        partial: Some(PartialChecksum { start: 20, offset: 6 }),
        gso: Some(gso),
        hdr_len: 28,
        ..VnetHeader::default()
    };
    (vnet, header, data)
}

/// The kernel takes 128 datagrams in one super-packet, and refuses one with more: EINVAL.
const TOO_MANY: u8 = 130;

#[test]
fn a_refused_merge_is_delivered_one_by_one_in_order() {
    let pair = Pair::new();
    let ledger = without(&[]);
    let program = Ordinary::bind(&pair.a, "10.9.0.1:7001");
    let given = Arc::clone(&ledger);
    let tun = pair.a.run(move || Tun::open("ges0", Program::Ges, &given).unwrap());
    assert!(ledger.is_on(Offload::MergeUdp) && ledger.is_on(Offload::MergeTcp));
    let deliver = |count: u8| {
        let (vnet, header, data) = merged_datagrams(count, 10);
        let payload: Vec<Range<usize>> =
            (0..usize::from(count)).map(|at| at * 10..at * 10 + 10).collect();
        let gather =
            Gather { vnet: vnet.emit(), header: &header, buffer: &data, payload: &payload };
        tun.queue(0).deliver(&gather);
        for number in 0..count {
            assert_eq!(program.next(), [number; 10]);
        }
    };
    deliver(64);
    assert!(ledger.is_on(Offload::MergeUdp), "it was refused without need");
    deliver(TOO_MANY);
    assert_eq!(ledger.state(Offload::MergeUdp), State::FellBack(libc::EINVAL));
    assert_eq!(ledger.offloads()[Offload::MergeUdp as usize].replayed, u64::from(TOO_MANY));
    assert!(ledger.is_on(Offload::MergeTcp));
    assert!(program.is_empty());
    assert_eq!(ledger.losses.all().map(|(.., count)| count).sum::<u64>(), 0);
}

#[test]
fn a_tun_that_is_down_loses_what_is_merged_and_merges_on() {
    let pair = Pair::new();
    let ledger = without(&[]);
    let given = Arc::clone(&ledger);
    let tun = pair.a.run(move || Tun::open("ges0", Program::Ges, &given).unwrap());
    pair.a.sh("ip link set ges0 down");
    let (vnet, header, data) = merged_datagrams(5, 10);
    let payload: Vec<Range<usize>> = (0..5).map(|at| at * 10..at * 10 + 10).collect();
    tun.queue(0).deliver(&Gather {
        vnet: vnet.emit(),
        header: &header,
        buffer: &data,
        payload: &payload,
    });
    assert!(ledger.is_on(Offload::MergeUdp));
    assert_eq!(ledger.losses.get(Place::Deliver, Cause::Down), 5);
}

fn packet_socket(host: &Namespace, mark: u32, ledger: &Arc<Ledger>) -> PacketSocket {
    let ledger = Arc::clone(ledger);
    host.run(move || {
        let ifindex = nix::net::if_::if_nametoindex("eth0").unwrap();
        PacketSocket::open(ifindex, mark, &ledger).unwrap()
    })
}

#[test]
fn a_super_packet_that_is_not_taken_back_goes_out_frame_by_frame() {
    for (off, count, state, replayed) in [
        (&[][..], 100, State::On, 0),
        (&[], TOO_MANY, State::FellBack(libc::EINVAL), u64::from(TOO_MANY)),
        (&["put-back"], TOO_MANY, State::Off, 0),
    ] {
        let pair = Pair::new();
        let ledger = without(off);
        let program = Ordinary::bind(&pair.a, "10.9.0.1:7001");
        let socket = packet_socket(&pair.b, 0, &ledger);
        let (vnet, header, data) = merged_datagrams(count, 10);
        let vnet = vnet.shifted(14).unwrap().emit();
        let frame = [&vnet[..], &MAC_A, &MAC_B, &[8, 0], &header, &data].concat();
        socket.put_back(&frame).unwrap();
        for number in 0..count {
            assert_eq!(program.next(), [number; 10], "{off:?}");
        }
        assert_eq!(ledger.state(Offload::PutBack), state, "{off:?}");
        assert_eq!(ledger.offloads()[Offload::PutBack as usize].replayed, replayed);
    }
}

/// Whatever is switched off: data arrives. Without `tun-tso` nothing comes in super-packets;
/// without `put-back` nothing leaves in one.
#[test]
fn tcp_passes_whatever_is_switched_off() {
    for off in ["tun-tso", "put-back", "tun-ecn", "all"] {
        let pair = Pair::new();
        let ledger = without(&[off]);
        let agent = Agent::start_with(&pair.a, Mode::Closed, Policy::Pass, None, &ledger);
        transfer(&pair, "10.9.0.2:9000", "10.9.0.2:9000");
        transfer(&pair, "[fd09::2]:9000", "[fd09::2]:9000");
        let longest = agent.seen().iter().filter(|seen| seen.outgoing).map(|s| s.bytes.len()).max();
        let supers = longest > Some(10_000);
        assert_eq!(supers, off == "put-back" || off == "tun-ecn", "{off}: {longest:?}");
        assert_eq!(ledger.losses.all().map(|(.., count)| count).sum::<u64>(), 0, "{off}");
        agent.stop();
    }
}

/// A TCP super-packet from a to b that answers congestion (CWR), 3 segments of 1,000 bytes.
fn congested() -> Vec<u8> {
    let (from, to): (IpAddr, IpAddr) = ([10, 9, 0, 1].into(), [10, 9, 0, 2].into());
    let mut header = [0; HEADER_MAX];
    let ip = emit_header(&mut header, from, to, 6, 20 + 3000, 2, 64);
    let mut tcp = [0; 20];
    tcp[..4].copy_from_slice(&[0x1b, 0x58, 0x1b, 0x59]);
    tcp[12..16].copy_from_slice(&[0x50, 0x90, 0x10, 0]);
    let vnet = VnetHeader {
        partial: Some(PartialChecksum { start: 34, offset: 16 }),
        gso: Some(Gso { kind: GsoKind::TcpV4, size: 1000, ecn: true }),
        hdr_len: 54,
        ..VnetHeader::default()
    };
    [&vnet.emit()[..], &MAC_B, &MAC_A, &[8, 0], &header[..ip], &tcp, &[7; 3000]].concat()
}

fn is_ipv4(frame: &[u8]) -> bool {
    frame[12..14] == [8, 0]
}

/// `gso_type` carries the bit 0x80 then: neither on the way in nor on the way back is it taken for
/// an unknown type. Without the offload the kernel cuts first, and only the first segment has CWR.
#[test]
fn super_packets_with_ecn_come_and_go_whole() {
    for off in [&[][..], &["tun-ecn"]] {
        let pair = Pair::new();
        let ledger = without(off);
        let agent = Agent::start_with(&pair.a, Mode::Closed, Policy::Pass, None, &ledger);
        let sniffer = Sniffer::open(&pair.b);
        packet_socket(&pair.a, 0, &without(&[])).put_back(&congested()).unwrap();
        let wanted = if off.is_empty() { 1 } else { 3 };
        let seen = (0..1000).find_map(|_| {
            pair.a.sh("true");
            let seen: Vec<_> = agent.all_seen().into_iter().filter(|s| s.bytes[33] == 6).collect();
            (seen.len() >= wanted).then_some(seen)
        });
        let seen = seen.expect("the super-packet did not come to the TUN");
        assert_eq!(seen[0].gso_type(), if off.is_empty() { 0x81 } else { 0 }, "{off:?}");
        let flags: Vec<bool> =
            seen.iter().map(|seen| seen.bytes[PACKET_AT + 33] & 0x80 != 0).collect();
        assert!(flags[0], "the first has lost CWR");
        assert!(flags[1..].iter().all(|cwr| !cwr), "{flags:?}");
        sniffer.await_from(MAC_A, 1, is_ipv4);
        assert_eq!(ledger.losses.all().map(|(.., count)| count).sum::<u64>(), 0);
        agent.stop();
    }
}

#[test]
fn marks_are_kept_when_frames_are_cut() {
    // A marked frame passes the closed hook of its own machine; cut it must too.
    let pair = Pair::new();
    let agent = Agent::start(&pair.a, Mode::Closed, Policy::Drop);
    let ledger = without(&["put-back"]);
    let sniffer = Sniffer::open(&pair.b);
    packet_socket(&pair.a, MARK, &ledger).put_back(&congested()).unwrap();
    assert_eq!(sniffer.await_from(MAC_A, 3, is_ipv4).len(), 3);
    assert_eq!(agent.seen().len(), 0);
    agent.stop();
}

/// A buffer as long as the packet alone would lose its last ten bytes, and nobody would be told.
#[test]
fn the_largest_packet_is_read_whole() {
    let pair = Pair::new();
    let tun = pair.a.run(|| Tun::open("ges0", Program::Ges, &Arc::default()).unwrap());
    pair.a.sh("ip route add 10.77.0.0/16 dev ges0");
    let program = Ordinary::bind(&pair.a, "0.0.0.0:7000");
    let sent: Vec<u8> = (0..65_507_u32).map(|at| (at % 251) as u8).collect();
    program.0.send_to(&sent, "10.77.0.1:7").unwrap();
    let mut buf = vec![0; READ_LEN];
    let mut fds = [PollFd::new(tun.queue(0).as_fd(), PollFlags::POLLIN)];
    assert_eq!(poll(&mut fds, PollTimeout::try_from(PATIENCE).unwrap()).unwrap(), 1);
    let len = tun.queue(0).read(&mut buf).unwrap();
    assert_eq!(len, 10 + 65_535);
    assert!(buf[10 + 28..len] == sent);
}
