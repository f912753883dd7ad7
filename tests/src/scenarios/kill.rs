//! The agent dies without a chance to clean up.
//!
//! ```text
//!   ms .1  ──┬──  switch  ──┬── a .11  ges, killed at random moments
//!            │   tap on a   ├── b .12  ges, killed at random moments
//!            │              └── o .99
//! ```
//! `E2E_KILLS=1000 cargo xtask e2e sigkill_closed` for the figure of THREATS row 50.

use crate::agent::Agent;
use crate::pair::{ECHO_DEADLINE, Pair};
use crate::ping::ping;
use crate::scenario::{Scenario, scenario};
use crate::stream::{Stream, transfer};
use crate::wait::wait_until;
use anyhow::{Context, Result, ensure};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

pub(crate) const LIST: &[Scenario] = &[
    scenario(
        "sigkill_closed",
        "killed under load, closed: nothing leaks, traffic recovers",
        &[],
        closed,
    ),
    scenario("sigkill_open", "killed, open: the machine is usable again", &[], open),
];

/// Kills without `E2E_KILLS`.
const KILLS: u32 = 3;
/// TCP doubles its wait with every loss, so that a pause of a second may take two to end.
const RECOVERY: Duration = Duration::from_secs(20);

fn closed() -> Result<()> {
    let kills = std::env::var("E2E_KILLS").ok().and_then(|n| n.parse().ok()).unwrap_or(KILLS);
    let mut pair = Pair::new("closed")?;
    let tap = pair.tap()?;
    pair.exchange(false)?;
    let stream = Stream::start(&pair.lab.a, pair.address_of_a(false), &pair.lab.b, None)?;
    let mut random = Random::new()?;
    for round in 0..kills {
        advance(&stream).with_context(|| format!("round {round}"))?;
        // The moment is the point of the test: anywhere in the agent's work.
        std::thread::sleep(Duration::from_micros(random.below(40_000)));
        victim(&mut pair, round).kill()?;
        // Programs go on sending at a machine whose agent is gone.
        let _ = ping(&pair.lab.a, pair.address_of_b(false), Duration::from_millis(30))?;
        let _ = ping(&pair.lab.b, pair.address_of_a(true), Duration::from_millis(30))?;
        victim(&mut pair, round).start().with_context(|| format!("restart in round {round}"))?;
    }
    advance(&stream).context("after the last restart")?;
    let report = stream.finish()?;
    report.ensure_intact()?;
    let tally = tap.finish()?;
    println!("{kills} kills, {} sealed frames", tally.sealed(&pair.lab.a, &pair.lab.b));
    pair.ensure_protected(&tally, false)
}

fn open() -> Result<()> {
    let mut pair = Pair::new("open")?;
    let outsider = pair.lab.outsider()?.clone();
    pair.exchange(false)?;
    pair.a.kill()?;
    let usable = || {
        let there = ping(&outsider, pair.address_of_a(false), Duration::from_millis(500))?;
        let back = ping(&pair.lab.a, outsider.v4.into(), Duration::from_millis(500))?;
        Ok(there.is_some() && back.is_some())
    };
    wait_until("an open machine whose agent was killed to be usable", RECOVERY, usable)?;
    transfer(&pair.lab.a, pair.address_of_a(false), &outsider, 4 << 20)?;
    pair.a.start().context("starting again after a kill")?;
    let answer = ping(&pair.lab.a, pair.address_of_b(false), ECHO_DEADLINE)?;
    ensure!(answer.is_some(), "the members do not talk after the restart");
    pair.a.wait_verdict(pair.address_of_b(false), "protected")
}

fn victim(pair: &mut Pair, round: u32) -> &mut Agent {
    if round.is_multiple_of(2) { &mut pair.a } else { &mut pair.b }
}

/// Waits until another megabyte has arrived.
fn advance(stream: &Stream) -> Result<()> {
    let from = stream.received();
    wait_until("the transfer to go on", RECOVERY, || {
        ensure!(!stream.is_done(), "the transfer broke");
        Ok(stream.received() > from + (1 << 20))
    })
}

/// xorshift64, seeded by the clock: every run kills at other moments.
struct Random(u64);

impl Random {
    fn new() -> Result<Self> {
        let seed = SystemTime::now().duration_since(UNIX_EPOCH)?.as_nanos() as u64 | 1;
        println!("seed {seed}");
        Ok(Self(seed))
    }

    fn below(&mut self, limit: u64) -> u64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        self.0 % limit
    }
}
