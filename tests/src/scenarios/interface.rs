//! Links and addresses that come, go and change.
//!
//! ```text
//!   ms .1  ──┬──  switch  ──┬── a .11  ges
//!            │   tap on a   └── b .12  ges; its link goes down and up, its address becomes .13
//! ```

use crate::host::DEV;
use crate::lab::ip;
use crate::pair::{ECHO_DEADLINE, Pair};
use crate::ping::Pinger;
use crate::scenario::{Scenario, scenario};
use crate::stream::MARKER;
use crate::wait::wait_until;
use anyhow::{Context, Result, ensure};
use std::net::IpAddr;
use std::time::Duration;

pub(crate) const LIST: &[Scenario] = &[
    scenario("interface_down_up", "link down and up: protected again, nothing leaks", &[], down_up),
    scenario("interface_flaps", "ten times down and up in a row", &[], flaps),
    scenario("address_change", "a new address before its first use is protected", &[], change),
];

fn down_up() -> Result<()> {
    let pair = Pair::new("closed")?;
    let tap = pair.tap()?;
    pair.exchange(false)?;
    flap(&pair)?;
    answered(&pair, pair.address_of_b(false))?;
    answered(&pair, pair.address_of_b(true))?;
    pair.ensure_protected(&tap.finish()?, false)
}

fn flaps() -> Result<()> {
    let pair = Pair::new("closed")?;
    let tap = pair.tap()?;
    pair.exchange(false)?;
    for _ in 0..10 {
        flap(&pair)?;
    }
    answered(&pair, pair.address_of_b(false))?;
    pair.ensure_protected(&tap.finish()?, false)
}

fn change() -> Result<()> {
    let pair = Pair::new("closed")?;
    let tap = pair.tap()?;
    ip(
        Some("b"),
        &format!("addr del 10.77.0.12/24 dev {DEV}\naddr add 10.77.0.13/24 dev {DEV}\n"),
    )?;
    let new: IpAddr = [10, 77, 0, 13].into();
    answered(&pair, new)?;
    pair.a.wait_verdict(new, "protected")?;
    let tally = tap.finish()?;
    tally.complete()?;
    ensure!(tally.marker == 0, "{} frames show the marker", tally.marker);
    Ok(())
}

/// Down and up; the kernel forgets IPv6 addresses of a link that goes down.
fn flap(pair: &Pair) -> Result<()> {
    let v6 = pair.lab.b.v6;
    ip(
        Some("b"),
        &format!(
            "link set dev {DEV} down\nlink set dev {DEV} up\naddr replace {v6}/64 dev {DEV} nodad\n"
        ),
    )
}

/// Echoes until one is answered: a link needs a moment to come up.
fn answered(pair: &Pair, to: IpAddr) -> Result<()> {
    let mut pinger = Pinger::new(&pair.lab.a, to, MARKER)?;
    wait_until(&format!("an answer from {to}"), ECHO_DEADLINE * 4, || {
        Ok(pinger.echo(Duration::from_millis(500))?.is_some())
    })
    .context("after the change")
}
