//! Machines without the group's key: let in by open hosts, refused by closed ones.
//!
//! ```text
//!   ms .1  ──┬──  switch  ──┬── a .11  ges, open or closed
//!            │   tap on a   ├── b .12  ges, member of the same or of another group
//!            │              └── o .99  no agent
//! ```

use crate::agent::Agent;
use crate::lab::Lab;
use crate::pair::{ECHO_DEADLINE, NO_ECHO, Pair};
use crate::ping::ping;
use crate::scenario::{Scenario, scenario};
use crate::server::Server;
use crate::stream::transfer;
use anyhow::{Context, Result, ensure};
use std::io::ErrorKind;
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::time::Duration;

pub(crate) const LIST: &[Scenario] = &[
    scenario("outsider_open", "an open host talks to a machine without agent", &[], open),
    scenario(
        "outsider_closed",
        "a closed host refuses it, and still talks to members",
        &[],
        closed,
    ),
    scenario("refused_at_once", "a refused program is told, it does not hang", &[], told),
    scenario("other_group_open", "open members of different groups talk in clear", &[], || {
        other_group("open", true)
    }),
    scenario("other_group_closed", "closed members of different groups do not talk", &[], || {
        other_group("closed", false)
    }),
];

fn open() -> Result<()> {
    let pair = Pair::new("open")?;
    let outsider = pair.lab.outsider()?;
    for v6 in [0, 1] {
        let (own, theirs) = (pair.lab.a.addresses()[v6], outsider.addresses()[v6]);
        ensure!(ping(outsider, own, ECHO_DEADLINE)?.is_some(), "{theirs} was not let in");
        ensure!(ping(&pair.lab.a, theirs, ECHO_DEADLINE)?.is_some(), "{theirs} was not reached");
        transfer(&pair.lab.a, own, outsider, 4 << 20).context("a file for the outsider")?;
        pair.a.wait_verdict(theirs, "clear")?;
    }
    let tap = pair.tap()?;
    pair.exchange(false)?;
    pair.ensure_protected(&tap.finish()?, false)
}

fn closed() -> Result<()> {
    let pair = Pair::new("closed")?;
    let outsider = pair.lab.outsider()?;
    let tap = pair.tap()?;
    for v6 in [0, 1] {
        let (own, theirs) = (pair.lab.a.addresses()[v6], outsider.addresses()[v6]);
        ensure!(ping(outsider, own, NO_ECHO)?.is_none(), "{theirs} was let in");
        ensure!(ping(&pair.lab.a, theirs, NO_ECHO)?.is_none(), "{theirs} was reached");
        pair.exchange(v6 == 1)?;
    }
    let tally = tap.finish()?;
    let from_member = tally
        .frames
        .iter()
        .filter(|((from, to, kind), _)| {
            pair.lab.a.addresses().contains(from)
                && outsider.addresses().contains(to)
                && kind.is_clear()
        })
        .count();
    ensure!(from_member == 0, "the closed host sent to the outsider: {:?}", tally.frames);
    pair.ensure_protected(&tally, false)
}

/// A local program that may not reach a machine gets an error, as DESIGN section 5 asks.
fn told() -> Result<()> {
    let pair = Pair::new("closed")?;
    let outsider = pair.lab.outsider()?;
    let listener = outsider.enter(|| Ok(TcpListener::bind((outsider.v4, 0))?))?;
    let at: SocketAddr = listener.local_addr()?;
    let refused =
        pair.lab.a.enter(|| Ok(TcpStream::connect_timeout(&at, Duration::from_secs(15))))?;
    let error = refused.err().context("a closed host reached an outsider")?;
    ensure!(error.kind() != ErrorKind::TimedOut, "the program was not told: {error}");
    Ok(())
}

fn other_group(mode: &str, reached: bool) -> Result<()> {
    let lab = Lab::switched(1500)?;
    let server = Server::start(&lab.ms)?;
    server.group("red")?;
    server.group("blue")?;
    let a = Agent::enrol(&lab.a, &server, "red", mode)?;
    let b = Agent::enrol(&lab.b, &server, "blue", mode)?;
    let pair = Pair { a, b, server, lab };
    let tap = pair.tap()?;
    for v6 in [false, true] {
        let deadline = if reached { ECHO_DEADLINE } else { NO_ECHO };
        let answer = ping(&pair.lab.a, pair.address_of_b(v6), deadline)?;
        ensure!(answer.is_some() == reached, "{mode} members of two groups: {answer:?}");
    }
    let tally = tap.finish()?;
    ensure!(tally.sealed(&pair.lab.a, &pair.lab.b) == 0, "sealed without a common group");
    if !reached {
        tally.ensure_no_clear(&pair.lab.a, &pair.lab.b)?;
    }
    Ok(())
}
