//! The machines between which throughput is measured, with a second cable beside the protected one.
//!
//! ```text
//!            10.231.0.0/24 ges ══ wire ══ ges           protected
//!   pair     a .1                              .2 b
//!            10.232.0.0/24 ────── plain ──────          the same without agents
//!
//!            10.235.1.0/24         gen ══ wire ══ gen         10.235.2.0/24
//!   routers  a .2 ── lan ── .1 r1                    r2 .1 ── lan ── .2 b
//!            10.236.1.0/24         ────── plain ──────        10.236.2.0/24
//! ```
//! Both cables end in the same machines, so that plain traffic and ours are measured in turn and nothing
//! else differs. The server `ms` has cables of its own to whoever has an agent. `a` and `r1` are on one
//! CPU, `b` and `r2` on another.

use super::cpus::{Cpus, Side};
use super::setting::Profile;
use anyhow::{Context, Result, ensure};
use e2e::lab::{begin, forward, ip};
use e2e::pair::ECHO_DEADLINE;
use e2e::ping::ping;
use e2e::{Agent, Host, RouterRequest, Server, TokenRequest};
use std::net::{Ipv4Addr, Ipv6Addr};
use std::path::Path;

const GROUP: &str = "bench";
const MS: Ipv4Addr = Ipv4Addr::new(10, 230, 0, 1);
/// Addresses `b` has besides its own, on each cable of a pair.
pub(super) const MORE: u32 = 1000;

/// Which of the two cables.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Way {
    Ours,
    Plain,
}

impl Way {
    /// In the order of a run.
    pub(super) const BOTH: [Self; 2] = [Self::Plain, Self::Ours];

    pub(super) const fn as_str(self) -> &'static str {
        match self {
            Self::Ours => "ours",
            Self::Plain => "plain",
        }
    }

    /// Second number of its networks.
    const fn net(self, routed: bool) -> u8 {
        match (self, routed) {
            (Self::Ours, false) => 231,
            (Self::Plain, false) => 232,
            (Self::Ours, true) => 235,
            (Self::Plain, true) => 236,
        }
    }
}

/// How packets come to the routers from their LANs.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Lan {
    /// As the profile has it.
    Profile,
    /// One by one: nothing merges them.
    Single,
}

/// Machines, agents, server, ready. Fields are dropped in this order.
pub(super) struct Stage {
    /// The agent on the initiator's side first.
    pub(super) agents: Vec<Agent>,
    _server: Server,
    /// Sends.
    pub(super) a: Host,
    /// Receives.
    pub(super) b: Host,
    /// All of them but the server's.
    pub(super) machines: Vec<Host>,
    pub(super) cpus: Cpus,
    profile: Profile,
    routed: bool,
}

impl Stage {
    /// Two hosts with agents.
    pub(super) fn pair(profile: Profile) -> Result<Self> {
        let dir = begin(&["ms", "a", "b"])?;
        for (cable, net) in [("wire", 231), ("plain", 232)] {
            connect(cable, ["a", "b"], [cable; 2])?;
            for (name, last) in [("a", 1), ("b", 2)] {
                address(name, cable, Ipv4Addr::new(10, net, 0, last))?;
            }
            more_addresses(cable, net)?;
        }
        let host = |name, last| open(name, Ipv4Addr::new(10, 231, 0, last), &dir);
        let (a, b, cpus) = (host("a", 1)?, host("b", 2)?, Cpus::choose()?);
        let server = server(&["a", "b"], &dir)?;
        let mut agents = Vec::new();
        for (host, side) in [(&a, Side::A), (&b, Side::B)] {
            let mut agent = Agent::prepare(host, &server, TokenRequest::new(GROUP, "closed"))?;
            agent.set_device("wire");
            cpus.on(side, || agent.start())?;
            agents.push(agent);
        }
        let machines = vec![a.clone(), b.clone()];
        let stage = Self { agents, _server: server, a, b, machines, cpus, profile, routed: false };
        stage.tune(&["a", "b"], &["wire", "plain"])?;
        stage.ensure_ready()?;
        Ok(stage)
    }

    /// Two ordinary machines behind two routers with agents.
    pub(super) fn routers(profile: Profile) -> Result<Self> {
        let dir = begin(&["ms", "a", "r1", "r2", "b"])?;
        connect("wire", ["r1", "r2"], ["wire"; 2])?;
        connect("plain", ["r1", "r2"], ["plain"; 2])?;
        connect("lan", ["a", "r1"], ["lan"; 2])?;
        connect("lan", ["b", "r2"], ["lan"; 2])?;
        for (cable, way) in [("wire", Way::Ours), ("plain", Way::Plain)] {
            route(cable, way)?;
        }
        let lan = |name, side, last| open(name, Ipv4Addr::new(10, 235, side, last), &dir);
        let (a, b) = (lan("a", 1, 2)?, lan("b", 2, 2)?);
        let (r1, r2, cpus) = (lan("r1", 1, 1)?, lan("r2", 2, 1)?, Cpus::choose()?);
        for router in [&r1, &r2] {
            forward(&router.name)?;
        }
        let server = server(&["r1", "r2"], &dir)?;
        let mut agents = Vec::new();
        for (router, side, number) in [(&r1, Side::A, 1), (&r2, Side::B, 2)] {
            let protect = [format!("10.235.{number}.0/24")];
            let want =
                RouterRequest { group: GROUP, mode: "closed", outside: "wire", protect: &protect };
            let mut agent = Agent::prepare_router(router, &server, want, &protect)?;
            cpus.on(side, || agent.start())?;
            agents.push(agent);
        }
        let machines = vec![a.clone(), r1, r2, b.clone()];
        let stage = Self { agents, _server: server, a, b, machines, cpus, profile, routed: true };
        stage.tune(&["r1", "r2"], &["wire", "plain", "lan"])?;
        stage.tune(&["a", "b"], &["lan"])?;
        stage.ensure_ready()?;
        Ok(stage)
    }

    /// Where `b` is by this cable.
    pub(super) fn to(&self, way: Way) -> Ipv4Addr {
        let (third, last) = if self.routed { (2, 2) } else { (0, 2) };
        Ipv4Addr::new(10, way.net(self.routed), third, last)
    }

    /// First of the [`MORE`] addresses `b` has on a cable of a pair.
    pub(super) fn more(way: Way) -> Ipv4Addr {
        first_of_more(way.net(false))
    }

    /// What the machines' cards do.
    fn tune(&self, machines: &[&str], devices: &[&str]) -> Result<()> {
        if self.profile == Profile::Hw {
            return Ok(());
        }
        for name in machines {
            let host = self.machine(name)?;
            for device in devices {
                features(host, device, &["gro", "on", "rx-udp-gro-forwarding", "on"])?;
                segment(host, device, "off")?;
            }
        }
        Ok(())
    }

    /// How packets come from the LANs.
    pub(super) fn set_lan(&self, lan: Lan) -> Result<()> {
        for name in ["a", "b", "r1", "r2"] {
            let host = self.machine(name)?;
            let single = lan == Lan::Single;
            let whole = !single && self.profile == Profile::Hw;
            segment(host, "lan", if whole { "on" } else { "off" })?;
            if name.starts_with('r') {
                let merged = !single && self.profile == Profile::Sw;
                features(host, "lan", &["gro", if merged { "on" } else { "off" }])?;
            }
        }
        Ok(())
    }

    fn machine(&self, name: &str) -> Result<&Host> {
        let found = self.machines.iter().find(|host| host.name == name);
        found.with_context(|| format!("no machine {name}"))
    }

    /// Both ways carry packets, ours protected.
    fn ensure_ready(&self) -> Result<()> {
        for way in Way::BOTH {
            let answer = ping(&self.a, self.to(way).into(), ECHO_DEADLINE)?;
            ensure!(answer.is_some(), "b does not answer by the {} way", way.as_str());
        }
        self.ensure_protected()
    }

    /// The agents say that what goes our way is sealed.
    pub(super) fn ensure_protected(&self) -> Result<()> {
        let to = self.to(Way::Ours).into();
        let agent = &self.agents[0];
        if self.routed {
            agent.wait_verdict_from(self.a.v4.into(), to, "protected")
        } else {
            agent.wait_verdict(to, "protected")
        }
    }
}

fn open(name: &str, v4: Ipv4Addr, dir: &Path) -> Result<Host> {
    Host::open(name, v4, Ipv6Addr::UNSPECIFIED, dir)
}

/// A cable between two machines.
fn connect(cable: &str, ends: [&str; 2], devices: [&str; 2]) -> Result<()> {
    let ([one, other], [here, there]) = (ends, devices);
    let batch = format!(
        "link set dev lo up\nlink add name {here} type veth peer name {there} netns {other}\n\
         link set dev {here} up\n"
    );
    ip(Some(one), &batch).with_context(|| format!("the cable {cable}"))?;
    ip(Some(other), &format!("link set dev lo up\nlink set dev {there} up\n"))
}

fn address(machine: &str, device: &str, v4: Ipv4Addr) -> Result<()> {
    ip(Some(machine), &format!("addr add {v4}/24 dev {device}\n"))
}

/// First of many addresses beside network `net`: a /20 of its own.
fn first_of_more(net: u8) -> Ipv4Addr {
    Ipv4Addr::new(10, net, 16, 1)
}

/// Gives `b` many addresses on a cable, behind its own as next hop.
fn more_addresses(cable: &str, net: u8) -> Result<()> {
    let first = u32::from(first_of_more(net));
    let batch: String = (0..MORE)
        .map(|number| format!("addr add {}/32 dev {cable}\n", Ipv4Addr::from(first + number)))
        .collect();
    ip(Some("b"), &batch)?;
    ip(Some("a"), &format!("route add 10.{net}.16.0/20 via 10.{net}.0.2\n"))
}

/// Networks, routes and routers' addresses of one way.
fn route(cable: &str, way: Way) -> Result<()> {
    let (lans, between) = (way.net(true), way.net(false));
    for (machine, router, own, other) in [("a", "r1", 1, 2), ("b", "r2", 2, 1)] {
        address(machine, "lan", Ipv4Addr::new(10, lans, own, 2))?;
        address(router, "lan", Ipv4Addr::new(10, lans, own, 1))?;
        address(router, cable, Ipv4Addr::new(10, between, 0, own))?;
        let to = format!("route add 10.{lans}.{other}.0/24");
        let out = format!("{to} via 10.{lans}.{own}.1 src 10.{lans}.{own}.2\n");
        ip(Some(machine), &out)?;
        ip(Some(router), &format!("{to} via 10.{between}.0.{other}\n"))?;
    }
    Ok(())
}

/// The server and its cables to the machines with agents.
fn server(machines: &[&str], dir: &Path) -> Result<Server> {
    let mut batch = format!(
        "link set dev lo up\nlink add name br0 type bridge mcast_snooping 0\n\
         link set dev br0 up\naddr add {MS}/24 dev br0\n"
    );
    for name in machines {
        batch += &format!("link add name {name} type veth peer name mgmt netns {name}\n");
        batch += &format!("link set dev {name} master br0 up\n");
    }
    ip(Some("ms"), &batch)?;
    for (name, last) in machines.iter().zip(2..) {
        address(name, "mgmt", Ipv4Addr::new(10, 230, 0, last))?;
        ip(Some(name), "link set dev mgmt up\n")?;
    }
    let server = Server::start(&open("ms", MS, dir)?)?;
    server.group(GROUP)?;
    Ok(server)
}

fn features(host: &Host, device: &str, features: &[&str]) -> Result<()> {
    host.run(&[&["ethtool", "-K", device], features].concat()).map(drop)
}

/// Whether the card takes super-packets.
fn segment(host: &Host, device: &str, on: &str) -> Result<()> {
    features(host, device, &["tx-udp-segmentation", on, "tso", on])
}
