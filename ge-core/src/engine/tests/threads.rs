//! Threads beside the engine: what they are told, what they do, and what the engine sees of it.
//!
//! ```text
//!   a: engine, 1, 2                     b: engine, 1
//!      lane 0  lane 1  lane 2 --------->  lanes 0, 2, 4, 6   lanes 1, 3, 5, 7
//! ```

use super::ends::{End, Ends, hand_over, protected};
use super::*;
use crate::addr::WireAddr;
use crate::fast_path::{FastPath, Lost, Outcome, Update};
use crate::icmp_error::{ErrorKind, build_error_for};
use crate::io::{DatagramMeta, DatagramRun, PACKET_AT, Received};
use crate::limits::{DATA_PORT, LIVENESS, OLD_KEYS_GRACE, REKEY_AFTER_TIME};
use crate::shim::Shim;
use crate::{DropReason, Lane};

pub(super) struct Threads {
    pub(super) ends: Ends,
    pub(super) a: Vec<FastPath>,
    pub(super) b: Vec<FastPath>,
}

/// What a thread was given, and which thread it had to go to.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Went {
    Opened(Vec<u8>),
    To(u8),
    Nowhere,
}

impl Threads {
    fn new() -> Self {
        let mut ends = Ends::new();
        let (a, b) = (ends.a.spread(3), ends.b.spread(2));
        assert_eq!((a.len(), b.len()), (2, 1));
        Self { ends, a, b }
    }

    pub(super) fn agreed() -> Self {
        let mut threads = Self::new();
        threads.ends.send(0);
        threads.settle();
        threads
    }

    /// All that follows happens, and threads are told of it.
    pub(super) fn settle(&mut self) -> Vec<(End, Output)> {
        let rest = self.ends.carry();
        self.tell(rest)
    }

    pub(super) fn run(&mut self, millis: u64) -> Vec<(End, Output)> {
        let mut rest = Vec::new();
        for _ in 0..millis / 100 {
            let happened = self.ends.run(100);
            rest.extend(self.tell(happened));
        }
        rest
    }

    fn tell(&mut self, outputs: Vec<(End, Output)>) -> Vec<(End, Output)> {
        let mut rest = Vec::new();
        for (end, output) in outputs {
            let threads = if end == End::A { &mut self.a } else { &mut self.b };
            match output {
                Output::Beside(worker, update) => threads[usize::from(worker) - 1].apply(update),
                other => rest.push((end, other)),
            }
        }
        rest
    }

    /// A program at `a` sends, and the kernel gives the packet to this thread beside the engine.
    fn seal(&mut self, worker: u8) -> (Outcome, Vec<DatagramRun>) {
        let pair = pair(0);
        let mut bytes = frame(pair.local.0, pair.remote.0, 17, &[0, 9, 0, 9, 0, 8, 0, 0]);
        let mut frame = Frame { direction: Direction::Outgoing(ETH0), bytes: &mut bytes };
        let mut batch = SealedBatch::default();
        let now = self.ends.now();
        let thread = &mut self.a[usize::from(worker) - 1];
        let outcome = thread.outgoing(&mut frame, 1500, &mut batch, now.mono);
        thread.take_woken().for_each(|index| self.ends.a.woken(index, now));
        (outcome, batch.take_runs())
    }

    pub(super) fn sealed(&mut self, worker: u8) -> Vec<u8> {
        let (outcome, runs) = self.seal(worker);
        assert_eq!((outcome, runs.len()), (Outcome::Sealed, 1));
        runs[0].bytes.clone()
    }

    /// The kernel gives a datagram from `a` to the thread beside `b`'s engine.
    pub(super) fn open(&mut self, datagram: &[u8]) -> Went {
        let mut went = Went::Nowhere;
        let mut owner = None;
        let mut sink = |gather: crate::coalesce::Gather<'_>| {
            let payload = gather.payload.iter().flat_map(|range| &gather.buffer[range.clone()]);
            went = Went::Opened(payload.copied().collect());
        };
        let (mut bytes, now) = (datagram.to_vec(), self.ends.now());
        let mut others = |worker: u8, _: &[u8], _: &DatagramMeta| owner = Some(worker);
        let received = Received::alone(&bytes, bytes.len(), meta());
        self.b[0].datagrams(&mut bytes, &[received], now.mono, &mut sink, &mut others);
        self.b[0].take_woken().for_each(|index| self.ends.b.woken(index, now));
        owner.map_or(went, Went::To)
    }

    /// The kernel gives it to `b`'s engine. What comes of it.
    fn open_by_engine(&mut self, datagram: &[u8]) -> (usize, Vec<Output>) {
        let (mut bytes, now) = (datagram.to_vec(), self.ends.now());
        let mut opened = 0;
        let received = Received::alone(&bytes, bytes.len(), meta());
        self.ends.b.datagrams(&mut bytes, &[received], now, &mut |_| opened += 1);
        (opened, outputs(&mut self.ends.b))
    }

    fn dropped_at_b(&self, reason: DropReason) -> u64 {
        self.ends.b.snapshot(self.ends.now()).counters.dropped_in[reason as usize]
    }
}

pub(super) fn meta() -> DatagramMeta {
    let (from, to) = (WireAddr(pair(0).local.0), WireAddr(pair(0).remote.0));
    DatagramMeta { from, from_port: DATA_PORT, to, tos: 0, interface: ETH0 }
}

fn lane(datagram: &[u8]) -> Lane {
    Shim::parse(datagram).unwrap().lane
}

#[test]
fn each_thread_seals_in_its_lane_and_the_owner_of_the_lane_opens() {
    let mut threads = Threads::agreed();
    let (one, two) = (threads.sealed(1), threads.sealed(2));
    assert_eq!([lane(&one), lane(&two)], [Lane::of(1), Lane::of(2)]);
    let packet = Went::Opened(vec![0, 9, 0, 9, 0, 8, 0, 0]);
    assert_eq!(threads.open(&one), packet);
    // Lane 2 is the engine's where there are two threads.
    assert_eq!(threads.open(&two), Went::To(0));
    assert_eq!(threads.open_by_engine(&two).0, 1);
}

#[test]
fn what_came_to_the_wrong_thread_is_opened_by_its_owner_alone() {
    let mut threads = Threads::agreed();
    let one = threads.sealed(1);
    let (opened, outputs) = threads.open_by_engine(&one);
    assert_eq!(opened, 0);
    let [Output::Elsewhere { worker: 1, datagram, .. }] = &outputs[..] else {
        panic!("it goes to thread 1 and nowhere else")
    };
    assert_eq!(*datagram, one);
    // The driver says so if there was no room for it.
    threads.ends.b.lost_elsewhere();
    assert_eq!(threads.dropped_at_b(DropReason::QueueFull), 1);
    assert!(matches!(threads.open(&one), Went::Opened(_)));
    // A replay finds no second window to be new in.
    assert_eq!(threads.open(&one), Went::Nowhere);
    assert_eq!(threads.open_by_engine(&one).0, 0);
    assert_eq!(threads.dropped_at_b(DropReason::Replay), 1);
}

#[test]
fn a_forged_datagram_changes_counters_and_nothing_else() {
    let mut threads = Threads::agreed();
    let mut forged = threads.sealed(1);
    let last = forged.len() - 1;
    forged[last] ^= 1;
    assert_eq!(threads.open(&forged), Went::Nowhere);
    let heard = |threads: &mut Threads| {
        let now = threads.ends.now();
        threads.ends.b.look_at_threads(now);
        threads.ends.b.current_session(pair(0).reversed()).unwrap().last_received()
    };
    let before = heard(&mut threads);
    threads.ends.millis += 1;
    assert_eq!(threads.open(&forged), Went::Nowhere);
    assert_eq!(heard(&mut threads), before);
    assert_eq!(threads.dropped_at_b(DropReason::BadTag), 2);
    // Under an index that no session has it is nobody's, and takes up no queue.
    forged[3] ^= 1;
    assert_eq!(threads.open(&forged), Went::Nowhere);
    assert_eq!(threads.dropped_at_b(DropReason::NoSession), 1);
}

/// Before that the peer's threads may not have been told of the session.
#[test]
fn threads_seal_only_when_the_peer_is_known_to_have_the_keys() {
    let mut threads = Threads::new();
    threads.ends.send(0);
    let dde = outputs(&mut threads.ends.a);
    let rgi = threads.ends.answers(dde);
    let now = threads.ends.now();
    for output in rgi {
        hand_over(&mut threads.ends.a, output, now);
    }
    // Agreed and in use, and no CDN yet.
    let agreed = outputs(&mut threads.ends.a);
    assert!(protected(&threads.ends.a, pair(0)).rekey.is_some());
    let (told, messages): (Vec<_>, Vec<_>) =
        agreed.into_iter().partition(|output| matches!(output, Output::Beside(..)));
    assert!(told.iter().all(|output| matches!(output, Output::Beside(_, Update::Session(..)))));
    threads.tell(told.into_iter().map(|output| (End::A, output)).collect());
    assert_eq!(threads.seal(1).0, Outcome::ForEngine);
    for output in messages {
        hand_over(&mut threads.ends.b, output, now);
    }
    threads.settle();
    assert_eq!(threads.seal(1).0, Outcome::Sealed);
}

#[test]
fn a_flow_that_is_forgotten_is_the_engine_s_again() {
    let mut threads = Threads::agreed();
    let one = threads.sealed(1);
    threads.ends.a.forget_row(pair(0));
    threads.ends.b.forget_row(pair(0).reversed());
    threads.settle();
    assert_eq!(threads.seal(1).0, Outcome::ForEngine);
    assert_eq!(threads.open(&one), Went::Nowhere);
    assert_eq!(threads.dropped_at_b(DropReason::NoSession), 1);
}

#[test]
fn new_keys_take_over_in_all_threads_and_the_old_ones_still_open() {
    let mut threads = Threads::agreed();
    let index = |threads: &Threads| protected(&threads.ends.a, pair(0)).current;
    let (first, late) = (index(&threads), threads.sealed(1));
    threads.run(REKEY_AFTER_TIME.as_millis() as u64 - 1000);
    let before = threads.sealed(1);
    assert!(matches!(threads.open(&before), Went::Opened(_)), "or both ends are idle");
    threads.run(2000);
    assert_ne!(index(&threads), first, "rekeyed");
    let new = threads.sealed(1);
    assert_ne!(Shim::parse(&new).unwrap().index, Shim::parse(&late).unwrap().index);
    assert!(matches!(threads.open(&new), Went::Opened(_)));
    assert!(matches!(threads.open(&late), Went::Opened(_)));
    threads.run(OLD_KEYS_GRACE.as_millis() as u64 + 1000);
    assert_eq!(threads.open(&late), Went::Nowhere);
}

#[test]
fn the_engine_counts_what_its_threads_did() {
    let mut threads = Threads::agreed();
    for _ in 0..3 {
        let one = threads.sealed(1);
        threads.open(&one);
    }
    threads.sealed(2);
    threads.a[0].lost(Lost::Frame(Direction::Outgoing(ETH0)));
    let now = threads.ends.now();
    threads.ends.a.look_at_threads(now);
    threads.ends.b.look_at_threads(now);
    let (at_a, at_b) = (threads.ends.a.snapshot(now), threads.ends.b.snapshot(now));
    // One more by the engine itself: the packet that waited for the negotiation.
    assert_eq!(at_a.flows[0].packets_out, 4 + 1);
    assert_eq!(at_b.flows[0].packets_in, 3 + 1);
    assert_eq!(at_a.threads.iter().map(|thread| thread.sealed).collect::<Vec<_>>(), [1, 3, 1]);
    assert_eq!(at_b.threads.iter().map(|thread| thread.opened).collect::<Vec<_>>(), [1, 3]);
    assert_eq!(at_a.counters.sealed.0, 5);
    assert_eq!(at_a.counters.dropped_out[DropReason::QueueFull as usize], 1);
}

/// A peer that is gone is noticed although the engine itself never sent anything to it.
#[test]
fn a_silent_peer_of_another_thread_is_asked_for_new_keys() {
    let mut threads = Threads::agreed();
    threads.run(5000);
    let asked = |threads: &Threads| protected(&threads.ends.a, pair(0)).rekey.is_some();
    assert!(!asked(&threads));
    threads.sealed(1); // and lost
    let mut waited = 0;
    while !asked(&threads) {
        waited += 100;
        assert!(waited < 3000, "nobody noticed");
        threads.ends.millis += 100;
        let now = threads.ends.now();
        threads.ends.a.tick(now);
        outputs(&mut threads.ends.a); // prompts, and lost too
    }
    let soonest = LIVENESS.as_millis() as u64;
    assert!((soonest..=soonest + 100).contains(&waited), "{waited} ms");
}

#[test]
fn a_peer_that_another_thread_hears_is_not_silent() {
    let mut threads = Threads::agreed();
    for _ in 0..30 {
        // One way only: `b` answers with keepalives, by its engine.
        let one = threads.sealed(1);
        threads.open(&one);
        let rest = threads.run(100);
        assert!(!rest.iter().any(|(_, output)| matches!(output, Output::Event(_))));
        assert!(protected(&threads.ends.a, pair(0)).rekey.is_none());
    }
}

#[test]
fn a_narrower_path_is_told_to_all_threads() {
    let mut threads = Threads::agreed();
    let sealed = threads.sealed(2);
    let udp = [&[0x16, 0xe9, 0x16, 0xe9, 0, 0, 0, 0], &sealed[..]].concat();
    let sent = frame(pair(0).local.0, pair(0).remote.0, 17, &udp);
    let router = Ipv4Addr::new(10, 1, 0, 254).into();
    let kind = ErrorKind::TooBig { mtu: 1300 };
    let error = build_error_for(kind, router, &sent[PACKET_AT..]).unwrap();
    let bytes = [&[0; PACKET_AT], &error[..]].concat();
    let now = threads.ends.now();
    assert_eq!(arrive(&mut threads.ends.a, bytes, now), Incoming::Consumed);
    let told: Vec<(u8, u16)> = outputs(&mut threads.ends.a)
        .into_iter()
        .filter_map(|output| match output {
            Output::Beside(worker, Update::PathMtu(_, Some(mtu))) => Some((worker, mtu)),
            _ => None,
        })
        .collect();
    assert_eq!(told, [(1, 1300), (2, 1300)]);
}

#[test]
fn what_may_be_more_than_data_is_the_engine_s() {
    let mut threads = Threads::agreed();
    let port = DATA_PORT.to_be_bytes();
    let upper: [(u8, &[u8]); 3] = [
        (1, &[8, 0, 0, 0, 0, 1, 0, 1]),
        (17, &[0, 9, port[0], port[1], 0, 8, 0, 0]),
        (17, &[port[0], port[1], 0, 9, 0, 8, 0, 0]),
    ];
    let now = threads.ends.now().mono;
    for (protocol, upper) in upper {
        let mut bytes = frame(pair(0).local.0, pair(0).remote.0, protocol, upper);
        let mut frame = Frame { direction: Direction::Outgoing(ETH0), bytes: &mut bytes };
        let mut batch = SealedBatch::default();
        let outcome = threads.a[0].outgoing(&mut frame, 1500, &mut batch, now);
        assert_eq!((outcome, batch.runs().len()), (Outcome::ForEngine, 0));
    }
}
