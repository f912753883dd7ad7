//! A transfer between two members while agents on the routers between come and go, and the way changes.
//!
//! ```text
//! appears   a ges ── r1 gen? ── b ges                  r1's open agent starts, stops, is killed, is back
//! moves     a ges ─┬─ r1 gen ─┬─ b ges                 from the open r1 to the closed r2, then a restarts
//!                  └─ r2 gen ─┘
//! ```
//! In *moves* r2 is a machine in network 0 and in network 1, beside r1. Both ends are closed, so that
//! nothing may be read on the wire at any moment.

use super::router::{begin, router};
use crate::agent::Agent;
use crate::host::Host;
use crate::lab::{forward, ip};
use crate::pair::GROUP;
use crate::row::{Row, address};
use crate::scenario::{Scenario, scenario};
use crate::server::Server;
use crate::stream::Stream;
use crate::wait::wait_until;
use anyhow::{Result, ensure};
use std::time::Duration;

pub(crate) const LIST: &[Scenario] = &[
    scenario("change_agent", "an agent between comes, stops, is killed and is back", &[], agents),
    scenario("change_route", "a transfer moves to another router; an end restarts", &[], routes),
];

/// For a flow to go on: liveness, and a ladder or two.
const DEADLINE: Duration = Duration::from_secs(18);
/// By so much a transfer must grow to count as going on.
const MORE: u64 = 2 << 20;

/// Waits until a transfer has brought more since now.
fn goes_on(stream: &Stream, after: &str) -> Result<()> {
    let begun = stream.received();
    wait_until(&format!("the transfer to go on after {after}"), DEADLINE, || {
        ensure!(!stream.is_done(), "the transfer ended after {after}");
        Ok(stream.received() > begun + MORE)
    })
}

fn protected(a: &Agent, b: &Agent) -> Result<()> {
    a.wait_verdict(b.host.addresses()[0], "protected")?;
    b.wait_verdict(a.host.addresses()[0], "protected")
}

/// Both ends, closed, and a transfer from `b` to `a` that does not end by itself.
fn members(row: &Row, server: &Server) -> Result<(Agent, Agent, Stream)> {
    let a = Agent::enrol(&row.a, server, GROUP, "closed")?;
    let b = Agent::enrol(&row.b, server, GROUP, "closed")?;
    let stream = Stream::start(&row.b, address(&row.b, false), &row.a, None)?;
    goes_on(&stream, "its start")?;
    Ok((a, b, stream))
}

fn agents() -> Result<()> {
    let (row, server) = begin(1)?;
    let tap = row.tap(1, &row.b)?;
    let (a, b, stream) = members(&row, &server)?;
    let left = row.leftmost();
    let want = router("open", "right", &left);
    let machine = &row.router(1)?.right;
    let mut r1 = Agent::prepare_router(machine, &server, want, &left)?;
    r1.start()?;
    goes_on(&stream, "the agent's start")?;
    r1.ges(&["down"])?;
    goes_on(&stream, "its stop")?;
    // The process has ended by itself; the handle is given up.
    r1.kill()?;
    r1.start()?;
    goes_on(&stream, "its return")?;
    r1.kill()?;
    r1.start()?;
    goes_on(&stream, "its death and return")?;
    protected(&a, &b)?;
    ensure!(r1.verdict(row.b.addresses()[0])? != "clear", "the router passes it in clear");
    finish(stream, tap, &row.a, &row.b)
}

fn routes() -> Result<()> {
    let (row, server) = begin(1)?;
    let r2 = second_router()?;
    let tap = row.tap(1, &row.b)?;
    let (mut a, b, stream) = members(&row, &server)?;
    let open = router("open", "right", &[]);
    let _r1 = Agent::enrol_router(&row.router(1)?.right, &server, open)?;
    let kin = router("closed", "right", &[]);
    let r2 = Agent::enrol_router(&r2, &server, kin)?;
    goes_on(&stream, "the agents' start")?;
    // The ends of the way have each other's network by r2 from now on.
    ip(Some("a"), "route replace 10.81.1.0/24 via 10.80.0.3\n")?;
    ip(Some("b"), "route replace 10.80.0.0/24 via 10.81.1.3\n")?;
    goes_on(&stream, "the move")?;
    r2.wait_verdict(row.b.addresses()[0], "transit")?;
    a.kill()?;
    a.start()?;
    goes_on(&stream, "an end's restart")?;
    protected(&a, &b)?;
    r2.wait_verdict(row.b.addresses()[0], "transit")?;
    finish(stream, tap, &row.a, &row.b)
}

/// A machine beside router 1 that forwards, with `.3` in both networks.
fn second_router() -> Result<Host> {
    // The row made the nest's files; this is one namespace more.
    let dir = crate::lab::begin(&["r2"])?;
    for (dev, network, v4, v6) in [
        ("left", "n0", "10.80.0.3/24", "fd80::3/64"),
        ("right", "n1", "10.81.1.3/24", "fd81:0:0:1::3/64"),
    ] {
        let cable = format!(
            "link add name r2 type veth peer name {dev} netns r2\nlink set dev r2 master br0 up\n"
        );
        ip(Some(network), &cable)?;
        let addresses = format!(
            "link set dev lo up\nlink set dev {dev} up\n\
             addr add {v4} dev {dev}\naddr add {v6} dev {dev} nodad\n"
        );
        ip(Some("r2"), &addresses)?;
    }
    forward("r2")?;
    Host::open("r2", [10, 81, 1, 3].into(), "fd81:0:0:1::3".parse()?, &dir)
}

fn finish(stream: Stream, tap: crate::capture::Capture, a: &Host, b: &Host) -> Result<()> {
    stream.finish()?.ensure_intact()?;
    let tally = tap.finish()?;
    // What the capture lost under load proves nothing; what it saw counts.
    ensure!(tally.marker == 0, "{} frames show the marker", tally.marker);
    ensure!(tally.clear(a, b) == 0, "in clear: {}", tally.samples());
    ensure!(tally.sealed(a, b) > 0, "nothing sealed");
    Ok(())
}
