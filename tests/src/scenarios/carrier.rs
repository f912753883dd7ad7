//! Negotiation where the path filters ICMP echo, and through a NAT that is not ours.
//!
//! ```text
//!   a ── r1 ──×── b          a ── r1 ── r2 ──×── b          ×  drops ICMP echo, both ways
//!        └ ms, in network 1       └ ms
//!
//!   a ── nat ─── b           a ── nat ── r2 ── b        a ── nat ──×── b
//!        └ ms                     └ ms                        └ ms
//! ```
//! The NAT is `r1`, without an agent; it gives every mapping another port. Beyond it there is no way to
//! `a` but by a mapping.

use super::router::{DEADLINE, FILE, begin, ensure_sealed, exchange, reaches, router, transfers};
use crate::agent::{Agent, RouterRequest};
use crate::host::Host;
use crate::pair::GROUP;
use crate::row::{Row, address};
use crate::scenario::{Scenario, scenario};
use crate::stream::{Stream, transfer};
use crate::tools::{self, PROGRAMS, SSH, received_bytes};
use crate::wait::wait_until;
use anyhow::{Context, Result, ensure};
use std::net::IpAddr;

pub(crate) const LIST: &[Scenario] = &[
    scenario("carrier_hosts", "two members agree where echo is filtered", &["nft"], || {
        hosts("open")
    }),
    scenario("carrier_closed", "the same, both closed", &["nft"], || hosts("closed")),
    scenario("carrier_plain", "who has no agent is reached there as before", &["nft"], plain),
    scenario("carrier_router", "the same with a machine behind a router", NFT_PROGRAMS, programs),
    scenario("carrier_ssh", "ssh through it", NFT_SSH, ssh),
    scenario("carrier_transit", "routers between two members take part", &["nft"], transit),
    scenario(
        "nat_host",
        "a member behind a NAT without agent, data both ways",
        NFT_PROGRAMS,
        || behind_nat(false),
    ),
    scenario("nat_filtered", "the same where echo is filtered as well", NFT_PROGRAMS, || {
        behind_nat(true)
    }),
    scenario("nat_rebind", "new keys, and a NAT that forgets its mappings", &["nft"], rebind),
    scenario("nat_transit", "a closed router beyond the NAT takes part", &["nft"], beyond),
];

const NFT_PROGRAMS: &[&str] = &["nft", PROGRAMS[0], PROGRAMS[1], PROGRAMS[2], PROGRAMS[3]];
const NFT_SSH: &[&str] = &["nft", SSH[0], SSH[1], SSH[2], SSH[3]];

/// What the agent says its last negotiation with a machine travelled in.
fn carrier(agent: &Agent, remote: IpAddr) -> Result<String> {
    let flow = agent.flow(remote)?.with_context(|| format!("no flow with {remote}"))?;
    Ok(flow["peer"]["carrier"].as_str().unwrap_or_default().to_owned())
}

fn ensure_udp(agent: &Agent, remote: IpAddr) -> Result<()> {
    agent.wait_verdict(remote, "protected")?;
    let carrier = carrier(agent, remote)?;
    ensure!(carrier == "udp", "the carrier to {remote} is {carrier}");
    Ok(())
}

fn hosts(mode: &str) -> Result<()> {
    let (row, server) = begin(1)?;
    row.filter_echo(1, &row.b)?;
    let a = Agent::enrol(&row.a, &server, GROUP, mode)?;
    let b = Agent::enrol(&row.b, &server, GROUP, mode)?;
    let tap = row.tap(1, &row.b)?;
    for (from, to) in [(&row.a, &row.b), (&row.b, &row.a)] {
        exchange(from, to)?;
    }
    transfers(&row.a, &row.b)?;
    ensure_sealed(&tap.finish()?, &row, &row.a, &row.b)?;
    for v6 in [false, true] {
        ensure_udp(&a, address(&row.b, v6))?;
        ensure_udp(&b, address(&row.a, v6))?;
    }
    Ok(())
}

fn plain() -> Result<()> {
    let (row, server) = begin(1)?;
    row.filter_echo(1, &row.b)?;
    let a = Agent::enrol(&row.a, &server, GROUP, "open")?;
    // A datagram to a port that nobody has is answered with an error, which changes nothing.
    for v6 in [false, true] {
        crate::udp::echo(&row.a, &row.b, address(&row.b, v6), &[100, 1000])?;
        a.wait_verdict(address(&row.b, v6), "clear")?;
    }
    Ok(())
}

/// A host with an agent, a router with one, and between them a filter.
fn behind_router() -> Result<(Row, Vec<Agent>, crate::server::Server)> {
    let (row, server) = begin(1)?;
    let machine = &row.router(1)?.left;
    row.filter_echo(0, machine)?;
    let a = Agent::enrol(&row.a, &server, GROUP, "open")?;
    let protect = row.right_of(1)?;
    let agent = Agent::enrol_router(machine, &server, router("open", "left", &protect))?;
    Ok((row, vec![a, agent], server))
}

fn programs() -> Result<()> {
    let (row, agents, _server) = behind_router()?;
    let machine = &row.router(1)?.left;
    for v6 in [false, true] {
        // Open mode lets what comes in the first moments pass; from then on it is protected.
        reaches_sealed(&row, &agents[0], address(&row.b, v6))?;
    }
    let tap = row.tap(0, &row.a)?;
    exchange(&row.a, &row.b)?;
    for v6 in [false, true] {
        let at = address(&row.b, v6);
        row.a.run(&["ping", "-c", "3", "-i", "0.2", "-W", "5", &at.to_string()])?;
        tools::curl(&row.a, &row.b, at)?;
        ensure_udp(&agents[0], at)?;
        ensure_udp(&agents[1], address(&row.a, v6))?;
    }
    ensure_sealed(&tap.finish()?, &row, &row.a, machine)?;
    through_iperf3(&row)
}

/// Both ways, by both IP versions; faster than a tap can follow.
fn through_iperf3(row: &Row) -> Result<()> {
    for v6 in [false, true] {
        for extra in [&[][..], &["-R"]] {
            tools::iperf3(&row.a, &row.b, address(&row.b, v6), extra, received_bytes)?;
        }
    }
    Ok(())
}

/// Asks until the answer is there: a router speaks for a machine that echoes nothing only after it
/// has given agents behind it their time.
fn reaches_sealed(row: &Row, agent: &Agent, to: IpAddr) -> Result<()> {
    agent.ges_output(&["ping", "-c", "1", &to.to_string()])?;
    agent.wait_verdict(to, "protected")?;
    reaches(&row.a, to)
}

fn ssh() -> Result<()> {
    let (row, agents, _server) = behind_router()?;
    let machine = &row.router(1)?.left;
    for v6 in [false, true] {
        reaches_sealed(&row, &agents[0], address(&row.b, v6))?;
    }
    let tap = row.tap(0, &row.a)?;
    tools::ssh(&row.a, &row.b)?;
    ensure_sealed(&tap.finish()?, &row, &row.a, machine)
}

fn transit() -> Result<()> {
    let (row, server) = begin(2)?;
    row.filter_echo(2, &row.b)?;
    server.group("other")?;
    let a = Agent::enrol(&row.a, &server, GROUP, "closed")?;
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
        ensure_udp(&a, address(&row.b, v6))?;
        ensure_udp(&b, address(&row.a, v6))?;
        r1.wait_verdict(address(&row.b, v6), "transit")?;
        r2.wait_verdict(address(&row.a, v6), "transit")?;
    }
    Ok(())
}

/// Data from `b` to `a`, by a connection that `a` makes: nothing else passes the NAT.
fn download(row: &Row) -> Result<()> {
    for v6 in [false, true] {
        transfer(&row.b, address(&row.b, v6), &row.a, FILE)?;
    }
    Ok(())
}

fn ensure_behind(a: &Agent, b: &Agent, row: &Row, nat: &Host) -> Result<()> {
    for v6 in [false, true] {
        a.wait_verdict(address(&row.b, v6), "protected")?;
        b.wait_verdict(address(nat, v6), "protected")?;
        let there = a.flow(address(&row.b, v6))?.context("no flow at a")?;
        let here = b.flow(address(nat, v6))?.context("no flow at b")?;
        let (seen, own) = (&there["peer"]["seen_as"], &here["peer"]["own_address"]);
        ensure!(*seen == address(nat, v6).to_string(), "a is seen as {seen}");
        ensure!(*own == address(&row.a, v6).to_string(), "b knows a as {own}");
    }
    Ok(())
}

fn behind_nat(filtered: bool) -> Result<()> {
    let (row, server) = begin(1)?;
    row.translate(1)?;
    if filtered {
        row.filter_echo(1, &row.b)?;
    }
    let a = Agent::enrol(&row.a, &server, GROUP, "closed")?;
    let b = Agent::enrol(&row.b, &server, GROUP, "closed")?;
    let nat = &row.router(1)?.right;
    let tap = row.tap(1, &row.b)?;
    exchange(&row.a, &row.b)?;
    download(&row)?;
    for v6 in [false, true] {
        let at = address(&row.b, v6);
        row.a.run(&["ping", "-c", "3", "-i", "0.2", "-W", "5", "-s", "1200", &at.to_string()])?;
        crate::udp::echo(&row.a, &row.b, at, &[100, 1000, 3000])?;
        tools::curl(&row.a, &row.b, at)?;
        let (known, wanted) = (carrier(&a, at)?, if filtered { "udp" } else { "echo" });
        ensure!(known == wanted, "the carrier is {known}");
    }
    ensure_sealed(&tap.finish()?, &row, nat, &row.b)?;
    through_iperf3(&row)?;
    ensure_behind(&a, &b, &row, nat)
}

fn rebind() -> Result<()> {
    let (row, server) = begin(1)?;
    row.translate(1)?;
    let a = Agent::enrol(&row.a, &server, GROUP, "closed")?;
    let b = Agent::enrol(&row.b, &server, GROUP, "closed")?;
    let nat = &row.router(1)?.right;
    exchange(&row.a, &row.b)?;
    let streams = [false, true].map(|v6| Stream::start(&row.b, address(&row.b, v6), &row.a, None));
    let streams = streams.into_iter().collect::<Result<Vec<_>>>()?;
    let goes_on = |what: &str| {
        let from: Vec<u64> = streams.iter().map(Stream::received).collect();
        wait_until(what, DEADLINE * 4, || {
            ensure!(!streams.iter().any(Stream::is_done), "a transfer broke");
            Ok(streams.iter().zip(&from).all(|(stream, from)| stream.received() > from + FILE / 8))
        })
    };
    goes_on("the transfers to begin")?;
    let next = a.epoch()?.max(b.epoch()?) + 1;
    server.admin(&["key", "rotate", GROUP])?;
    a.wait_epoch(next)?;
    b.wait_epoch(next)?;
    goes_on("the transfers to go on under new keys")?;
    for _ in 0..3 {
        row.forget_mappings(1)?;
        // Whatever `a` sends makes the next mapping, and the other end follows.
        exchange(&row.a, &row.b)?;
        goes_on("the transfers to go on by other ports")?;
    }
    for stream in streams {
        stream.finish()?.ensure_intact()?;
    }
    ensure_behind(&a, &b, &row, nat)
}

fn beyond() -> Result<()> {
    let (row, server) = begin(2)?;
    row.translate(1)?;
    let a = Agent::enrol(&row.a, &server, GROUP, "closed")?;
    let b = Agent::enrol(&row.b, &server, GROUP, "closed")?;
    let nat = &row.router(1)?.right;
    let right = row.right_of(2)?;
    let kin = router("closed", "left", &right);
    let r2 = Agent::enrol_router(&row.router(2)?.left, &server, kin)?;
    let tap = row.tap(2, &row.b)?;
    exchange(&row.a, &row.b)?;
    download(&row)?;
    ensure_sealed(&tap.finish()?, &row, nat, &row.b)?;
    for v6 in [false, true] {
        r2.wait_verdict(address(nat, v6), "transit")?;
    }
    ensure_behind(&a, &b, &row, nat)
}
