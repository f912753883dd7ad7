//! Memory of an engine: alone, for each row in clear, for each protected row with its session.
//!
//! Two real engines negotiate in virtual time; then one is dropped, and what the allocator gets back is
//! what it held, tables with their room to grow and the keys inside the cryptography library included.
//! The allocator is asked (`mallinfo2`), since that library does not use Rust's.

use anyhow::{Context, Result, ensure};
use ge_core::crypto::Rng;
use ge_core::engine::Engine;
use ge_core::flow::{Direction, HostPair};
use ge_core::io::{Frame, InterfaceInfo, Output, PACKET_AT, Transmit};
use ge_core::now::Instant;
use ge_core::wire::ip::{HEADER_MAX, emit_header};
use ge_core::{Interface, Mode, Now};
use ge_sim::NodeId;
use ge_sim::mgmt::{Admission, Mgmt};
use ge_sim::node::START;
use rand_core::SeedableRng as _;
use serde_json::{Value, json};
use std::net::{IpAddr, Ipv4Addr};

/// Rows: just below what one address may cause at a host.
const ROWS: u32 = 4000;
/// One after the other at the pace a host grants an address that it knows to be there.
const PACE_MICROS: u64 = 5_000;
/// Virtual time after the last: the retry ladder ends, negotiations are forgotten.
const SETTLE_MICROS: u64 = 12_000_000;
const STEP_MICROS: u64 = 50_000;
const ETH0: Interface = Interface(2);
const ASKS: IpAddr = IpAddr::V4(Ipv4Addr::new(10, 0, 0, 1));

/// Measured bytes.
pub(crate) struct Size {
    what: &'static str,
    bytes: f64,
}

impl Size {
    pub(crate) fn to_json(&self) -> Value {
        json!({ "name": self.what, "bytes": self.bytes })
    }
}

impl std::fmt::Display for Size {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{:<44} {:>10.0} bytes", self.what, self.bytes)
    }
}

pub(crate) fn sizes() -> Result<Vec<Size>> {
    let alone = Scene::new(Mode::Closed)?.into_sizes(0, "")?[0];
    let mut clear = Scene::new(Mode::Open)?;
    clear.negotiate(false);
    let [clear, _] = clear.into_sizes(ROWS, "clear")?;
    let mut protected = Scene::new(Mode::Closed)?;
    protected.negotiate(true);
    let [asking, asked] = protected.into_sizes(ROWS, "protected")?;
    let each = |all: f64| (all - alone) / f64::from(ROWS);
    let size = |what, bytes| Size { what, bytes };
    Ok(vec![
        size("engine without rows", alone),
        size("PIT row in clear", each(clear)),
        size("PIT row with session, initiator", each(asking)),
        size("PIT row with session, responder", each(asked)),
        size("session", each(asking) - each(clear)),
    ])
}

/// Two engines of one group. The asked one has an address for every row.
struct Scene {
    asking: Box<Engine>,
    asked: Box<Engine>,
    micros: u64,
}

impl Scene {
    fn new(mode: Mode) -> Result<Self> {
        let mut mgmt = Mgmt::new(Rng::seed_from_u64(3), START);
        let group = mgmt.add_group(START);
        let mut members = Vec::new();
        for number in [0, 1] {
            let node = NodeId(number);
            members.push((node, mgmt.add_member(node, Admission::host(mode, &[group]))));
        }
        let mut engines = Vec::new();
        for ((node, identity), addresses) in
            members.into_iter().zip([vec![ASKS], (0..ROWS).map(remote).collect::<Vec<_>>()])
        {
            let mut engine = Box::new(Engine::new(identity, [node.0 as u8; 32]));
            let interface = InterfaceInfo {
                interface: ETH0,
                name: String::from("eth0"),
                mac: [2; 6],
                mtu: 1500,
                addresses: vec![(addresses[0], 8)],
            };
            engine.set_interfaces(vec![interface], &addresses);
            engine.install(mgmt.membership(node, START).context("no membership")?, now(0))?;
            while !matches!(engine.poll_output(), Output::Idle { .. }) {}
            engines.push(engine);
        }
        let [asking, asked] = <[_; 2]>::try_from(engines).ok().context("two engines")?;
        Ok(Self { asking, asked, micros: 0 })
    }

    /// One negotiation for each row, answered or not.
    fn negotiate(&mut self, answered: bool) {
        for row in 0..ROWS {
            let pair = HostPair::new(ASKS, remote(row));
            self.asking.probe(pair, ETH0, now(self.micros));
            self.turn(answered, PACE_MICROS);
        }
        for _ in 0..SETTLE_MICROS / STEP_MICROS {
            self.turn(answered, STEP_MICROS);
        }
    }

    /// Carries messages until nobody has more to say; then time passes.
    fn turn(&mut self, answered: bool, micros: u64) {
        loop {
            let asked = carry(&mut self.asking, answered.then_some(&mut *self.asked), self.micros);
            let replied = carry(&mut self.asked, Some(&mut self.asking), self.micros);
            if asked + replied == 0 {
                break;
            }
        }
        self.micros += micros;
        self.asking.tick(now(self.micros));
        self.asked.tick(now(self.micros));
    }

    /// What each engine held. All rows must have the verdict.
    fn into_sizes(self, rows: u32, verdict: &str) -> Result<[f64; 2]> {
        let flows = self.asking.snapshot(now(self.micros)).flows;
        let right = flows.iter().filter(|flow| flow.verdict == verdict).count();
        ensure!(right == rows as usize, "{right} of {rows} rows are {verdict}");
        drop(flows);
        Ok([held(self.asking)?, held(self.asked)?])
    }
}

/// Bytes that came back when it was dropped.
fn held(engine: Box<Engine>) -> Result<f64> {
    let before = allocated()?;
    drop(engine);
    Ok((before - allocated()?) as f64)
}

fn remote(row: u32) -> IpAddr {
    Ipv4Addr::from(0x0a01_0000 + row).into()
}

fn now(micros: u64) -> Now {
    Now { mono: Instant::from_micros(micros), unix: START }
}

/// Hands over what an engine wants sent, or loses it; how many messages they were.
fn carry(from: &mut Engine, mut to: Option<&mut Engine>, micros: u64) -> usize {
    let mut sent = 0;
    loop {
        match from.poll_output() {
            Output::Idle { .. } => return sent,
            Output::Transmit(transmit) => {
                sent += 1;
                if let Some(to) = to.as_deref_mut() {
                    let direction = Direction::Incoming(ETH0);
                    let bytes = &mut frame(&transmit);
                    to.incoming(&Frame { direction, bytes }, now(micros));
                }
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

/// Bytes the process has from the allocator now.
#[cfg(target_env = "gnu")]
fn allocated() -> Result<isize> {
    // SAFETY: the function has no preconditions and returns a plain struct.
    let info = unsafe { libc::mallinfo2() };
    Ok((info.uordblks + info.hblkhd) as isize)
}

/// Other C libraries do not say.
#[cfg(not(target_env = "gnu"))]
fn allocated() -> Result<isize> {
    anyhow::bail!("memory is measured with the GNU C library only")
}
