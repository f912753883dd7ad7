//! Memory of an engine: alone, for each row in clear, for each protected row with its session.
//!
//! Two real engines negotiate in virtual time; then one is dropped, and what the allocator gets back is
//! what it held, tables with their room to grow and the keys inside the cryptography library included.
//! The allocator is asked (`mallinfo2`), since that library does not use Rust's.

use crate::scene::Scene;
use anyhow::{Result, ensure};
use ge_core::Mode;
use ge_core::engine::Engine;
use serde_json::{Value, json};
use std::net::{IpAddr, Ipv4Addr};

/// Rows: just below what one address may cause at a host.
const ROWS: u32 = 4000;
/// One after the other at the pace a host grants an address that it knows to be there.
const PACE_MICROS: u64 = 5_000;
/// Virtual time after the last: the retry ladder ends, negotiations are forgotten.
const SETTLE_MICROS: u64 = 12_000_000;
const STEP_MICROS: u64 = 50_000;

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
    let alone = into_sizes(scene(Mode::Closed)?, 0, "")?[0];
    let mut clear = scene(Mode::Open)?;
    negotiate(&mut clear, false);
    let [clear, _] = into_sizes(clear, ROWS, "clear")?;
    let mut protected = scene(Mode::Closed)?;
    negotiate(&mut protected, true);
    let [asking, asked] = into_sizes(protected, ROWS, "protected")?;
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

/// The asked agent has an address for every row.
fn scene(mode: Mode) -> Result<Scene> {
    Scene::new(mode, &(0..ROWS).map(remote).collect::<Vec<_>>(), 1)
}

/// One negotiation for each row, answered or not.
fn negotiate(scene: &mut Scene, answered: bool) {
    for row in 0..ROWS {
        scene.ask(remote(row));
        scene.turn(answered, PACE_MICROS);
    }
    for _ in 0..SETTLE_MICROS / STEP_MICROS {
        scene.turn(answered, STEP_MICROS);
    }
}

/// What each engine held. All rows must have the verdict.
fn into_sizes(scene: Scene, rows: u32, verdict: &str) -> Result<[f64; 2]> {
    let flows = scene.asking.engine.snapshot(scene.now()).flows;
    let right = flows.iter().filter(|flow| flow.verdict == verdict).count();
    ensure!(right == rows as usize, "{right} of {rows} rows are {verdict}");
    drop(flows);
    Ok([held(scene.asking.engine)?, held(scene.asked.engine)?])
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
