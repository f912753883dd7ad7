//! The claims, and how each is shown.

mod change;
mod traffic;

use super::table::Table;
use anyhow::{Context, Result, ensure};
use e2e::pair::ECHO_DEADLINE;
use e2e::ping::Pinger;
use e2e::stream::{MARKER, Report, Stream};
use e2e::{Agent, Capture, Host, Lab, Machine, Server};
use std::net::IpAddr;
use std::time::{Duration, Instant};

/// Group of the story.
pub(crate) const GROUP: &str = "team";
/// The file that is transferred.
const FILE: u64 = 64 << 20;
/// Echoes for one figure without agents.
const ECHOES: usize = 21;

/// One sentence about the product, and the work that shows it. The work returns figures.
pub(crate) struct Claim {
    pub(crate) text: &'static str,
    pub(crate) show: fn(&mut Story, &mut Table) -> Result<String>,
}

/// In the order they are shown.
pub(crate) const CLAIMS: &[Claim] = &[
    Claim { text: "Before: a tap on the wire reads the file", show: traffic::readable_before },
    Claim { text: "Two hosts enrol with a token each", show: enrol },
    Claim { text: "The first packet waits for the key exchange, no longer", show: first_packet },
    Claim { text: "Both hosts say: protected, same group, same epoch", show: verdicts },
    Claim { text: "A file arrives unchanged; the tap reads nothing", show: traffic::sealed_after },
    Claim { text: "The same over IPv6", show: traffic::sealed_after_v6 },
    Claim { text: "Addresses, routes and resolver are as before", show: unchanged },
    Claim { text: "An open host lets the outsider in", show: change::outsider_let_in },
    Claim { text: "A closed host refuses it, and still talks to members", show: change::closed },
    Claim { text: "The group key rotates under a running transfer", show: change::rotate },
    Claim { text: "A member that is removed is out at once", show: change::remove },
    Claim { text: "`ges down --purge` leaves the machine as it was", show: purge },
];

/// Everything that exists while the story is told.
pub(crate) struct Story {
    a: Option<Agent>,
    b: Option<Agent>,
    server: Server,
    lab: Lab,
    before: Machine,
    plain_echo: Duration,
}

impl Story {
    /// The lab with a server and a group, and no agent yet.
    pub(crate) fn new() -> Result<Self> {
        let lab = Lab::switched(1500)?;
        let server = Server::start(&lab.ms)?;
        server.group(GROUP)?;
        let plain_echo = median_echo(&lab.a, lab.b.v4.into())?;
        let before = Machine::read(&lab.a)?;
        Ok(Self { a: None, b: None, server, lab, before, plain_echo })
    }

    /// Both hosts in the group again, whatever the story did to them.
    pub(crate) fn reunite(&mut self) -> Result<()> {
        for (agent, host) in [(&mut self.a, &self.lab.a), (&mut self.b, &self.lab.b)] {
            if let Some(mut old) = agent.take() {
                old.purge()?;
            }
            *agent = Some(Agent::enrol(host, &self.server, GROUP, "open")?);
        }
        Ok(())
    }

    fn a(&self) -> Result<&Agent> {
        self.a.as_ref().context("the hosts did not enrol")
    }

    fn b(&self) -> Result<&Agent> {
        self.b.as_ref().context("the hosts did not enrol")
    }

    /// Taps the wire at host `a`.
    fn tap(&self) -> Result<Capture> {
        Capture::start(&self.lab.middle, "a", Some(MARKER))
    }

    /// Sends the file from `a` to `to` and shows how far it is.
    fn send_file(&self, v6: bool, to: &Host, table: &mut Table) -> Result<Report> {
        let from = self.lab.a.addresses()[usize::from(v6)];
        let stream = Stream::start(&self.lab.a, from, to, Some(FILE))?;
        while !stream.is_done() {
            table.note(&format!("{} of {} MiB", stream.received() >> 20, FILE >> 20));
            std::thread::sleep(Duration::from_millis(5));
        }
        let report = stream.finish()?;
        report.ensure_intact()?;
        ensure!(report.bytes == FILE, "{} of {FILE} bytes arrived", report.bytes);
        Ok(report)
    }
}

fn enrol(story: &mut Story, table: &mut Table) -> Result<String> {
    let mut times = Vec::new();
    for (agent, host) in [(&mut story.a, &story.lab.a), (&mut story.b, &story.lab.b)] {
        table.note(&format!("host {}", host.name));
        let start = Instant::now();
        *agent = Some(Agent::enrol(host, &story.server, GROUP, "open")?);
        times.push(format!("{} in {} ms", host.name, start.elapsed().as_millis()));
    }
    let members = story.server.members()?.len();
    ensure!(members == 2, "the server knows {members} members");
    Ok(times.join(", "))
}

fn first_packet(story: &mut Story, _table: &mut Table) -> Result<String> {
    story.a()?;
    let mut pinger = Pinger::new(&story.lab.a, story.lab.b.v4.into(), MARKER)?;
    let first = pinger.echo(ECHO_DEADLINE)?.context("no answer")?;
    let second = pinger.echo(ECHO_DEADLINE)?.context("no second answer")?;
    let plain = story.plain_echo.as_micros();
    Ok(format!(
        "{} µs; next {} µs; without agents {plain} µs",
        first.as_micros(),
        second.as_micros()
    ))
}

fn verdicts(story: &mut Story, _table: &mut Table) -> Result<String> {
    let (a, b) = (story.a()?, story.b()?);
    a.wait_verdict(story.lab.b.v4.into(), "protected")?;
    b.wait_verdict(story.lab.a.v4.into(), "protected")?;
    let peer = |agent: &Agent, remote: IpAddr| -> Result<_> {
        Ok(agent.flow(remote)?.context("no row")?["peer"].clone())
    };
    let (of_a, of_b) = (peer(a, story.lab.b.v4.into())?, peer(b, story.lab.a.v4.into())?);
    ensure!(of_a["agent"] == b.id()?.as_str(), "a talks to another agent: {of_a}");
    ensure!(of_b["agent"] == a.id()?.as_str(), "b talks to another agent: {of_b}");
    ensure!(of_a["epoch"] == of_b["epoch"], "epochs {} and {}", of_a["epoch"], of_b["epoch"]);
    let text = |key: &str| of_a[key].as_str().unwrap_or("?").to_owned();
    Ok(format!("{} epoch {}, {}", text("group"), of_a["epoch"], text("aead")))
}

fn unchanged(story: &mut Story, _table: &mut Table) -> Result<String> {
    story.a()?;
    let link = story.lab.a.run(&["ip", "-o", "link", "show", "type", "tun"])?;
    let tun = link.split(": ").nth(1).context("no TUN while the agent runs")?.to_owned();
    let changes = story.before.changes(&Machine::read(&story.lab.a)?);
    // Rows of the new interface, its settings and the packet filter are what the agent adds.
    let foreign: Vec<_> = changes
        .iter()
        .filter(|line| !line.contains(&tun) && !line.starts_with("nft list ruleset"))
        .filter(|line| !line.starts_with("ip -d addr: +"))
        .collect();
    ensure!(foreign.is_empty(), "{foreign:?}");
    Ok(format!("added: interface {tun}, one packet-filter table"))
}

fn purge(story: &mut Story, _table: &mut Table) -> Result<String> {
    let agent = story.a.as_mut().context("the hosts did not enrol")?;
    agent.purge()?;
    story.a = None;
    let now = Machine::read(&story.lab.a)?;
    story.before.ensure_same(&now)?;
    Ok("addresses, routes, rules, filters, settings, resolver: byte-identical".into())
}

fn median_echo(from: &Host, to: IpAddr) -> Result<Duration> {
    let mut pinger = Pinger::new(from, to, MARKER)?;
    let mut times = Vec::new();
    for _ in 0..ECHOES {
        times.push(pinger.echo(ECHO_DEADLINE)?.context("no answer in the plain lab")?);
    }
    times.sort();
    Ok(times[ECHOES / 2])
}
