//! The agent comes and goes; the machine and its connections stay.
//!
//! ```text
//!   ms .1  ──┬──  switch  ──┬── a .11 ─┐ a connection opened before any agent runs
//!            │   tap on a   └── b .12 ─┘
//! ```

use crate::agent::Agent;
use crate::capture::Capture;
use crate::host::DEV;
use crate::lab::Lab;
use crate::machine::Machine;
use crate::pair::{GROUP, Pair};
use crate::scenario::{Scenario, scenario};
use crate::server::{Server, TokenRequest};
use crate::ssh::Ssh;
use crate::stream::{MARKER, Stream};
use crate::wait::wait_until;
use anyhow::{Context, Result, ensure};
use std::time::Duration;

pub(crate) const LIST: &[Scenario] = &[
    scenario("purge", "`ges down --purge` leaves the machine byte-identical", &[], purge),
    scenario("stop_open", "stopping an open agent leaves no rule behind", &[], stop_open),
    scenario("stop_closed", "stopping a closed agent leaves the machine closed", &[], stop_closed),
    scenario(
        "untouched",
        "addresses, routes and resolver stay while the agent runs",
        &[],
        untouched,
    ),
    scenario("tcp_across_start_stop", "a transfer lives through agents coming and going", &[], tcp),
    scenario("ssh", "ssh runs a command over both IP versions", SSH, ssh_command),
    scenario("ssh_across_start_stop", "an ssh connection does the same", SSH, ssh_across),
    scenario("second_agent", "a second agent on a host is refused, the first goes on", &[], second),
    scenario("restart", "a restarted agent keeps its identity and needs no token", &[], restart),
];

/// `sshd` changes users, which a user namespace with one user cannot.
const SSH: &[&str] = &["root", "sshd", "ssh", "ssh-keygen"];
const DEADLINE: Duration = Duration::from_secs(15);

fn purge() -> Result<()> {
    let lab = Lab::switched(1500)?;
    let server = Server::start(&lab.ms)?;
    server.group(GROUP)?;
    for mode in ["open", "closed"] {
        let before = Machine::read(&lab.a)?;
        let mut agent = Agent::enrol(&lab.a, &server, GROUP, mode)?;
        ensure!(!before.changes(&Machine::read(&lab.a)?).is_empty(), "the agent did nothing");
        agent.purge()?;
        before.ensure_same(&Machine::read(&lab.a)?).with_context(|| format!("{mode} mode"))?;
        ensure!(!agent.state().exists(), "the state directory is still there");
    }
    Ok(())
}

fn stop_open() -> Result<()> {
    let mut pair = Pair::new("open")?;
    let outsider = pair.lab.outsider()?.clone();
    pair.exchange(false)?;
    ensure!(pair.a.stop()? == 0, "the agent did not end with 0");
    let rules = Machine::read(&pair.lab.a)?;
    let links = pair.lab.a.run(&["ip", "-o", "link"])?;
    ensure!(links.lines().count() == 2, "links left behind:\n{links}");
    ensure!(!format!("{rules:?}").contains("netdev"), "a packet filter was left behind");
    let answer = crate::ping::ping(&outsider, pair.address_of_a(false), Duration::from_secs(3))?;
    ensure!(answer.is_some(), "the machine is not reachable after its agent stopped");
    Ok(())
}

fn stop_closed() -> Result<()> {
    let mut pair = Pair::new("closed")?;
    pair.exchange(false)?;
    let tap = pair.tap()?;
    pair.a.stop()?;
    for to in [pair.address_of_b(false), pair.address_of_b(true), pair.lab.outsider()?.v4.into()] {
        let answer = crate::ping::ping(&pair.lab.a, to, Duration::from_millis(500))?;
        ensure!(answer.is_none(), "a closed machine without agent reached {to}");
    }
    let tally = tap.finish()?;
    tally.ensure_no_clear(&pair.lab.a, &pair.lab.b)?;
    tally.ensure_no_clear(&pair.lab.a, pair.lab.outsider()?)?;
    pair.a.start().context("starting again")?;
    pair.exchange(false)
}

/// What the agent adds (its TUN, its packet filter, settings of its TUN) is all that may differ.
fn untouched() -> Result<()> {
    let mut pair = prepared()?;
    let eth0 = ["ip", "-d", "addr", "show", "dev", DEV];
    let (before, link) = (Machine::read(&pair.lab.a)?, pair.lab.a.run(&eth0)?);
    pair.a.start()?;
    pair.b.start()?;
    pair.exchange(false)?;
    pair.exchange(true)?;
    ensure!(pair.lab.a.run(&eth0)? == link, "{DEV} is not as it was");
    let tun = pair.lab.a.run(&["ip", "-o", "link", "show", "type", "tun"])?;
    let tun = tun.split(": ").nth(1).context("no TUN while the agent runs")?;
    let unexpected: Vec<String> = before
        .changes(&Machine::read(&pair.lab.a)?)
        .into_iter()
        .filter(|line| !line.starts_with("nft list ruleset") && !line.starts_with("ip -d addr"))
        .filter(|line| !line.contains(tun))
        .collect();
    ensure!(unexpected.is_empty(), "the agent changed:\n  {}", unexpected.join("\n  "));
    Ok(())
}

/// Host `a`, host `b` and the server, with both agents prepared but not started.
fn prepared() -> Result<Pair> {
    let lab = Lab::switched(1500)?;
    let server = Server::start(&lab.ms)?;
    server.group(GROUP)?;
    let a = Agent::prepare(&lab.a, &server, TokenRequest::new(GROUP, "open"))?;
    let b = Agent::prepare(&lab.b, &server, TokenRequest::new(GROUP, "open"))?;
    Ok(Pair { a, b, server, lab })
}

/// What must hold for any connection opened before the agents start. `alive` checks it once.
fn across(pair: &mut Pair, mut alive: impl FnMut() -> Result<()>) -> Result<()> {
    let plain = pair.tap()?;
    alive().context("before the agents")?;
    ensure!(plain.finish()?.clear(&pair.lab.a, &pair.lab.b) > 0, "it was not in clear before");
    pair.a.start()?;
    alive().context("with one agent")?;
    pair.b.start()?;
    wait_until("the connection to become protected", DEADLINE * 2, || {
        alive().context("with both agents")?;
        Ok(pair.a.verdict(pair.address_of_b(false))? == "protected"
            && pair.b.verdict(pair.address_of_a(false))? == "protected")
    })?;
    let tap = Capture::start(&pair.lab.middle, "a", Some(MARKER))?;
    alive().context("protected")?;
    pair.ensure_protected(&tap.finish()?, false)?;
    pair.a.stop()?;
    pair.b.stop()?;
    let tap = Capture::start(&pair.lab.middle, "a", Some(MARKER))?;
    alive().context("after the agents")?;
    let tally = tap.finish()?;
    ensure!(tally.clear(&pair.lab.a, &pair.lab.b) > 0, "nothing in clear after both stopped");
    ensure!(tally.sealed(&pair.lab.a, &pair.lab.b) == 0, "still sealed after both stopped");
    Ok(())
}

fn tcp() -> Result<()> {
    let mut pair = prepared()?;
    let stream = Stream::start(&pair.lab.a, pair.address_of_a(false), &pair.lab.b, None)?;
    across(&mut pair, || {
        let from = stream.received();
        wait_until("the transfer to go on", DEADLINE, || {
            ensure!(!stream.is_done(), "the transfer broke");
            Ok(stream.received() > from + (1 << 20))
        })
    })?;
    stream.finish()?.ensure_intact()
}

fn ssh_command() -> Result<()> {
    let pair = Pair::new("open")?;
    let ssh = Ssh::start(&pair.lab.b, &pair.lab.a)?;
    let tap = pair.tap()?;
    for v6 in [false, true] {
        let said = ssh.run(pair.address_of_b(v6), &["echo", "hello", "there"])?;
        ensure!(said == "hello there\n", "ssh printed {said:?}");
        pair.ensure_protected(&tap.so_far()?, v6)?;
    }
    pair.ensure_protected(&tap.finish()?, false)
}

fn ssh_across() -> Result<()> {
    let mut pair = prepared()?;
    let ssh = Ssh::start(&pair.lab.b, &pair.lab.a)?;
    let mut conversation = ssh.open(pair.address_of_b(false))?;
    across(&mut pair, || (0..20).try_for_each(|_| conversation.say()))
}

fn second() -> Result<()> {
    let pair = Pair::new("closed")?;
    pair.exchange(false)?;
    let before = Machine::read(&pair.lab.a)?;
    let token = pair.server.token(TokenRequest::new(GROUP, "open"))?;
    let mut other = Agent::with_token(&pair.lab.a, "second", &pair.server.url(), &token)?;
    let (code, said) = other.run_to_end()?;
    ensure!(code == 1 && said.contains("another agent"), "exit {code}: {said}");
    before.ensure_same(&Machine::read(&pair.lab.a)?)?;
    let tap = pair.tap()?;
    pair.exchange(false).context("the first agent")?;
    pair.ensure_protected(&tap.finish()?, false)
}

fn restart() -> Result<()> {
    let mut pair = Pair::new("closed")?;
    pair.exchange(false)?;
    let id = pair.a.id()?;
    for _ in 0..2 {
        pair.a.stop()?;
        pair.a.start()?;
        ensure!(pair.a.id()? == id, "a restarted agent has another identity");
        pair.exchange(false)?;
    }
    ensure!(pair.server.members()?.len() == 2, "restarts made new members");
    Ok(())
}
