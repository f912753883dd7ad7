//! The lab itself, without agents: if this fails, nothing else means anything.
//!
//! ```text
//!   ms .1  ──┬──  switch  ──┬── a .11          a ── r1 ══ 576/1280 ══ r2 ── b
//!            └── capture    ├── b .12
//!                           └── o .99
//! ```

use crate::capture::{Capture, Kind};
use crate::lab::Lab;
use crate::machine::Machine;
use crate::ping::ping;
use crate::scenario::{Scenario, scenario};
use crate::stream::{MARKER, transfer};
use anyhow::{Result, ensure};
use std::time::Duration;

pub(crate) const LIST: &[Scenario] = &[
    scenario("lab_plain", "plain traffic in the lab, seen in clear by the capture", &[], plain),
    scenario(
        "lab_routed",
        "plain downloads through a 576-byte link between two routers",
        &[],
        routed,
    ),
];

fn plain() -> Result<()> {
    let lab = Lab::switched(1500)?;
    let before = Machine::read(&lab.a)?;
    let capture = Capture::start(&lab.middle, "a", Some(MARKER))?;
    for address in lab.b.addresses() {
        let answer = ping(&lab.a, address, Duration::from_secs(3))?;
        ensure!(answer.is_some(), "no echo reply from {address}");
        transfer(&lab.a, lab.a.addresses()[usize::from(address.is_ipv6())], &lab.b, 8 << 20)?;
    }
    let tally = capture.finish()?;
    tally.complete()?;
    let icmp = tally.between(&lab.a, &lab.b, |kind| kind == Kind::Icmp);
    ensure!(icmp == 4, "{icmp} ICMP frames instead of 2 requests and 2 replies");
    ensure!(tally.marker > 100, "the marker was seen in {} frames only", tally.marker);
    ensure!(tally.sealed(&lab.a, &lab.b) == 0, "nobody could have sealed anything");
    ensure!(tally.ensure_no_clear(&lab.a, &lab.b).is_err(), "clear traffic was not noticed");
    ensure!(tally.clear(&lab.a, lab.outsider()?) == 0, "traffic of a pair that said nothing");
    before.ensure_same(&Machine::read(&lab.a)?)
}

fn routed() -> Result<()> {
    let lab = Lab::routed(576)?;
    let capture = Capture::start(&lab.middle, "mid", Some(MARKER))?;
    transfer(&lab.a, lab.a.v4.into(), &lab.b, 2 << 20)?;
    transfer(&lab.b, lab.b.v4.into(), &lab.a, 2 << 20)?;
    let tally = capture.finish()?;
    tally.complete()?;
    ensure!(tally.marker > 0, "nothing went over the narrow link");
    Ok(())
}
