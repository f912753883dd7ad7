//! Two members and their server in a lab: what most scenarios begin with.

use crate::agent::Agent;
use crate::capture::{Capture, Tally};
use crate::lab::Lab;
use crate::ping::Pinger;
use crate::server::Server;
use crate::stream::MARKER;
use anyhow::{Context, Result, ensure};
use std::net::IpAddr;
use std::time::Duration;

/// Group both members are in.
pub const GROUP: &str = "team";
/// Longest wait for an echo: the whole retry ladder and some more.
pub const ECHO_DEADLINE: Duration = Duration::from_secs(5);

/// Long enough to know that an echo is not answered: the retry ladder.
pub const NO_ECHO: Duration = Duration::from_secs(2);

/// Two enrolled members, up, that have not talked yet. Fields are dropped in this order.
pub struct Pair {
    /// Agent on the lab's host `a`.
    pub a: Agent,
    /// Agent on the lab's host `b`.
    pub b: Agent,
    /// Their management server.
    pub server: Server,
    /// The network.
    pub lab: Lab,
}

impl Pair {
    /// On one switch, both members in `mode` (`open` or `closed`).
    ///
    /// # Errors
    /// If any part does not come up.
    pub fn new(mode: &str) -> Result<Self> {
        Self::in_lab(Lab::switched(1500)?, mode)
    }

    /// In `lab`, both members in `mode`.
    ///
    /// # Errors
    /// If any part does not come up.
    pub fn in_lab(lab: Lab, mode: &str) -> Result<Self> {
        let server = Server::start(&lab.ms)?;
        server.group(GROUP)?;
        let a = Agent::enrol(&lab.a, &server, GROUP, mode)?;
        let b = Agent::enrol(&lab.b, &server, GROUP, mode)?;
        Ok(Self { a, b, server, lab })
    }

    /// Taps the link of host `a` (in the routed lab: the link between the routers).
    ///
    /// # Errors
    /// If packet sockets are refused.
    pub fn tap(&self) -> Result<Capture> {
        let dev = if self.lab.outsider.is_some() { "a" } else { "mid" };
        Capture::start(&self.lab.middle, dev, Some(MARKER))
    }

    /// Echoes with a readable payload between `a` and `b`, which must be answered.
    ///
    /// # Errors
    /// If one is not.
    pub fn exchange(&self, v6: bool) -> Result<()> {
        let mut pinger = Pinger::new(&self.lab.a, self.address_of_b(v6), MARKER)?;
        for count in 1..=3 {
            let answer = pinger.echo(ECHO_DEADLINE)?;
            ensure!(answer.is_some(), "echo {count} from a to b was not answered");
        }
        Ok(())
    }

    /// An address of host `a`.
    #[must_use]
    pub fn address_of_a(&self, v6: bool) -> IpAddr {
        self.lab.a.addresses()[usize::from(v6)]
    }

    /// An address of host `b`.
    #[must_use]
    pub fn address_of_b(&self, v6: bool) -> IpAddr {
        self.lab.b.addresses()[usize::from(v6)]
    }

    /// That everything between the members was sealed, something was, and both agents say so.
    ///
    /// # Errors
    /// With what went in clear.
    pub fn ensure_protected(&self, tally: &Tally, v6: bool) -> Result<()> {
        tally.ensure_no_clear(&self.lab.a, &self.lab.b)?;
        ensure!(tally.marker == 0, "{} frames show the marker", tally.marker);
        ensure!(tally.sealed(&self.lab.a, &self.lab.b) > 0, "nothing sealed went over the wire");
        self.a.wait_verdict(self.address_of_b(v6), "protected").context("agent a")?;
        self.b.wait_verdict(self.address_of_a(v6), "protected").context("agent b")
    }
}
