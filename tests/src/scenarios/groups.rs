//! Several groups: in one agent, and one inside another.
//!
//! ```text
//! preference   a {red,blue} ── switch ── b {red,blue}         blue comes first
//!                                └── o {red}
//! stages       a {inner} ── r1 {outer} ── r2 {outer} ── b {inner}
//! departments  a ── r1 {inner} ── r2 {outer} ── r3 {outer} ── r4 {inner} ── b
//! ```

use super::router::exchange;
use crate::agent::{Agent, RouterRequest};
use crate::host::Host;
use crate::lab::Lab;
use crate::pair::NO_ECHO;
use crate::ping::ping;
use crate::row::{Row, address};
use crate::scenario::{Scenario, scenario};
use crate::server::Server;
use crate::wait::wait_until;
use anyhow::{Context, Result, ensure};
use std::time::Duration;

pub(crate) const LIST: &[Scenario] = &[
    scenario("groups_preference", "of two shared groups the preferred protects", &[], preference),
    scenario("groups_stages", "members of an inner group talk across two sites", &[], stages),
    scenario("groups_departments", "inner routers talk through outer ones", &[], departments),
];

/// For an agent to come to another verdict by itself.
const DEADLINE: Duration = Duration::from_secs(30);

/// That an agent protects what goes to `to` with `group`.
fn protects_with(agent: &Agent, to: &Host, group: &str) -> Result<()> {
    for to in to.addresses() {
        agent.wait_verdict(to, "protected")?;
        let flow = agent.flow(to)?.context("no flow")?;
        let with = &flow["peer"]["group"];
        ensure!(with == group, "{} to {to} is protected with {with}", agent.host.name);
    }
    Ok(())
}

fn preference() -> Result<()> {
    let lab = Lab::switched(1500)?;
    let server = Server::start(&lab.ms)?;
    server.group("red")?;
    server.admin(&["group", "create", "blue", "--priority", "50"])?;
    let a = Agent::enrol(&lab.a, &server, "red,blue", "closed")?;
    let b = Agent::enrol(&lab.b, &server, "blue,red", "closed")?;
    let third = lab.outsider()?;
    let o = Agent::enrol(third, &server, "red", "closed")?;
    for to in [&lab.b, third] {
        exchange(&lab.a, to)?;
    }
    exchange(third, &lab.b)?;
    protects_with(&a, &lab.b, "blue")?;
    protects_with(&b, &lab.a, "blue")?;
    protects_with(&a, third, "red")?;
    protects_with(&b, third, "red")?;
    protects_with(&o, &lab.a, "red")
}

fn stages() -> Result<()> {
    let row = Row::new(2)?;
    let server = Server::start(&row.ms)?;
    server.group("outer")?;
    server.group("inner")?;
    let (left, right) = (row.leftmost(), row.right_of(2)?);
    let outer = |mode, outside, protect| RouterRequest { group: "outer", mode, outside, protect };
    let (one, other) = (&row.router(1)?.right, &row.router(2)?.left);
    let r1 = Agent::enrol_router(one, &server, outer("open", "right", &left))?;
    let r2 = Agent::enrol_router(other, &server, outer("open", "left", &right))?;
    // Before there are departments, the sites protect their machines.
    let between = row.tap(1, other)?;
    exchange(&row.a, &row.b)?;
    protects_with(&r1, &row.b, "outer")?;
    protects_with(&r2, &row.a, "outer")?;
    // Then each machine gets an agent of its own, in a group that the sites are not in.
    let a = Agent::enrol(&row.a, &server, "inner", "closed")?;
    let b = Agent::enrol(&row.b, &server, "inner", "closed")?;
    wait_until("the inner members to talk", DEADLINE, || {
        Ok(ping(&row.a, address(&row.b, false), NO_ECHO)?.is_some()
            && ping(&row.a, address(&row.b, true), NO_ECHO)?.is_some())
    })?;
    let ends = row.tap(1, other)?;
    for (from, to) in [(&row.a, &row.b), (&row.b, &row.a)] {
        exchange(from, to)?;
    }
    protects_with(&a, &row.b, "inner")?;
    protects_with(&b, &row.a, "inner")?;
    for to in row.b.addresses() {
        r1.wait_verdict(to, "transit")?;
    }
    for to in row.a.addresses() {
        r2.wait_verdict(to, "transit")?;
    }
    let ends = ends.finish()?;
    ends.ensure_no_clear(&row.a, &row.b)?;
    ensure!(ends.sealed(&row.a, &row.b) > 0, "not sealed from end to end");
    between.finish()?.ensure_no_clear(&row.a, &row.b)?;
    // A closed site passes what it is no part of if it is told to.
    let id = r1.id()?;
    server.admin(&["member", "set", &id, "--transit", "any"])?;
    server.admin(&["member", "set", &id, "--mode", "closed"])?;
    r1.wait_status("mode", "closed")?;
    wait_until("the members to talk again", DEADLINE, || {
        Ok(ping(&row.a, address(&row.b, false), NO_ECHO)?.is_some())
    })?;
    protects_with(&a, &row.b, "inner")
}

fn departments() -> Result<()> {
    let row = Row::new(4)?;
    let server = Server::start(&row.ms)?;
    server.group("outer")?;
    server.group("inner")?;
    let (left, left_site) = (row.leftmost(), ["10.80.0.0/15", "fd80::/15"].map(str::to_owned));
    let right = ["10.81.4.0/24", "fd81:0:0:4::/64"].map(str::to_owned);
    let right_site = ["10.81.3.0/24", "10.81.4.0/24", "fd81:0:0:3::/64", "fd81:0:0:4::/64"];
    let right_site = right_site.map(str::to_owned);
    let want = |group, outside, protect| RouterRequest { group, mode: "open", outside, protect };
    let (r1, r2) = (&row.router(1)?.right, &row.router(2)?.right);
    let (r3, r4) = (&row.router(3)?.left, &row.router(4)?.left);
    let one = Agent::enrol_router(r1, &server, want("inner", "right", &left))?;
    let two = Agent::enrol_router(r2, &server, want("outer", "right", &left_site[..]))?;
    let three = Agent::enrol_router(r3, &server, want("outer", "left", &right_site))?;
    let four = Agent::enrol_router(r4, &server, want("inner", "left", &right))?;
    let taps = [row.tap(1, r1)?, row.tap(2, r3)?, row.tap(3, r4)?];
    for (from, to) in [(&row.a, &row.b), (&row.b, &row.a)] {
        exchange(from, to)?;
    }
    protects_with(&one, &row.b, "inner")?;
    protects_with(&four, &row.a, "inner")?;
    for to in row.b.addresses() {
        two.wait_verdict(to, "transit")?;
    }
    for to in row.a.addresses() {
        three.wait_verdict(to, "transit")?;
    }
    for tap in taps {
        let tally = tap.finish()?;
        tally.ensure_no_clear(&row.a, &row.b)?;
        ensure!(tally.marker == 0, "{} frames show the marker", tally.marker);
        ensure!(tally.sealed(r1, r4) > 0, "nothing sealed between the inner routers");
    }
    Ok(())
}
