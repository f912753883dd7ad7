//! Real programs through routers with an agent.
//!
//! ```text
//! host      a ges ── r1 gen ── r2 gen ── b            a – r2 sealed, b an ordinary machine
//! sites     a ── r1 gen ── r2 gen ── b                r1 – r2 sealed, ordinary machines at both ends
//! cascade   a ges ── r1 gen ── r2 gen ── r3 gen ── b  a – r3 sealed, b an ordinary machine
//! nat       a ── r1 gen, masquerading ── b ges        r1 – b sealed, a an ordinary machine
//! ```
//! The management server is in network 1, between the first two routers.

use super::router::begin;
use crate::agent::{Agent, RouterRequest};
use crate::capture::{Capture, Tally};
use crate::host::Host;
use crate::pair::GROUP;
use crate::proof::under_tap;
use crate::row::Row;
use crate::scenario::{Scenario, scenario};
use crate::server::Server;
use crate::tools::{self, PROGRAMS, SSH};
use anyhow::{Result, ensure};

pub(crate) const LIST: &[Scenario] = &[
    scenario("path_host", "ping, curl, iperf3: host, two routers, machine", PROGRAMS, || {
        Path::host()?.carries(tools::all)
    }),
    scenario("path_sites", "the same between machines behind two routers", PROGRAMS, || {
        Path::sites()?.carries(tools::all)
    }),
    scenario("path_cascade", "the same through three routers in a row", PROGRAMS, || {
        Path::cascade()?.carries(tools::all)
    }),
    scenario("path_nat", "the same through a masquerading router", NAT_PROGRAMS, || {
        Path::nat()?.carries(tools::all)
    }),
    scenario("path_host_ssh", "ssh: host, two routers, machine", SSH, || {
        Path::host()?.carries(tools::ssh)
    }),
    scenario("path_sites_ssh", "ssh between machines behind two routers", SSH, || {
        Path::sites()?.carries(tools::ssh)
    }),
    scenario("path_cascade_ssh", "ssh through three routers in a row", SSH, || {
        Path::cascade()?.carries(tools::ssh)
    }),
    scenario("path_nat_ssh", "ssh through a masquerading router", NAT_SSH, || {
        Path::nat()?.carries(tools::ssh)
    }),
];

const NAT_PROGRAMS: &[&str] = &["nft", "curl", "python3", "iperf3", "ping"];
const NAT_SSH: &[&str] = &["nft", "root", "sshd", "ssh", "ssh-keygen"];

/// A row with its agents, and where it is sealed.
struct Path {
    /// Agents go before their server and their network.
    _agents: Vec<Agent>,
    _server: Server,
    row: Row,
    /// Networks in which everything must be sealed.
    sealed: std::ops::Range<usize>,
    /// Machines that protect.
    ends: [Host; 2],
}

impl Path {
    fn host() -> Result<Self> {
        let (row, server) = begin(2)?;
        let mut agents = vec![Agent::enrol(&row.a, &server, GROUP, "closed")?];
        for number in [1, 2] {
            agents.push(right_of(&row, &server, number)?);
        }
        let ends = [row.a.clone(), row.router(2)?.left.clone()];
        Ok(Self { _agents: agents, _server: server, row, sealed: 0..2, ends })
    }

    fn sites() -> Result<Self> {
        let (row, server) = begin(2)?;
        let agents = vec![left_of_first(&row, &server)?, right_of(&row, &server, 2)?];
        let ends = [row.router(1)?.right.clone(), row.router(2)?.left.clone()];
        Ok(Self { _agents: agents, _server: server, row, sealed: 1..2, ends })
    }

    fn cascade() -> Result<Self> {
        let (row, server) = begin(3)?;
        let mut agents = vec![Agent::enrol(&row.a, &server, GROUP, "open")?];
        for number in [1, 2, 3] {
            agents.push(right_of(&row, &server, number)?);
        }
        let ends = [row.a.clone(), row.router(3)?.left.clone()];
        Ok(Self { _agents: agents, _server: server, row, sealed: 0..3, ends })
    }

    fn nat() -> Result<Self> {
        let (row, server) = begin(1)?;
        row.masquerade(1)?;
        let b = Agent::enrol(&row.b, &server, GROUP, "closed")?;
        let agents = vec![left_of_first(&row, &server)?, b];
        let ends = [row.router(1)?.right.clone(), row.b.clone()];
        Ok(Self { _agents: agents, _server: server, row, sealed: 1..2, ends })
    }

    /// Lets programs run from `a` to `b`; whatever they send is sealed where it must be.
    fn carries(&self, programs: fn(&Host, &Host) -> Result<()>) -> Result<()> {
        // The tap on the last sealed network sees what all others carry too.
        let last = self.sealed.end - 1;
        let tap = || -> Result<Capture> { self.row.tap(last, &self.ends[1]) };
        under_tap(tap, || programs(&self.row.a, &self.row.b), |tally| self.judge(tally))
    }

    fn judge(&self, tally: &Tally) -> Result<()> {
        let [one, other] = &self.ends;
        tally.ensure_no_clear(&self.row.a, &self.row.b)?;
        tally.ensure_no_clear(one, other)?;
        ensure!(tally.marker == 0, "{} frames show the marker", tally.marker);
        let sealed = tally.sealed(one, other);
        ensure!(sealed > 0, "nothing sealed between {} and {}", one.name, other.name);
        Ok(())
    }
}

/// The agent of router 1, that stands for the networks left of it.
fn left_of_first(row: &Row, server: &Server) -> Result<Agent> {
    let protect = row.leftmost();
    let want = RouterRequest { group: GROUP, mode: "open", outside: "right", protect: &protect };
    Agent::enrol_router(&row.router(1)?.right, server, want)
}

/// The agent of a router that stands for the networks right of it.
fn right_of(row: &Row, server: &Server, number: usize) -> Result<Agent> {
    let protect = row.right_of(number)?;
    let want = RouterRequest { group: GROUP, mode: "open", outside: "left", protect: &protect };
    Agent::enrol_router(&row.router(number)?.left, server, want)
}
