//! Machines that change their place, and routers that change their way.
//!
//! ```text
//! host      a ges:  network 0, behind r1 gen   <─>  network 1         b ges in network 2
//! machine   a:      network 0, behind r1 gen   <─>  network 3, behind r3 gen       b ges in network 2
//! two ways  a ── r1 gen ══ network 1 ══ r2 ── b ges
//!                     ╚════ up1 ═════╝
//! ```
//! Whoever moves gets an address of its new network, and no setting of any agent is changed.

use super::router::begin;
use crate::agent::{Agent, RouterRequest};
use crate::capture::{Capture, Kind};
use crate::host::Host;
use crate::lab::ip;
use crate::pair::{GROUP, NO_ECHO};
use crate::ping::ping;
use crate::scenario::{Scenario, scenario};
use crate::stream::{MARKER, transfer};
use crate::wait::wait_until;
use anyhow::{Result, ensure};
use std::time::Duration;

pub(crate) const LIST: &[Scenario] = &[
    scenario("move_host", "a member moves behind a router with agent and back", &[], host),
    scenario("move_machine", "a machine moves between two protected subnets", &[], machine),
    scenario("two_outsides", "a router with two ways out goes from one to the other", &[], ways),
];

/// For flows to come back: liveness, and a ladder or two.
const DEADLINE: Duration = Duration::from_secs(40);
const FILE: u64 = 1 << 20;

/// Waits until both reach each other by both IP versions; then a readable file goes each way.
fn come_together(one: &Host, other: &Host) -> Result<()> {
    for (from, to) in [(one, other), (other, one)] {
        for address in to.addresses() {
            wait_until(&format!("{} to reach {address}", from.name), DEADLINE, || {
                Ok(ping(from, address, NO_ECHO)?.is_some())
            })?;
        }
    }
    for at in [0, 1] {
        transfer(one, one.addresses()[at], other, FILE)?;
        transfer(other, other.addresses()[at], one, FILE)?;
    }
    Ok(())
}

/// That a tap saw sealed datagrams and nothing of the two machines in clear.
fn ensure_sealed(tap: Capture, one: &Host, other: &Host) -> Result<()> {
    let tally = tap.finish()?;
    tally.ensure_no_clear(one, other)?;
    ensure!(tally.marker == 0, "{} frames show the marker", tally.marker);
    let sealed: u64 =
        tally.frames.iter().filter(|((_, _, kind), _)| *kind == Kind::Sealed).map(|(_, n)| n).sum();
    ensure!(sealed > 0, "nothing sealed");
    Ok(())
}

fn host() -> Result<()> {
    let (row, server) = begin(2)?;
    let left = row.leftmost();
    let want = RouterRequest { group: GROUP, mode: "closed", outside: "right", protect: &left };
    let r1 = Agent::enrol_router(&row.router(1)?.right, &server, want)?;
    let b = Agent::enrol(&row.b, &server, GROUP, "closed")?;
    let a = Agent::enrol(&row.a, &server, GROUP, "open")?;
    for network in [0, 1, 0] {
        let here = row.move_to(&row.a, network, 11)?;
        let tap = row.tap(2, &row.b)?;
        come_together(&here, &row.b)?;
        for at in [0, 1] {
            a.wait_verdict(row.b.addresses()[at], "protected")?;
            b.wait_verdict(here.addresses()[at], "protected")?;
        }
        if network == 0 {
            for to in row.b.addresses() {
                r1.wait_verdict(to, "transit")?;
            }
        }
        ensure_sealed(tap, &here, &row.b)?;
    }
    Ok(())
}

fn machine() -> Result<()> {
    let (row, server) = begin(3)?;
    let (left, right) = (row.leftmost(), row.right_of(3)?);
    let want = |outside, protect| RouterRequest { group: GROUP, mode: "closed", outside, protect };
    let r1 = Agent::enrol_router(&row.router(1)?.right, &server, want("right", &left))?;
    let r3 = Agent::enrol_router(&row.router(3)?.left, &server, want("left", &right))?;
    let member = row.move_to(&row.b, 2, 12)?;
    let b = Agent::enrol(&member, &server, GROUP, "closed")?;
    for network in [0, 3, 0] {
        let here = row.move_to(&row.a, network, 11)?;
        let tap = row.tap(2, &member)?;
        come_together(&here, &member)?;
        let router = if network == 0 { &r1 } else { &r3 };
        for at in [0, 1] {
            b.wait_verdict(here.addresses()[at], "protected")?;
            router.wait_verdict(member.addresses()[at], "protected")?;
        }
        ensure_sealed(tap, &here, &member)?;
    }
    Ok(())
}

fn ways() -> Result<()> {
    let (row, server) = begin(2)?;
    let (r1, r2) = (&row.router(1)?.right, &row.router(2)?.left);
    ip(Some("r1"), "link add name up1 type veth peer name up1 netns r2\n")?;
    for (name, number) in [("r1", 1), ("r2", 2)] {
        ip(
            Some(name),
            &format!(
                "link set dev up1 up\naddr add 10.82.0.{number}/24 dev up1\n\
                 addr add fd82::{number}/64 dev up1 nodad\n"
            ),
        )?;
    }
    // The routers' own addresses there are where sealed datagrams go.
    let via = &row.router(2)?.right;
    let (v4, v6) = (via.v4, via.v6);
    ip(Some("b"), &format!("route add 10.82.0.0/24 via {v4}\nroute add fd82::/64 via {v6}\n"))?;
    let left = row.leftmost();
    let want = RouterRequest { group: GROUP, mode: "closed", outside: "right", protect: &left };
    let mut agent = Agent::prepare_router(r1, &server, want, &left)?;
    agent.add_args(&["--outside", "up1"]);
    agent.start()?;
    let b = Agent::enrol(&row.b, &server, GROUP, "closed")?;
    let network = |at: usize| row.tap(at, if at == 1 { r2 } else { &row.b });
    // The first way, the second after the first one's end, and the first again.
    for second in [false, true, false] {
        let batch = if second { "link set dev r1 down\n" } else { "link set dev r1 up\n" };
        ip(Some("n1"), batch)?;
        let (there, back) = if second {
            (["10.82.0.2", "fd82::2"], ["10.82.0.1", "fd82::1"])
        } else {
            (["10.81.1.2", "fd81:0:0:1::2"], ["10.81.1.1", "fd81:0:0:1::1"])
        };
        let route = |to: [&str; 2], via: [&str; 2]| {
            format!(
                "route replace {} via {}\nroute replace {} via {}\n",
                to[0], via[0], to[1], via[1]
            )
        };
        ip(Some("r1"), &route(["10.81.2.0/24", "fd81:0:0:2::/64"], there))?;
        ip(Some("r2"), &route(["10.80.0.0/24", "fd80::/64"], back))?;
        let tap = if second { Capture::start(r2, "up1", Some(MARKER))? } else { network(1)? };
        let at_b = network(2)?;
        come_together(&row.a, &row.b)?;
        ensure_sealed(tap, &row.a, &row.b)?;
        ensure_sealed(at_b, &row.a, &row.b)?;
        for at in [0, 1] {
            agent.wait_verdict(row.b.addresses()[at], "protected")?;
            b.wait_verdict(row.a.addresses()[at], "protected")?;
        }
    }
    Ok(())
}
