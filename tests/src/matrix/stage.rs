//! The longest path of the matrix, built once, and the agents that can be on it.
//!
//! ```text
//!   a ─── n0 ─── r1 ─── n1 ─── r2 ─── n2 ─── r3 ─── n3 ─── r4 ─── n4 ─── b
//!   source-     source-       transit-1     transit-2     destination-   destination-
//!   host        router        hook: right   hook: left    router         host
//!   hook: eth0  hook: right                               hook: left     hook: eth0
//!
//!   10.88.0.0/16, fd88::/16 at a             10.89.0.0/16, fd89::/16 at b
//!   every machine, by its interface "mgmt", and ms: 10.99.0.0/24
//! ```
//! Each case has addresses of its own at both ends, so that nothing is left of the case before. The
//! management server is in a network of its own: the agents of this path shall not depend on what the
//! others let pass. An agent that was in other groups in the case before is another agent: groups
//! come with the token, so each place has one agent for each set of groups the cases ask for.

use super::case::{Case, Place, Wanted};
use crate::agent::Agent;
use crate::capture::{Capture, Tally};
use crate::host::{DEV, Host};
use crate::lab::ip;
use crate::row::Row;
use crate::server::{Server, TokenRequest};
use crate::wait::wait_until;
use anyhow::{Context, Result, ensure};
use std::collections::BTreeMap;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::time::Duration;

/// Machines on the path.
pub const MACHINES: usize = 6;
/// Most cases one stage has addresses for.
const CASES_MAX: u16 = 700;
/// A policy arrives within a second; a busy machine takes longer.
const POLICY_DEADLINE: Duration = Duration::from_secs(15);

/// Who an agent is: where it stands and in which groups it is.
type Name = (Place, Vec<u32>);

/// The running path. Agents go before the server, the server before the network.
pub struct Stage {
    agents: BTreeMap<Name, Member>,
    taps: Vec<Capture>,
    server: Server,
    row: Row,
}

struct Member {
    agent: Agent,
    /// Its id at the server, once it has enrolled.
    id: Option<String>,
    /// As the server has it.
    mode: String,
}

/// Addresses of both ends of a case.
#[derive(Clone, Copy, Debug)]
pub struct Ends {
    /// Of the source machine.
    pub source: IpAddr,
    /// Of the destination machine.
    pub destination: IpAddr,
}

/// Addresses of case number `n`, IPv4 and IPv6.
#[must_use]
pub fn ends(n: u16) -> [Ends; 2] {
    let (high, low) = ((n >> 8) as u8, n as u8);
    let v4 = |network| IpAddr::from(Ipv4Addr::new(10, network, high, low));
    let v6 = |prefix| IpAddr::from(Ipv6Addr::new(prefix, 0, 0, 0, 0, 0, 0, n));
    [
        Ends { source: v4(88), destination: v4(89) },
        Ends { source: v6(0xfd88), destination: v6(0xfd89) },
    ]
}

impl Stage {
    /// Builds it, with a server that has groups 1 and 2, and addresses for `cases` cases from 1.
    ///
    /// # Errors
    /// If `ip` or one of the programs refuses.
    pub fn new(cases: u16) -> Result<Self> {
        ensure!(cases <= CASES_MAX, "a stage has addresses for {CASES_MAX} cases");
        let row = Row::new(4)?;
        lead_to_ends(&row, cases)?;
        let ms = management_network(&row)?;
        let server = Server::start(&ms)?;
        // The first group a server makes is number 1.
        server.group("one")?;
        server.group("two")?;
        let tap = |link: usize| row.small_tap(link, machine(&row, link + 1)?);
        let taps = (0..MACHINES - 1).map(tap).collect::<Result<_>>()?;
        Ok(Self { agents: BTreeMap::new(), taps, server, row })
    }

    /// One end of the path.
    #[must_use]
    pub const fn source(&self) -> &Host {
        &self.row.a
    }

    /// The other.
    #[must_use]
    pub const fn destination(&self) -> &Host {
        &self.row.b
    }

    /// Lets exactly the agents of `case` run, in their groups and modes, and waits until each says
    /// so itself.
    ///
    /// # Errors
    /// If one does not come up, or does not get its policy.
    pub fn arrange(&mut self, case: &Case) -> Result<()> {
        let wanted: BTreeMap<Name, &Wanted> =
            case.agents.iter().map(|one| ((one.place, one.groups.clone()), one)).collect();
        self.stop_all_but(&wanted)?;
        for (name, wanted) in &wanted {
            if !self.agents.contains_key(name) {
                let member = self.enrol(name, wanted)?;
                self.agents.insert(name.clone(), member);
            }
            self.set_mode(name, &wanted.mode)?;
            let member = self.member_mut(name)?;
            if !member.agent.is_running() {
                member.agent.launch()?;
            }
        }
        for (name, wanted) in &wanted {
            let member = self.member_mut(name)?;
            member.agent.wait_up()?;
            if member.id.is_none() {
                member.id = Some(member.agent.id()?);
            }
            let Member { agent, .. } = member;
            let what = format!("{} to be {}", agent.host.name, wanted.mode);
            wait_until(&what, POLICY_DEADLINE, || {
                let status = agent.status()?;
                let health = status["health"].to_string();
                Ok(status["mode"] == wanted.mode.as_str() && !health.contains("W-NOT-CERTIFIED"))
            })?;
        }
        Ok(())
    }

    /// The agent of this case at a place.
    ///
    /// # Errors
    /// If the case was not arranged.
    pub fn agent(&self, wanted: &Wanted) -> Result<&Agent> {
        let member = self.agents.get(&(wanted.place, wanted.groups.clone()));
        Ok(&member.context("no such agent")?.agent)
    }

    /// What went over each link until now, in path order.
    ///
    /// # Errors
    /// If a tap has ended or lost frames: then it proves nothing.
    pub fn seen(&self) -> Result<Vec<Tally>> {
        std::thread::scope(|scope| {
            let reads: Vec<_> = self.taps.iter().map(|tap| scope.spawn(|| tap.so_far())).collect();
            let read = |read: std::thread::ScopedJoinHandle<'_, Result<Tally>>| {
                let tally = read.join().ok().context("a tap panicked")??;
                tally.complete()?;
                Ok(tally)
            };
            reads.into_iter().map(read).collect()
        })
    }

    /// The same without waiting for frames of the last moments.
    #[must_use]
    pub fn glance(&self) -> Vec<Tally> {
        self.taps.iter().map(Capture::tally).collect()
    }

    /// Ends agents that a case does not want. A closed one would leave its rules behind.
    fn stop_all_but(&mut self, wanted: &BTreeMap<Name, &Wanted>) -> Result<()> {
        let running = |(name, member): (&Name, &Member)| {
            (member.agent.is_running() && !wanted.contains_key(name)).then(|| name.clone())
        };
        let leaving: Vec<Name> = self.agents.iter().filter_map(running).collect();
        for name in &leaving {
            self.set_mode(name, "open")?;
        }
        for name in &leaving {
            let member = self.member_mut(name)?;
            member.agent.wait_status("mode", "open")?;
            let code = member.agent.stop()?;
            ensure!(code == 0, "the agent on {} ended with {code}", member.agent.host.name);
        }
        Ok(())
    }

    fn set_mode(&mut self, name: &Name, mode: &str) -> Result<()> {
        let Self { agents, server, .. } = self;
        let member = agents.get_mut(name).context("no such agent")?;
        if let Some(id) = &member.id
            && member.mode != mode
        {
            server.admin(&["member", "set", id, "--mode", mode])?;
            mode.clone_into(&mut member.mode);
        }
        Ok(())
    }

    fn member_mut(&mut self, name: &Name) -> Result<&mut Member> {
        self.agents.get_mut(name).context("no such agent")
    }

    /// A token for a new agent with the files of its own, not yet started.
    fn enrol(&self, (place, groups): &Name, wanted: &Wanted) -> Result<Member> {
        let names: Vec<_> =
            groups.iter().map(|group| if *group == 1 { "one" } else { "two" }).collect();
        let group = names.join(",");
        let request = TokenRequest::new(&group, &wanted.mode);
        let host = machine(&self.row, place.number())?;
        let name = format!("in-{}", names.join("-"));
        let url = self.server.url();
        let agent = if let Some((outside, protect)) = behind(*place) {
            let request = TokenRequest { kind: "router", prefixes: &protect, ..request };
            let token = self.server.token(request)?;
            let mut agent = Agent::with_token(host, &name, &url, &token)?;
            agent.make_router(outside, &protect);
            agent
        } else {
            Agent::with_token(host, &name, &url, &self.server.token(request)?)?
        };
        Ok(Member { agent, id: None, mode: wanted.mode.clone() })
    }
}

/// Hook and subnets of a router; nothing for a host. An inner router has the narrower range.
fn behind(place: Place) -> Option<(&'static str, Vec<String>)> {
    let (outside, protect) = match place {
        Place::SourceHost | Place::DestinationHost => return None,
        Place::SourceRouter => ("right", ["10.88.0.0/17", "fd88::/32"]),
        Place::Transit1 => ("right", ["10.88.0.0/16", "fd88::/16"]),
        Place::Transit2 => ("left", ["10.89.0.0/16", "fd89::/16"]),
        Place::DestinationRouter => ("left", ["10.89.0.0/17", "fd89::/32"]),
    };
    Some((outside, protect.map(str::to_owned).to_vec()))
}

/// Machine `number` of the path, from 0.
fn machine(row: &Row, number: usize) -> Result<&Host> {
    match number {
        0 => Ok(&row.a),
        number if number == MACHINES - 1 => Ok(&row.b),
        number => Ok(&row.router(number)?.left),
    }
}

/// Addresses of the cases at both ends, and every machine's way to them.
fn lead_to_ends(row: &Row, cases: u16) -> Result<()> {
    let (mut on_a, mut on_b) = (String::new(), String::new());
    for n in 1..=cases {
        for Ends { source, destination } in ends(n) {
            let (length, flags) = if source.is_ipv4() { (32, "") } else { (128, " nodad") };
            on_a += &format!("addr add {source}/{length} dev {DEV}{flags}\n");
            on_b += &format!("addr add {destination}/{length} dev {DEV}{flags}\n");
        }
    }
    ip(Some(&row.a.name), &on_a)?;
    ip(Some(&row.b.name), &on_b)?;
    let via = |host: &Host, left: bool| {
        let (v4, v6) = if left { ("10.88.0.0", "fd88::") } else { ("10.89.0.0", "fd89::") };
        format!("route add {v4}/16 via {}\nroute add {v6}/16 via {}\n", host.v4, host.v6)
    };
    for number in 0..MACHINES {
        let mut routes = String::new();
        if number > 0 {
            let to = match number {
                1 => &row.a,
                number => &row.router(number - 1)?.right,
            };
            routes += &via(to, true);
        }
        if number < MACHINES - 1 {
            let to = match number {
                number if number == MACHINES - 2 => &row.b,
                number => &row.router(number + 1)?.left,
            };
            routes += &via(to, false);
        }
        ip(Some(&machine(row, number)?.name), &routes)?;
    }
    Ok(())
}

/// A switch that joins all machines and the management server, which is returned with its address
/// there.
fn management_network(row: &Row) -> Result<Host> {
    ip(None, "netns add nm\n")?;
    ip(Some("nm"), "link add name br0 type bridge mcast_snooping 0\nlink set dev br0 up\n")?;
    let mut names = vec![row.ms.name.clone()];
    for number in 0..MACHINES {
        names.push(machine(row, number)?.name.clone());
    }
    for (at, name) in (1..).zip(&names) {
        ip(
            Some("nm"),
            &format!(
                "link add name {name} type veth peer name mgmt netns {name}\n\
                 link set dev {name} master br0 up\n"
            ),
        )?;
        ip(Some(name), &format!("link set dev mgmt up\naddr add 10.99.0.{at}/24 dev mgmt\n"))?;
    }
    Ok(row.ms.at(Ipv4Addr::new(10, 99, 0, 1), Ipv6Addr::UNSPECIFIED))
}
