//! Two agents of one group that negotiate in virtual time: real engines, messages carried by hand.

use anyhow::{Context, Result};
use ge_core::crypto::Rng;
use ge_core::engine::Engine;
use ge_core::fast_path::FastPath;
use ge_core::flow::{Direction, HostPair};
use ge_core::io::{Frame, InterfaceInfo, Output, PACKET_AT, Transmit};
use ge_core::now::Instant;
use ge_core::wire::ip::{HEADER_MAX, emit_header};
use ge_core::{Interface, Mode, Now};
use ge_runtime::key_client::has_aes;
use ge_sim::NodeId;
use ge_sim::mgmt::{Admission, Mgmt};
use ge_sim::node::START;
use rand_core::SeedableRng as _;
use std::net::{IpAddr, Ipv4Addr};

/// The only interface of either.
pub(crate) const ETH0: Interface = Interface(2);
pub(crate) const MTU: u16 = 1500;
pub(crate) const ASKS: IpAddr = IpAddr::V4(Ipv4Addr::new(10, 0, 0, 1));

/// An engine, and the threads beside it that were asked for.
pub(crate) struct Agent {
    pub(crate) engine: Box<Engine>,
    pub(crate) beside: Vec<FastPath>,
}

/// One agent that asks, [`ASKS`], and one that is asked.
pub(crate) struct Scene {
    pub(crate) asking: Agent,
    pub(crate) asked: Agent,
    micros: u64,
}

impl Scene {
    /// The asked agent has these addresses; both spread their data path over so many threads.
    pub(crate) fn new(mode: Mode, asked: &[IpAddr], workers: u8) -> Result<Self> {
        let mut mgmt = Mgmt::new(Rng::seed_from_u64(3), START);
        let group = mgmt.add_group(START);
        let nodes = [NodeId(0), NodeId(1)];
        let aes = Some(has_aes());
        let admission = || Admission { aes, ..Admission::host(mode, &[group]) };
        let identities = nodes.map(|node| mgmt.add_member(node, admission()));
        let mut agents = Vec::new();
        for ((node, identity), addresses) in nodes.into_iter().zip(identities).zip([&[ASKS], asked])
        {
            let mut engine = Box::new(Engine::new(identity, [node.0 as u8; 32]));
            let interface = InterfaceInfo {
                interface: ETH0,
                name: String::from("eth0"),
                mac: [2; 6],
                mtu: MTU,
                addresses: vec![(addresses[0], 8)],
            };
            engine.set_interfaces(vec![interface], addresses);
            let beside = engine.spread(workers);
            engine.install(mgmt.membership(node, START).context("no membership")?, now(0))?;
            while !matches!(engine.poll_output(), Output::Idle { .. }) {}
            agents.push(Agent { engine, beside });
        }
        let [asking, asked] = <[_; 2]>::try_from(agents).ok().context("two agents")?;
        Ok(Self { asking, asked, micros: 0 })
    }

    pub(crate) fn now(&self) -> Now {
        now(self.micros)
    }

    /// Begins a negotiation with this address of the asked agent.
    pub(crate) fn ask(&mut self, remote: IpAddr) {
        self.asking.engine.probe(HostPair::new(ASKS, remote), ETH0, self.now());
    }

    /// Carries messages, answered or not, until nobody has more to say; then time passes.
    pub(crate) fn turn(&mut self, answered: bool, micros: u64) {
        let now = self.now();
        loop {
            let asked = carry(&mut self.asking, answered.then_some(&mut self.asked), now);
            let replied = carry(&mut self.asked, Some(&mut self.asking), now);
            if asked + replied == 0 {
                break;
            }
        }
        self.micros += micros;
        let now = self.now();
        self.asking.engine.tick(now);
        self.asked.engine.tick(now);
    }
}

fn now(micros: u64) -> Now {
    Now { mono: Instant::from_micros(micros), unix: START }
}

/// Hands over what an agent wants sent, or loses it; how many messages they were.
fn carry(from: &mut Agent, mut to: Option<&mut Agent>, now: Now) -> usize {
    let mut sent = 0;
    loop {
        match from.engine.poll_output() {
            Output::Idle { .. } => return sent,
            Output::Transmit(transmit) => {
                sent += 1;
                if let Some(to) = to.as_deref_mut() {
                    let direction = Direction::Incoming(ETH0);
                    let bytes = &mut frame(&transmit);
                    to.engine.incoming(&Frame { direction, bytes }, now);
                }
            }
            Output::Beside(worker, update) => {
                from.beside[usize::from(worker) - 1].apply(update);
            }
            _ => {}
        }
    }
}

fn frame(transmit: &Transmit) -> Vec<u8> {
    let Transmit { from, to, protocol, bytes, .. } = transmit;
    let mut header = [0; HEADER_MAX];
    let length = emit_header(&mut header, from.0, to.0, *protocol, bytes.len(), 0, 64);
    [&[0; PACKET_AT], &header[..length], bytes].concat()
}
