//! What the administrator changes while traffic runs.
//!
//! ```text
//!   ms .1  ──┬──  switch  ──┬── a .11  ges ─┐ endless transfer
//!            │   tap on a   ├── b .12  ges ─┘
//!            │              └── o .99
//! ```

use crate::pair::{ECHO_DEADLINE, GROUP, NO_ECHO, Pair};
use crate::ping::ping;
use crate::scenario::{Scenario, scenario};
use crate::stream::Stream;
use crate::wait::wait_until;
use anyhow::{Context, Result, ensure};
use std::time::{Duration, Instant};

pub(crate) const LIST: &[Scenario] = &[
    scenario("rotate_under_load", "three key rotations in one transfer, nothing lost", &[], rotate),
    scenario("remove_member", "a removed member's transfer stops", &[], || remove("closed")),
    scenario(
        "remove_member_open",
        "the same in open mode: nothing falls back to clear",
        &[],
        || remove("open"),
    ),
    scenario("mode_switch", "closing and opening a member is pushed to it", &[], switch),
];

/// No byte for this long is a stop. Far longer than any retransmission before the change.
const STOPPED: Duration = Duration::from_secs(2);

fn rotate() -> Result<()> {
    let pair = Pair::new("closed")?;
    pair.exchange(false)?;
    let tap = pair.tap()?;
    let stream = Stream::start(&pair.lab.a, pair.address_of_a(false), &pair.lab.b, None)?;
    for _ in 0..3 {
        let next = pair.a.epoch()?.max(pair.b.epoch()?) + 1;
        pair.server.admin(&["key", "rotate", GROUP])?;
        pair.a.wait_epoch(next)?;
        pair.b.wait_epoch(next)?;
        let from = stream.received();
        wait_until("the transfer to go on", Duration::from_secs(10), || {
            ensure!(!stream.is_done(), "the transfer broke");
            Ok(stream.received() > from + (4 << 20))
        })?;
    }
    let report = stream.finish()?;
    report.ensure_intact()?;
    println!("longest pause {} ms", report.longest_gap.as_millis());
    pair.ensure_protected(&tap.finish()?, false)
}

fn remove(mode: &str) -> Result<()> {
    let pair = Pair::new(mode)?;
    pair.exchange(false)?;
    // On a slow machine open members talk in clear until they have agreed.
    pair.a.wait_verdict(pair.address_of_b(false), "protected")?;
    pair.b.wait_verdict(pair.address_of_a(false), "protected")?;
    let stream = Stream::start(&pair.lab.a, pair.address_of_a(false), &pair.lab.b, None)?;
    wait_until("the transfer to run", Duration::from_secs(10), || Ok(stream.received() > 1 << 20))?;
    let tap = pair.tap()?;
    pair.server.admin(&["member", "remove", &pair.b.id()?])?;
    let (mut last, mut since) = (stream.received(), Instant::now());
    wait_until("the removed member's transfer to stop", Duration::from_secs(20), || {
        if stream.received() != last {
            (last, since) = (stream.received(), Instant::now());
        }
        Ok(since.elapsed() > STOPPED)
    })?;
    let answer = ping(&pair.lab.b, pair.address_of_a(false), Duration::from_secs(2))?;
    ensure!(answer.is_none(), "a removed member was answered");
    let tally = tap.finish()?;
    // What the removed machine may still send in clear is its own affair; the member must not.
    let from_member = tally.frames.iter().any(|((from, to, kind), _)| {
        pair.lab.a.addresses().contains(from)
            && pair.lab.b.addresses().contains(to)
            && kind.is_clear()
    });
    ensure!(!from_member, "the member fell back to clear; in clear:\n  {}", tally.samples());
    ensure!(tally.marker == 0, "{} frames show the marker", tally.marker);
    let verdict = pair.a.verdict(pair.address_of_b(false))?;
    ensure!(verdict != "protected" && verdict != "clear", "verdict {verdict}");
    Ok(())
}

fn switch() -> Result<()> {
    let pair = Pair::new("open")?;
    let outsider = pair.lab.outsider()?;
    let own = pair.address_of_a(false);
    let id = pair.a.id()?;
    ensure!(ping(outsider, own, ECHO_DEADLINE)?.is_some(), "an open host refused an outsider");
    for (mode, reached) in [("closed", false), ("open", true)] {
        pair.server.admin(&["member", "set", &id, "--mode", mode])?;
        pair.a.wait_status("mode", mode).with_context(|| format!("pushing {mode}"))?;
        let answer = ping(outsider, own, if reached { ECHO_DEADLINE } else { NO_ECHO })?;
        ensure!(answer.is_some() == reached, "{mode}: {answer:?}");
        pair.exchange(false).with_context(|| format!("members while {mode}"))?;
    }
    Ok(())
}
