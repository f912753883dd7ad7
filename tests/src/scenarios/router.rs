//! Routers with an agent, in front of machines without one.
//!
//! ```text
//!   a ── r1 ── b              a ── r1 ── r2 ── b            a ── r1 ── r2 ── r3 ── b
//!        └ ms, in network 1        └ ms                          └ ms
//! ```

use crate::agent::{Agent, RouterRequest};
use crate::host::Host;
use crate::lab::set;
use crate::machine::Machine;
use crate::pair::{ECHO_DEADLINE, GROUP, NO_ECHO};
use crate::ping::{Pinger, ping};
use crate::proof::under_tap;
use crate::row::{Row, address};
use crate::scenario::{Scenario, scenario};
use crate::server::Server;
use crate::stream::{MARKER, transfer};
use crate::tools::{self, PROGRAMS, SSH};
use crate::wait::wait_until;
use anyhow::{Context, Result, ensure};
use std::net::IpAddr;
use std::time::Duration;

pub(crate) const LIST: &[Scenario] = &[
    scenario("router_open", "an open router passes plaintext, and leaves as it came", &[], open),
    scenario("router_forwarding", "a machine that does not forward is refused", &[], forwarding),
    scenario("router_certified", "only certified subnets are protected", &[], certified),
    scenario("router_host", "a member talks sealed with a machine behind a router", &[], || {
        host_to_plain("open")
    }),
    scenario("router_host_closed", "the same, router and member closed", &[], || {
        host_to_plain("closed")
    }),
    scenario("router_programs", "curl, iperf3 and ping through it", PROGRAMS, programs),
    scenario("router_ssh", "ssh through it", SSH, ssh),
    scenario("router_router", "two routers protect what is between them", &[], router_to_router),
    scenario("router_cascade", "of three in a row the innermost protects", &[], cascade),
    scenario("router_transit", "routers between two members let their session pass", &[], transit),
    scenario(
        "router_must_protect",
        "an open router passes nothing in clear to what must be protected",
        &[],
        must_protect,
    ),
    scenario("router_masquerade", "a masquerading router protects as well", &["nft"], masquerade),
];

pub(super) const FILE: u64 = 8 << 20;
pub(super) const DEADLINE: Duration = Duration::from_secs(10);

pub(super) fn begin(routers: usize) -> Result<(Row, Server)> {
    let row = Row::new(routers)?;
    let server = Server::start(&row.ms)?;
    server.group(GROUP)?;
    Ok((row, server))
}

pub(super) fn router<'a>(
    mode: &'a str,
    outside: &'a str,
    protect: &'a [String],
) -> RouterRequest<'a> {
    RouterRequest { group: GROUP, mode, outside, protect }
}

/// Readable echoes that must be answered, both IP versions.
pub(super) fn exchange(from: &Host, to: &Host) -> Result<()> {
    for v6 in [false, true] {
        let mut pinger = Pinger::new(from, address(to, v6), MARKER)?;
        for count in 1..=3 {
            let answer = pinger.echo(ECHO_DEADLINE)?;
            let (from, to) = (&from.name, address(to, v6));
            ensure!(answer.is_some(), "echo {count} from {from} to {to} was not answered");
        }
    }
    Ok(())
}

/// Waits until a machine answers another.
pub(super) fn reaches(from: &Host, to: IpAddr) -> Result<()> {
    wait_until(&format!("{} to reach {to}", from.name), DEADLINE * 3, || {
        Ok(ping(from, to, NO_ECHO)?.is_some())
    })
}

/// Files both ways, by both IP versions.
pub(super) fn transfers(one: &Host, other: &Host) -> Result<()> {
    for v6 in [false, true] {
        transfer(one, address(one, v6), other, FILE)?;
        transfer(other, address(other, v6), one, FILE)?;
    }
    Ok(())
}

/// Nothing readable between `a` and `b` went by the tap, and what the agents' machines sealed did.
pub(super) fn ensure_sealed(tap: &crate::Tally, row: &Row, one: &Host, other: &Host) -> Result<()> {
    tap.ensure_no_clear(&row.a, &row.b)?;
    tap.ensure_no_clear(one, other)?;
    ensure!(tap.marker == 0, "{} frames show the marker", tap.marker);
    let sealed = tap.sealed(one, other);
    ensure!(sealed > 0, "nothing sealed between {} and {}", one.name, other.name);
    Ok(())
}

fn open() -> Result<()> {
    let (row, server) = begin(1)?;
    let machine = &row.router(1)?.right;
    let protect = row.leftmost();
    let before = Machine::read(machine)?;
    let mut agent = Agent::enrol_router(machine, &server, router("open", "right", &protect))?;
    ensure!(!before.changes(&Machine::read(machine)?).is_empty(), "the agent did nothing");
    let status = agent.status()?;
    ensure!(status["schema"] == "gen.status/1", "schema {}", status["schema"]);
    ensure!(status["prefixes"] == serde_json::json!(protect), "stands for {}", status["prefixes"]);
    for (from, to) in [(&row.a, &row.b), (&row.b, &row.a)] {
        exchange(from, to)?;
    }
    transfers(&row.a, &row.b)?;
    ping(machine, address(&row.b, false), ECHO_DEADLINE)?.context("the router itself")?;
    agent.wait_verdict(address(&row.b, false), "clear")?;
    agent.purge()?;
    before.ensure_same(&Machine::read(machine)?)?;
    exchange(&row.a, &row.b)
}

fn forwarding() -> Result<()> {
    let (row, server) = begin(1)?;
    let machine = &row.router(1)?.right;
    let protect = row.leftmost();
    for (setting, words) in [
        ("ipv4/ip_forward", "net.ipv4.ip_forward=1"),
        ("ipv6/conf/all/forwarding", "net.ipv6.conf.all.forwarding=1"),
    ] {
        set("r1", &[(setting, "0")])?;
        let before = Machine::read(machine)?;
        let want = router("open", "right", &protect);
        let mut agent = Agent::prepare_router(machine, &server, want, &protect)?;
        let (code, said) = agent.run_to_end()?;
        ensure!(code == 2 && said.contains(words), "exit {code}: {said}");
        before.ensure_same(&Machine::read(machine)?)?;
        ensure!(server.members()?.is_empty(), "a token was used up");
        set("r1", &[(setting, "1")])?;
    }
    Ok(())
}

fn certified() -> Result<()> {
    let (row, server) = begin(1)?;
    let a = Agent::enrol(&row.a, &server, GROUP, "open")?;
    let machine = &row.router(1)?.left;
    let protect = row.right_of(1)?;
    let want = router("open", "left", &protect);
    let mut agent = Agent::prepare_router(machine, &server, want, &protect[..1])?;
    agent.start()?;
    let health = agent.status()?["health"].to_string();
    ensure!(health.contains("W-NOT-CERTIFIED") && health.contains(&protect[1]), "{health}");
    exchange(&row.a, &row.b)?;
    a.wait_verdict(address(&row.b, false), "protected")?;
    ensure!(a.verdict(address(&row.b, true))? == "clear", "an uncertified subnet is not clear");
    let member = server.members()?.into_iter().find(|member| member["kind"] == "router");
    let member = member.context("no router is listed")?;
    ensure!(member["offered"] == serde_json::json!(&protect[1..]), "offered {}", member["offered"]);
    let id = member["id"].as_str().context("no id")?;
    server.admin(&["member", "set", id, "--prefix", &protect[0], "--prefix", &protect[1]])?;
    wait_until("the subnet to be protected", DEADLINE * 3, || {
        ping(&row.a, address(&row.b, true), ECHO_DEADLINE)?;
        Ok(a.verdict(address(&row.b, true))? == "protected")
    })?;
    ensure!(!agent.status()?["health"].to_string().contains("W-NOT-CERTIFIED"), "still unhealthy");
    Ok(())
}

fn host_to_plain(mode: &str) -> Result<()> {
    let (row, server) = begin(1)?;
    let mut a = Agent::enrol(&row.a, &server, GROUP, mode)?;
    let machine = &row.router(1)?.left;
    let protect = row.right_of(1)?;
    let agent = Agent::enrol_router(machine, &server, router(mode, "left", &protect))?;
    let (outside, inside) = (row.tap(0, &row.a)?, row.tap(1, &row.b)?);
    for (from, to) in [(&row.a, &row.b), (&row.b, &row.a)] {
        exchange(from, to)?;
    }
    transfers(&row.a, &row.b)?;
    ensure_sealed(&outside.finish()?, &row, &row.a, machine)?;
    ensure!(inside.finish()?.clear(&row.a, &row.b) > 0, "the inside is not in clear");
    for v6 in [false, true] {
        a.wait_verdict(address(&row.b, v6), "protected")?;
        agent.wait_verdict_from(address(&row.b, v6), address(&row.a, v6), "protected")?;
        let said = a.ges(&["ping", "--require-protected", &address(&row.b, v6).to_string()])?;
        ensure!(said.contains("echo 1: "), "{said}");
    }
    // Without its agent it is a stranger.
    a.purge()?;
    for (from, to) in [(&row.a, &row.b), (&row.b, &row.a)] {
        for to in to.addresses() {
            if mode == "closed" {
                let answer = ping(from, to, NO_ECHO)?;
                ensure!(answer.is_none(), "a closed router passed plaintext to {to}");
            } else {
                reaches(from, to)?;
            }
        }
    }
    Ok(())
}

fn programs() -> Result<()> {
    let (row, server) = begin(1)?;
    let _a = Agent::enrol(&row.a, &server, GROUP, "open")?;
    let machine = &row.router(1)?.left;
    let protect = row.right_of(1)?;
    let _agent = Agent::enrol_router(machine, &server, router("open", "left", &protect))?;
    let traffic = || tools::all(&row.a, &row.b);
    under_tap(|| row.tap(0, &row.a), traffic, |tap| ensure_sealed(tap, &row, &row.a, machine))
}

fn ssh() -> Result<()> {
    let (row, server) = begin(1)?;
    let _a = Agent::enrol(&row.a, &server, GROUP, "open")?;
    let machine = &row.router(1)?.left;
    let protect = row.right_of(1)?;
    let _agent = Agent::enrol_router(machine, &server, router("open", "left", &protect))?;
    let tap = row.tap(0, &row.a)?;
    tools::ssh(&row.a, &row.b)?;
    ensure_sealed(&tap.finish()?, &row, &row.a, machine)
}

fn router_to_router() -> Result<()> {
    let (row, server) = begin(2)?;
    let (left, right) = (row.leftmost(), row.right_of(2)?);
    let (one, other) = (&row.router(1)?.right, &row.router(2)?.left);
    let r1 = Agent::enrol_router(one, &server, router("open", "right", &left))?;
    let r2 = Agent::enrol_router(other, &server, router("closed", "left", &right))?;
    let (inside, between) = (row.tap(0, &row.a)?, row.tap(1, other)?);
    for (from, to) in [(&row.a, &row.b), (&row.b, &row.a)] {
        exchange(from, to)?;
    }
    transfers(&row.a, &row.b)?;
    ensure_sealed(&between.finish()?, &row, one, other)?;
    ensure!(inside.finish()?.clear(&row.a, &row.b) > 0, "the inside is not in clear");
    for v6 in [false, true] {
        r1.wait_verdict(address(&row.b, v6), "protected")?;
        r2.wait_verdict(address(&row.a, v6), "protected")?;
    }
    let strange = ping(&row.ms, address(&row.b, false), NO_ECHO)?;
    ensure!(strange.is_none(), "a machine without agent passed a closed router");
    Ok(())
}

fn cascade() -> Result<()> {
    let (row, server) = begin(3)?;
    let a = Agent::enrol(&row.a, &server, GROUP, "open")?;
    let mut agents = Vec::new();
    for number in 1..=3 {
        let protect = row.right_of(number)?;
        let machine = &row.router(number)?.left;
        agents.push(Agent::enrol_router(machine, &server, router("open", "left", &protect))?);
    }
    let last = &row.router(3)?.left;
    let taps = [row.tap(0, &row.a)?, row.tap(1, &row.router(1)?.left)?, row.tap(2, last)?];
    let inside = row.tap(3, &row.b)?;
    for (from, to) in [(&row.a, &row.b), (&row.b, &row.a)] {
        exchange(from, to)?;
    }
    transfers(&row.a, &row.b)?;
    for tap in taps {
        ensure_sealed(&tap.finish()?, &row, &row.a, last)?;
    }
    ensure!(inside.finish()?.clear(&row.a, &row.b) > 0, "the inside is not in clear");
    for v6 in [false, true] {
        a.wait_verdict(address(&row.b, v6), "protected")?;
        let (local, remote) = (address(&row.b, v6), address(&row.a, v6));
        agents[2].wait_verdict_from(local, remote, "protected")?;
        for agent in &agents[..2] {
            agent.wait_verdict_from(local, remote, "transit")?;
        }
    }
    Ok(())
}

fn transit() -> Result<()> {
    let (row, server) = begin(2)?;
    server.group("other")?;
    let a = Agent::enrol(&row.a, &server, GROUP, "open")?;
    let b = Agent::enrol(&row.b, &server, GROUP, "closed")?;
    let (left, right) = (row.leftmost(), row.right_of(2)?);
    let stranger = RouterRequest { group: "other", ..router("open", "right", &left) };
    let r1 = Agent::enrol_router(&row.router(1)?.right, &server, stranger)?;
    let kin = router("closed", "left", &right);
    let r2 = Agent::enrol_router(&row.router(2)?.left, &server, kin)?;
    let tap = row.tap(1, &row.router(2)?.left)?;
    for (from, to) in [(&row.a, &row.b), (&row.b, &row.a)] {
        exchange(from, to)?;
    }
    transfers(&row.a, &row.b)?;
    ensure_sealed(&tap.finish()?, &row, &row.a, &row.b)?;
    for v6 in [false, true] {
        a.wait_verdict(address(&row.b, v6), "protected")?;
        b.wait_verdict(address(&row.a, v6), "protected")?;
        r1.wait_verdict(address(&row.b, v6), "transit")?;
        r2.wait_verdict(address(&row.a, v6), "transit")?;
    }
    let seen = a.ges(&["ping", "-c", "0", &address(&row.b, false).to_string()])?;
    ensure!(seen.matches("router (").count() == 2, "the routers are not named: {seen}");
    Ok(())
}

fn must_protect() -> Result<()> {
    let (row, server) = begin(1)?;
    let machine = &row.router(1)?.right;
    let protect = row.leftmost();
    let agent = Agent::enrol_router(machine, &server, router("open", "right", &protect))?;
    exchange(&row.a, &row.b)?;
    // Of each machine alone: the server is in the same network.
    let guarded =
        row.b.addresses().map(|ip| format!("{ip}/{}", if ip.is_ipv4() { 32 } else { 128 }));
    for range in &guarded {
        server.admin(&["policy", "must-protect", "add", range])?;
    }
    let version = server.members()?[0]["version"].as_u64().context("no version")?;
    wait_until("the policy to arrive", DEADLINE, || {
        Ok(agent.status()?["policy_version"].as_u64() >= Some(version))
    })?;
    let tap = row.tap(1, &row.b)?;
    for to in row.b.addresses() {
        let answer = ping(&row.a, to, NO_ECHO)?;
        ensure!(answer.is_none(), "{to} was reached in clear");
        agent.wait_verdict(to, "dropped")?;
    }
    tap.finish()?.ensure_no_clear(&row.a, &row.b)?;
    for range in &guarded {
        server.admin(&["policy", "must-protect", "remove", range])?;
    }
    row.b.addresses().into_iter().try_for_each(|to| reaches(&row.a, to))
}

fn masquerade() -> Result<()> {
    let (row, server) = begin(1)?;
    row.masquerade(1)?;
    let machine = &row.router(1)?.right;
    let protect = row.leftmost();
    let b = Agent::enrol(&row.b, &server, GROUP, "closed")?;
    let _agent = Agent::enrol_router(machine, &server, router("open", "right", &protect))?;
    let tap = row.tap(1, &row.b)?;
    exchange(&row.a, &row.b)?;
    for v6 in [false, true] {
        transfer(&row.b, address(&row.b, v6), &row.a, FILE)?;
        b.wait_verdict(address(machine, v6), "protected")?;
    }
    ensure_sealed(&tap.finish()?, &row, machine, &row.b)
}
