//! First packets through routers: from the send call to the echo reply, with agents on none, one, two
//! and all three of the routers between the same two hosts.
//!
//! ```text
//! a ges ── r1 (gen) ── r2 (gen) ── r3 (gen) ── b ges
//! ```
//! The routers forward in every round; only how many have an agent differs. Host `b` has addresses of
//! its own for each round, so that every echo opens a host pair of its own. The second echo to the
//! same addresses is what the flow costs from then on, and the same echoes without any agent are the
//! path itself. CPU is that of the whole agent, of which the second round's is taken off: what is
//! left is the negotiation's.

use super::measure::{Times, cpu_time};
use anyhow::{Context, Result};
use e2e::lab::ip;
use e2e::pair::ECHO_DEADLINE;
use e2e::ping::Pinger;
use e2e::row::Row;
use e2e::{Agent, DEV, Host, RouterRequest, Server};
use serde_json::{Value, json};
use std::net::{IpAddr, Ipv4Addr};
use std::process::ExitCode;
use std::time::Duration;

/// Flows of a round.
const FLOWS: u8 = 200;
/// Routers between.
const ROUTERS: usize = 3;
const GROUP: &str = "team";

/// What a round came to.
struct Round {
    routers: usize,
    first: Times,
    next: Times,
    /// CPU of a negotiation: at `a`, at `b`, at each router, in microseconds.
    cpu: Vec<f64>,
}

/// The work of the nest's first process.
pub(crate) fn inside(as_json: bool) -> Result<ExitCode> {
    let row = Row::new(ROUTERS)?;
    give_addresses(&row)?;
    let plain = Times::new(echoes(&row.a, 0)?);
    let server = Server::start(&row.ms)?;
    server.group(GROUP)?;
    let mut agents = Vec::new();
    for host in [&row.a, &row.b] {
        agents.push(Agent::enrol(host, &server, GROUP, "closed")?);
    }
    let mut rounds = Vec::new();
    for routers in 0..=ROUTERS {
        if routers > 0 {
            let protect = row.right_of(routers)?;
            let want =
                RouterRequest { group: GROUP, mode: "open", outside: "left", protect: &protect };
            agents.push(Agent::enrol_router(&row.router(routers)?.left, &server, want)?);
        }
        rounds.push(round(&row, &agents, routers)?);
    }
    if as_json {
        println!("{}", to_json(&plain, &rounds));
    } else {
        print(&plain, &rounds);
    }
    Ok(ExitCode::SUCCESS)
}

fn round(row: &Row, agents: &[Agent], routers: usize) -> Result<Round> {
    let set = u8::try_from(routers)? + 1;
    let cpu = || agents.iter().map(cpu_time).collect::<Result<Vec<Duration>>>();
    let before = cpu()?;
    let first = Times::new(echoes(&row.a, set)?);
    let between = cpu()?;
    let next = Times::new(echoes(&row.a, set)?);
    let after = cpu()?;
    for last in [1, FLOWS] {
        agents[0].wait_verdict(address(set, last).into(), "protected")?;
    }
    let each = |at: usize| {
        let first = between[at].saturating_sub(before[at]);
        let used = first.saturating_sub(after[at].saturating_sub(between[at]));
        used.as_secs_f64() * 1e6 / f64::from(FLOWS)
    };
    Ok(Round { routers, first, next, cpu: (0..agents.len()).map(each).collect() })
}

/// Address number `last` of a round.
fn address(set: u8, last: u8) -> Ipv4Addr {
    Ipv4Addr::new(10, 90, set, last)
}

fn give_addresses(row: &Row) -> Result<()> {
    let mut on_b = String::new();
    for set in 0..=u8::try_from(ROUTERS)? + 1 {
        for last in 1..=FLOWS {
            on_b += &format!("addr add {}/32 dev {DEV}\n", address(set, last));
        }
    }
    ip(Some("b"), &on_b)?;
    let mut next = vec![("a", row.router(1)?.left.v4)];
    for (name, number) in [("r1", 2), ("r2", 3)] {
        next.push((name, row.router(number)?.left.v4));
    }
    next.push(("r3", row.b.v4));
    next.iter()
        .try_for_each(|(name, via)| ip(Some(name), &format!("route add 10.90.0.0/16 via {via}\n")))
}

/// Round-trip time of one echo to each address of a round.
fn echoes(from: &Host, set: u8) -> Result<Vec<Duration>> {
    (1..=FLOWS)
        .map(|last| {
            let to: IpAddr = address(set, last).into();
            let answer = Pinger::new(from, to, &[0x2e; 56])?.echo(ECHO_DEADLINE)?;
            answer.with_context(|| format!("no answer from {to}"))
        })
        .collect()
}

fn print(plain: &Times, rounds: &[Round]) {
    println!("{FLOWS} flows a line, all machines on this one, microseconds");
    println!("{:<20} {:>15} {:>15}   CPU of a negotiation", "", "first echo", "next echo");
    println!(
        "{:<20} {:>7} {:>7} {:>7} {:>7}   {:>9} {:>9}  each router",
        "agents on", "p50", "p99", "p50", "p99", "initiator", "responder"
    );
    println!("{:<20} {:>15} {:>7} {:>7}", "nobody", "", plain.at(50), plain.at(99));
    for Round { routers, first, next, cpu } in rounds {
        let transit: Vec<_> = cpu[2..].iter().map(|time| format!("{time:.0}")).collect();
        println!(
            "{:<20} {:>7} {:>7} {:>7} {:>7}   {:>9.0} {:>9.0}  {}",
            format!("ends, {routers} routers"),
            first.at(50),
            first.at(99),
            next.at(50),
            next.at(99),
            cpu[0],
            cpu[1],
            transit.join(" ")
        );
    }
}

fn to_json(plain: &Times, rounds: &[Round]) -> Value {
    let round = |Round { routers, first, next, cpu }: &Round| {
        json!({
            "routers": routers,
            "first_us": first.to_json(),
            "next_us": next.to_json(),
            "cpu_us": { "initiator": cpu[0], "responder": cpu[1], "routers": cpu[2..] },
        })
    };
    let rounds: Vec<_> = rounds.iter().map(round).collect();
    json!({ "schema": "bench-path/1", "flows": FLOWS, "plain_us": plain.to_json(), "paths": rounds })
}
