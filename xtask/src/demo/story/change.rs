//! Claims about what the administrator does while traffic runs.

use super::{GROUP, Story};
use crate::demo::table::Table;
use anyhow::{Context, Result, ensure};
use e2e::pair::ECHO_DEADLINE;
use e2e::ping::ping;
use e2e::stream::Stream;
use e2e::wait::wait_until;
use std::time::{Duration, Instant};

/// Longest pause of a transfer that we do not call a stall.
const STALL: Duration = Duration::from_secs(1);
/// No byte for this long: the transfer has stopped.
const STOPPED: Duration = Duration::from_millis(1500);
const DEADLINE: Duration = Duration::from_secs(15);
/// Rotations in one transfer.
const ROTATIONS: u32 = 2;

pub(super) fn outsider_let_in(story: &mut Story, _table: &mut Table) -> Result<String> {
    let a = story.a()?;
    let outsider = story.lab.outsider()?;
    let took = ping(outsider, story.lab.a.v4.into(), ECHO_DEADLINE)?.context("no answer")?;
    a.wait_verdict(outsider.v4.into(), "clear")?;
    Ok(format!("o is answered in {} ms; verdict on a: clear", took.as_millis()))
}

pub(super) fn closed(story: &mut Story, table: &mut Table) -> Result<String> {
    let a = story.a()?;
    let outsider = story.lab.outsider()?;
    let start = Instant::now();
    story.server.admin(&["member", "set", &a.id()?, "--mode", "closed"])?;
    a.wait_status("mode", "closed")?;
    let pushed = start.elapsed().as_millis();
    table.note("the outsider tries");
    let answer = ping(outsider, story.lab.a.v4.into(), Duration::from_secs(2))?;
    ensure!(answer.is_none(), "the outsider was answered");
    let member = ping(&story.lab.b, story.lab.a.v4.into(), ECHO_DEADLINE)?;
    ensure!(member.is_some(), "the member was not answered");
    Ok(format!("pushed in {pushed} ms; o gets no answer, b does"))
}

pub(super) fn rotate(story: &mut Story, table: &mut Table) -> Result<String> {
    let (a, b) = (story.a()?, story.b()?);
    let stream = endless(story)?;
    let first = a.epoch()?;
    let start = Instant::now();
    for _ in 0..ROTATIONS {
        let next = a.epoch()?.max(b.epoch()?) + 1;
        story.server.admin(&["key", "rotate", GROUP])?;
        table.note(&format!("epoch {next} on its way, {} MiB", stream.received() >> 20));
        a.wait_epoch(next)?;
        b.wait_epoch(next)?;
        advance(&stream, table, &format!("epoch {next} on both"))?;
    }
    let took = start.elapsed().as_millis() / u128::from(ROTATIONS);
    let last = a.epoch()?;
    let report = stream.finish()?;
    report.ensure_intact()?;
    let pause = report.longest_gap;
    ensure!(pause < STALL, "the transfer stalled for {} ms", pause.as_millis());
    Ok(format!(
        "epoch {first} → {last}, {took} ms each; {} MiB intact, longest pause {} ms",
        report.bytes >> 20,
        pause.as_millis()
    ))
}

pub(super) fn remove(story: &mut Story, table: &mut Table) -> Result<String> {
    let b = story.b()?;
    let stream = endless(story)?;
    advance(&stream, table, "running")?;
    story.server.admin(&["member", "remove", &b.id()?])?;
    let removed = Instant::now();
    let (mut bytes, mut last) = (stream.received(), removed);
    wait_until("the removed member's transfer to stop", DEADLINE, || {
        if stream.received() != bytes {
            (bytes, last) = (stream.received(), Instant::now());
        }
        table.note(&format!("{} MiB", bytes >> 20));
        Ok(last.elapsed() > STOPPED)
    })?;
    let answer = ping(&story.lab.b, story.lab.a.v4.into(), Duration::from_secs(1))?;
    ensure!(answer.is_none(), "the removed member is still answered");
    Ok(format!("its transfer stopped after {} ms", last.duration_since(removed).as_millis()))
}

/// A transfer from `a` to `b` that goes on until it is finished.
fn endless(story: &Story) -> Result<Stream> {
    Stream::start(&story.lab.a, story.lab.a.v4.into(), &story.lab.b, None)
}

/// Waits until another 16 MiB have arrived.
fn advance(stream: &Stream, table: &mut Table, what: &str) -> Result<()> {
    let goal = stream.received() + (16 << 20);
    wait_until("the transfer to go on", DEADLINE, || {
        ensure!(!stream.is_done(), "the transfer broke");
        table.note(&format!("{what}, {} MiB", stream.received() >> 20));
        Ok(stream.received() > goal)
    })
}
