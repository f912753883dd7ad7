//! Two engines and what goes between them.

use super::*;
use crate::addr::WireAddr;
use crate::dprp::domain::Member;
use crate::engine::row::{Negotiation, Protected};
use crate::io::{DatagramMeta, DatagramRun, KernelVerdict, Received, Transmit};
use crate::limits::{CDN_WAIT, DATA_PORT};
use crate::wire::dprp::{Kind, peek};
use crate::wire::icmp::ECHO_LEN;

/// Remote hosts all of whose addresses are those of engine `b`.
const ADDRESSES: u32 = 32;

/// Engine `a` has the address [`local`], engine `b` the remote ones of [`super::pair`].
pub(super) struct Ends {
    pub(super) a: Engine,
    pub(super) b: Engine,
    pub(super) millis: u64,
}

/// Which of the two.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum End {
    A,
    B,
}

impl Ends {
    /// Two open members of group 1.
    pub(super) fn new() -> Self {
        let domain = Domain::new(1);
        Self::of(&domain.member(1, &[1]), &domain.member(2, &[1]))
    }

    pub(super) fn of(a: &Member, b: &Member) -> Self {
        Self { a: a_engine(a), b: b_engine(b, 2), millis: 0 }
    }

    /// Two members whose first pair is protected and has nothing under way.
    pub(super) fn agreed() -> Self {
        let mut pair = Self::new();
        pair.agree(0);
        pair
    }

    pub(super) fn now(&self) -> Now {
        at_millis(self.millis)
    }

    /// `a` sends to an address of `b`, and all that follows from it happens.
    pub(super) fn agree(&mut self, n: u32) {
        assert_eq!(self.send(n), Outgoing::Consumed);
        self.carry();
        assert!(self.a.current_session(pair(n)).is_some());
        assert!(self.b.current_session(pair(n).reversed()).is_some());
        assert!(protected(&self.a, pair(n)).rekey.is_none(), "confirmed");
    }

    /// A program at `a` sends to an address of `b`. Sealed datagrams wait among the outputs.
    pub(super) fn send(&mut self, n: u32) -> Outgoing {
        let (mut batch, now) = (SealedBatch::default(), self.now());
        let done = seal(&mut self.a, pair(n), &mut batch, now);
        self.a.emit_batch(&mut batch);
        done
    }

    /// Time passes at both ends, in steps of a tenth of a second, and nothing is lost.
    pub(super) fn run(&mut self, millis: u64) -> Vec<(End, Output)> {
        let mut rest = Vec::new();
        for _ in 0..millis / 100 {
            self.millis += 100;
            let now = self.now();
            self.a.tick(now);
            self.b.tick(now);
            rest.extend(self.carry());
        }
        rest
    }

    /// Hands over what each has for the other until there is nothing more; gives what else they
    /// want done.
    pub(super) fn carry(&mut self) -> Vec<(End, Output)> {
        let mut rest = Vec::new();
        loop {
            self.turn();
            let (from_a, from_b) = (outputs(&mut self.a), outputs(&mut self.b));
            if from_a.is_empty() && from_b.is_empty() {
                return rest;
            }
            let now = self.now();
            for output in from_a {
                rest.extend(hand_over(&mut self.b, output, now).map(|output| (End::A, output)));
            }
            for output in from_b {
                rest.extend(hand_over(&mut self.a, output, now).map(|output| (End::B, output)));
            }
        }
    }

    /// Hands `a`'s outputs to `b` and gives the answers, without carrying them.
    pub(super) fn answers(&mut self, questions: Vec<Output>) -> Vec<Output> {
        let now = self.now();
        for output in questions {
            hand_over(&mut self.b, output, now);
        }
        self.turn();
        outputs(&mut self.b)
    }

    /// What waits for the next turn only is done.
    fn turn(&mut self) {
        let now = self.now();
        let soon = Now { mono: now.mono + CDN_WAIT, ..now };
        self.a.tick(soon);
        self.b.tick(soon);
    }
}

pub(super) fn a_engine(member: &Member) -> Engine {
    let mut engine = Engine::new(member.identity.clone(), [1; 32]);
    engine.set_interfaces(vec![interface(ETH0)], &[local()]);
    engine.install(member.membership.clone(), at(0)).unwrap();
    engine
}

pub(super) fn b_engine(member: &Member, seed: u8) -> Engine {
    let mut engine = Engine::new(member.identity.clone(), [seed; 32]);
    let own: Vec<IpAddr> = (0..ADDRESSES).map(|n| pair(n).remote.0).collect();
    let addresses = own.iter().map(|address| (*address, 8)).collect();
    engine.set_interfaces(vec![InterfaceInfo { addresses, ..interface(ETH0) }], &own);
    engine.install(member.membership.clone(), at(0)).unwrap();
    engine
}

/// What one engine sends arrives at another; gives it back if it goes nowhere.
pub(super) fn hand_over(to: &mut Engine, output: Output, now: Now) -> Option<Output> {
    match output {
        Output::Transmit(Transmit { from, to: target, protocol, bytes, .. }) => {
            let packet = frame(from.0, target.0, protocol, &bytes);
            assert_eq!(arrive(to, packet, now), Incoming::Consumed);
            None
        }
        Output::Datagrams(run) => {
            hand_over_run(to, run, now);
            None
        }
        other => Some(other),
    }
}

fn hand_over_run(to: &mut Engine, run: DatagramRun, now: Now) {
    let (Some(from), Some((target, _))) = (run.from, run.to) else { return };
    let meta = DatagramMeta {
        from: WireAddr(from.0),
        from_port: DATA_PORT,
        to: target,
        tos: run.tos,
        interface: ETH0,
    };
    let mut bytes = run.bytes;
    let received = Received::alone(&bytes, run.segment, meta);
    to.datagrams(&mut bytes, &[received], now, &mut |_| ());
}

/// Kinds of the negotiation messages among outputs.
pub(super) fn kinds(outputs: &[Output]) -> Vec<Kind> {
    let kind = |output: &Output| match output {
        Output::Transmit(transmit) => Some(peek(&transmit.bytes[ECHO_LEN..])?.kind),
        _ => None,
    };
    outputs.iter().filter_map(kind).collect()
}

pub(super) fn is_forget(output: &Output, pair: HostPair) -> bool {
    matches!(output, Output::Kernel(KernelVerdict::Forget { pair: gone }) if *gone == pair)
}

pub(super) fn protected(engine: &Engine, pair: HostPair) -> &Protected {
    engine.pit.get(pair).and_then(Row::protected).expect("the pair is protected")
}

pub(super) fn negotiation(engine: &Engine, pair: HostPair) -> &Negotiation {
    engine.pit.get(pair).and_then(Row::negotiation).expect("a negotiation is under way")
}
