//! The management server goes away.
//!
//! ```text
//!   ms .1 ✗ ──┬──  switch  ──┬── a .11  ges ─┐ transfer, then new flows
//!             │   tap on a   └── b .12  ges ─┘
//! ```

use crate::pair::Pair;
use crate::scenario::{Scenario, scenario};
use crate::stream::Stream;
use crate::wait::wait_until;
use anyhow::{Context, Result, ensure};
use std::time::Duration;

pub(crate) const LIST: &[Scenario] = &[
    scenario("server_away", "server killed: traffic and new flows go on", &[], away),
    scenario(
        "restart_from_cache",
        "an agent restarted without server works from its cache",
        &[],
        cache,
    ),
    scenario("server_back", "the server returns: agents find it and hear of changes", &[], back),
];

fn away() -> Result<()> {
    let mut pair = Pair::new("closed")?;
    pair.exchange(false)?;
    let tap = pair.tap()?;
    let stream = Stream::start(&pair.lab.a, pair.address_of_a(false), &pair.lab.b, None)?;
    wait_until("the transfer to run", Duration::from_secs(10), || Ok(stream.received() > 1 << 20))?;
    pair.server.kill()?;
    let from = stream.received();
    wait_until("the transfer to go on", Duration::from_secs(10), || {
        ensure!(!stream.is_done(), "the transfer broke");
        Ok(stream.received() > from + (16 << 20))
    })?;
    pair.exchange(true).context("a new flow while the server is away")?;
    stream.finish()?.ensure_intact()?;
    pair.ensure_protected(&tap.finish()?, true)
}

fn cache() -> Result<()> {
    let mut pair = Pair::new("closed")?;
    pair.exchange(false)?;
    pair.server.kill()?;
    let tap = pair.tap()?;
    for agent in [&mut pair.a, &mut pair.b] {
        agent.stop()?;
        agent.start().context("starting from the cache")?;
    }
    pair.exchange(false)?;
    pair.exchange(true)?;
    pair.ensure_protected(&tap.finish()?, false)
}

fn back() -> Result<()> {
    let mut pair = Pair::new("open")?;
    let id = pair.a.id()?;
    pair.server.kill()?;
    pair.server.resume()?;
    pair.server.admin(&["member", "set", &id, "--mode", "closed"])?;
    wait_until("the change to arrive", Duration::from_secs(30), || {
        Ok(pair.a.status()?["mode"] == "closed")
    })
}
