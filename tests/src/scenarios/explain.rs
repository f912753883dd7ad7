//! The answer to "why?": path, trace, why, follow, and what a refused program hears.
//!
//! ```text
//!   a  ──── r1 ──┬── r2 ──── b          ms .1 ──┬── switch ──┬── a .11  laptop (ges)
//!   laptop  gen-hq │ gen-lab              │            ├── b .12  files (ges)
//!   (ges)          └ ms                    └            └── o .99  no agent
//! ```

use crate::agent::{Agent, RouterRequest};
use crate::host::Host;
use crate::lab::Lab;
use crate::pair::NO_ECHO;
use crate::ping::ping;
use crate::row::{Row, address};
use crate::scenario::{Scenario, scenario};
use crate::server::{Server, TokenRequest};
use crate::wait::wait_until;
use anyhow::{Context, Result, ensure};
use nix::sys::signal::Signal;
use serde_json::Value;
use std::io::ErrorKind;
use std::net::{IpAddr, SocketAddr, TcpStream, UdpSocket};
use std::time::Duration;

pub(crate) const LIST: &[Scenario] = &[
    scenario(
        "explain_allowed",
        "trace and path of a protected flow name every agent",
        &[],
        allowed,
    ),
    scenario("explain_between", "a closed router refuses; the named command helps", &[], between),
    scenario("explain_far_end", "a closed far end refuses; the named command helps", &[], far_end),
    scenario("explain_clear", "no common group, no agent: trace and why say so", &[], clear),
    scenario("explain_policy", "out of scope, and must-protect without an agent", &[], policy),
    scenario("explain_alone", "trace without the management server", &[], alone),
    scenario("explain_follow", "flows --follow tells of a drop and ends by SIGINT", &[], follow),
    scenario("explain_refused", "a refused program hears it: TCP, UDP, ping", &["ping"], refused),
    scenario("explain_refused_curl", "curl fails by the refusal", &["curl"], refused_curl),
    scenario("explain_refused_router", "so do machines behind a router", &["ping"], refused_behind),
];

const DEADLINE: Duration = Duration::from_secs(10);
const DROPPED: i32 = 6;
const USAGE: i32 = 2;
const PORT: u16 = 443;

/// `a` with an agent, two routers with one each.
struct Path {
    row: Row,
    server: Server,
    laptop: Agent,
    hq: Agent,
    lab: Agent,
}

impl Path {
    /// Groups and modes of gen-hq and gen-lab; the laptop is open and in sales.
    fn new(hq: (&str, &str), lab: (&str, &str)) -> Result<Self> {
        let row = Row::new(2)?;
        let server = Server::start(&row.ms)?;
        for group in ["sales", "ops", "lab"] {
            server.group(group)?;
        }
        let (left, right) = (row.leftmost(), row.right_of(2)?);
        let want = RouterRequest { group: hq.0, mode: hq.1, outside: "right", protect: &left };
        let hq = Agent::prepare_router(&row.router(1)?.right, &server, want, &left)?;
        let mut hq = hq.called("gen-hq");
        hq.start()?;
        let want = RouterRequest { group: lab.0, mode: lab.1, outside: "left", protect: &right };
        let lab = Agent::prepare_router(&row.router(2)?.left, &server, want, &right)?;
        let mut lab = lab.called("gen-lab");
        lab.start()?;
        let token = TokenRequest::new("sales", "open");
        let mut laptop = Agent::prepare(&row.a, &server, token)?.called("laptop");
        laptop.start()?;
        Ok(Self { row, server, laptop, hq, lab })
    }

    fn ends(&self, v6: bool) -> [String; 2] {
        [&self.row.a, &self.row.b].map(|host| address(host, v6).to_string())
    }

    /// What the laptop says of the flow to `b`.
    fn trace(&self, v6: bool) -> Result<Value> {
        let [a, b] = self.ends(v6);
        trace(&self.laptop, &a, &b)
    }

    /// Types the first command that trace names, and waits for the verdict it promises.
    fn follow_advice(&self, v6: bool) -> Result<()> {
        let report = self.trace(v6)?;
        let remedy = &report["remedies"][0];
        let command = remedy["command"].as_str().context("no remedy")?;
        let words: Vec<&str> = command.split(' ').collect();
        ensure!(words.first() == Some(&"mgmt-server"), "{command}");
        self.server.admin(&words[1..])?;
        wait_until("the verdict that was promised", DEADLINE * 2, || {
            Ok(self.trace(v6)?["verdict"] == remedy["verdict"])
        })
        .with_context(|| format!("after {command}: {:#}", self.trace(v6).unwrap_or_default()))
    }
}

fn trace(agent: &Agent, from: &str, to: &str) -> Result<Value> {
    let output = agent.ges_output(&["trace", from, to, "--json"])?;
    let text = String::from_utf8_lossy(&output.stdout).into_owned();
    serde_json::from_str(&text).with_context(|| text)
}

/// Shows what people read; for the log of the scenario, from which the documents quote.
fn show(agent: &Agent, args: &[&str]) -> Result<(Option<i32>, String)> {
    let output = agent.ges_output(args)?;
    let text = String::from_utf8_lossy(&output.stdout).into_owned()
        + &String::from_utf8_lossy(&output.stderr);
    println!("$ ges {}\n{text}", args.join(" "));
    Ok((output.status.code(), text))
}

fn says(report: &Value, verdict: &str, code: &str) -> Result<()> {
    ensure!(report["verdict"] == verdict && report["code"] == code, "{report:#}");
    Ok(())
}

fn names(report: &Value) -> Vec<&str> {
    let agents = report["agents"].as_array().map(Vec::as_slice).unwrap_or_default();
    agents.iter().map(|agent| agent["name"].as_str().unwrap_or("?")).collect()
}

fn decider(report: &Value) -> Option<&str> {
    let agents = report["agents"].as_array()?;
    agents.iter().find(|agent| agent["decided"] == true)?["name"].as_str()
}

fn allowed() -> Result<()> {
    let path = Path::new(("ops", "open"), ("sales", "closed"))?;
    for v6 in [false, true] {
        let [a, b] = path.ends(v6);
        let report = path.trace(v6)?;
        says(&report, "protected", "common-group")?;
        ensure!(names(&report) == ["laptop", "gen-hq", "gen-lab"], "{report:#}");
        ensure!(report["group"].as_str().is_some_and(|g| g.starts_with("sales#")), "{report:#}");
        ensure!(report["agents"][1]["verdict"] == "passes", "{report:#}");
        ensure!(report["agents"][1]["other_groups"] == 1, "ops is told: {report:#}");
        let (code, text) = show(&path.laptop, &["path", &b])?;
        ensure!(code == Some(0), "exit {code:?}: {text}");
        ensure!(text.contains(&format!("{b} (no agent, protected by gen-lab)")), "{text}");
        show(&path.laptop, &["trace", &a, &b, "-p", "tcp", "--dport", "443"])?;
        let shown: Value = serde_json::from_str(&path.laptop.ges(&["path", &b, "--json"])?)?;
        let states: Vec<_> = shown["parts"].as_array().context("no parts")?.iter().collect();
        ensure!(states.len() == 3 && states[2]["state"] == "clear", "{shown:#}");
        // The other end asks from where it is; the router between knows whose session it passes.
        let far = trace(&path.lab, &a, &b)?;
        says(&far, "protected", "common-group")?;
        ensure!(far["asked_from"] == "destination", "{far:#}");
        ensure!(names(&far) == ["laptop", "gen-hq", "gen-lab"], "{far:#}");
        let passing = trace(&path.hq, &a, &b)?;
        says(&passing, "transit", "others-protect")?;
        ensure!(names(&passing).len() == 3, "{passing:#}");
    }
    let [a, _] = path.ends(false);
    path.server.admin(&["policy", "explain", "all"])?;
    ensure!(path.trace(false)?["agents"][1]["groups"][0] == "ops", "ops is not told");
    let (code, text) = show(&path.laptop, &["trace", "10.81.1.9", "10.81.2.1"])?;
    ensure!(code == Some(USAGE) && text.lines().count() == 1, "exit {code:?}: {text}");
    let (code, _) = show(&path.laptop, &["trace", &a, "fd81::1"])?;
    ensure!(code == Some(USAGE), "mixed versions: {code:?}");
    Ok(())
}

fn between() -> Result<()> {
    let path = Path::new(("ops", "closed"), ("sales", "open"))?;
    for v6 in [false, true] {
        let [a, b] = path.ends(v6);
        let report = path.trace(v6)?;
        says(&report, "dropped", "closed-between")?;
        ensure!(decider(&report) == Some("gen-hq"), "{report:#}");
        ensure!(names(&report) == ["laptop", "gen-hq", "gen-lab"], "{report:#}");
        let (code, text) = show(&path.laptop, &["trace", &a, &b, "-p", "tcp", "--dport", "443"])?;
        ensure!(code == Some(DROPPED) && text.contains("← decided here"), "{code:?}: {text}");
        let (code, text) = show(&path.laptop, &["why", &b])?;
        ensure!(code == Some(DROPPED) && text.contains("transit vouched"), "{code:?}: {text}");
        show(&path.laptop, &["path", &b])?;
    }
    path.follow_advice(false)?;
    wait_until("IPv6 as well", DEADLINE, || Ok(path.trace(true)?["verdict"] == "protected"))
}

fn far_end() -> Result<()> {
    let path = Path::new(("ops", "open"), ("lab", "closed"))?;
    let [a, b] = path.ends(false);
    let report = path.trace(false)?;
    says(&report, "dropped", "no-common-group")?;
    ensure!(decider(&report) == Some("gen-lab"), "{report:#}");
    ensure!(report["unknown"][0].is_string(), "routers that let the question pass: {report:#}");
    let (code, text) = show(&path.laptop, &["trace", &a, &b, "-p", "tcp", "--dport", "443"])?;
    ensure!(code == Some(DROPPED), "exit {code:?}: {text}");
    show(&path.laptop, &["why", &a, &b])?;
    path.follow_advice(false)
}

/// `laptop` and `files` on one switch with an outsider.
struct Switch {
    lab: Lab,
    server: Server,
    laptop: Agent,
    files: Agent,
}

impl Switch {
    fn new(mode: &str, groups: [&str; 2]) -> Result<Self> {
        let lab = Lab::switched(1500)?;
        let server = Server::start(&lab.ms)?;
        server.group("sales")?;
        server.group("lab")?;
        let member = |host: &Host, group, name| {
            let agent = Agent::prepare(host, &server, TokenRequest::new(group, mode))?;
            let mut agent = agent.called(name);
            agent.start()?;
            Ok::<_, anyhow::Error>(agent)
        };
        let laptop = member(&lab.a, groups[0], "laptop")?;
        let files = member(&lab.b, groups[1], "files")?;
        Ok(Self { lab, server, laptop, files })
    }
}

fn clear() -> Result<()> {
    let switch = Switch::new("open", ["sales", "lab"])?;
    for v6 in [false, true] {
        let at = |host: &Host| host.addresses()[usize::from(v6)].to_string();
        let (a, b, o) = (at(&switch.lab.a), at(&switch.lab.b), at(switch.lab.outsider()?));
        let report = trace(&switch.laptop, &a, &b)?;
        says(&report, "clear", "no-common-group")?;
        ensure!(names(&report) == ["laptop", "files"], "{report:#}");
        let report = trace(&switch.laptop, &a, &o)?;
        says(&report, "clear", "no-agent")?;
        ensure!(decider(&report) == Some("laptop"), "{report:#}");
        let (code, text) = show(&switch.laptop, &["why", &o])?;
        ensure!(code == Some(0) && text.contains("no-agent"), "{code:?}: {text}");
        let (code, text) = show(&switch.files, &["why", "10.99.99.99"])?;
        ensure!(code == Some(1) && text.contains("there is no flow"), "{code:?}: {text}");
    }
    Ok(())
}

fn policy() -> Result<()> {
    let switch = Switch::new("open", ["sales", "sales"])?;
    let (a, o) = (switch.lab.a.v4.to_string(), switch.lab.outsider()?.v4.to_string());
    let far = "198.51.100.7";
    says(&trace(&switch.laptop, &a, far)?, "clear", "out-of-scope")?;
    switch.server.admin(&["policy", "must-protect", "add", &format!("{o}/32")])?;
    wait_until("must-protect to be in force", DEADLINE, || {
        Ok(trace(&switch.laptop, &a, &o)?["code"] == "must-protect")
    })?;
    let (code, text) = show(&switch.laptop, &["trace", &a, &o])?;
    ensure!(code == Some(DROPPED) && text.contains("never talked to in clear"), "{text}");
    let id = switch.laptop.id()?;
    switch.server.admin(&["member", "set", &id, "--mode", "closed"])?;
    switch.laptop.wait_status("mode", "closed")?;
    let report = trace(&switch.laptop, &a, far)?;
    says(&report, "dropped", "out-of-scope")?;
    let command = report["remedies"][0]["command"].as_str().context("no remedy")?;
    ensure!(command == format!("mgmt-server policy scope add {far}/32"), "{command}");
    Ok(())
}

fn alone() -> Result<()> {
    let mut switch = Switch::new("closed", ["sales", "lab"])?;
    switch.server.kill()?;
    let (a, b) = (switch.lab.a.v4.to_string(), switch.lab.b.v4.to_string());
    let report = trace(&switch.laptop, &a, &b)?;
    says(&report, "dropped", "no-common-group")?;
    let files = switch.files.id()?;
    ensure!(report["agents"][1]["agent"] == files.as_str(), "{report:#}");
    let (_, text) = show(&switch.laptop, &["trace", &a, &b])?;
    let short = format!("agent {}", &files[..8]);
    ensure!(text.contains(&short) && text.contains("not known: names"), "{text}");
    Ok(())
}

fn follow() -> Result<()> {
    let switch = Switch::new("closed", ["sales", "sales"])?;
    let outsider: IpAddr = switch.lab.outsider()?.v4.into();
    let mut follower =
        switch.laptop.spawn("follow", &["flows", "--verdict", "dropped", "--follow", "--json"])?;
    let seen = |log: &str| {
        let lines = log.lines().filter_map(|line| serde_json::from_str::<Value>(line).ok());
        let of_outsider = |line: &Value| {
            line["remote"] == outsider.to_string().as_str()
                && line["schema"] == "ges.flow-change/1"
                && line["flow"]["verdict"] == "dropped"
        };
        lines.filter(of_outsider).count()
    };
    wait_until("the follower to tell of a drop", DEADLINE * 3, || {
        ping(&switch.lab.a, outsider, NO_ECHO)?;
        Ok(seen(&follower.log()) > 0)
    })?;
    ensure!(!follower.log().contains("protected"), "told of more than drops: {}", follower.log());
    follower.signal(Signal::SIGINT)?;
    let code = follower.wait(DEADLINE)?;
    ensure!(code == 0, "SIGINT ended it with {code}: {}", follower.log());
    Ok(())
}

/// Errors that a TCP connection and a UDP socket get from a refusal, and not from a timeout.
fn hears(from: &Host, to: IpAddr) -> Result<()> {
    let expected = |kind: ErrorKind| {
        // Linux: ICMP 3/13 is EHOSTUNREACH, ICMPv6 1/1 EACCES.
        kind == if to.is_ipv4() { ErrorKind::HostUnreachable } else { ErrorKind::PermissionDenied }
    };
    let to = SocketAddr::new(to, PORT);
    let tcp = from.enter(|| Ok(TcpStream::connect_timeout(&to, DEADLINE)))?;
    let error = tcp.err().context("a refused connection was made")?;
    ensure!(expected(error.kind()), "TCP to {to}: {error}");
    let error = from.enter(|| {
        let any = if to.is_ipv4() { "0.0.0.0:0" } else { "[::]:0" };
        let socket = UdpSocket::bind(any)?;
        socket.set_read_timeout(Some(DEADLINE))?;
        socket.connect(to)?;
        socket.send(b"question")?;
        Ok(socket.recv(&mut [0; 16]).err())
    })?;
    let error = error.context("a refused datagram was answered")?;
    ensure!(expected(error.kind()), "UDP to {to}: {error}");
    let output = from.output(&["ping", "-n", "-c", "1", "-W", "8", &to.ip().to_string()])?;
    let said = String::from_utf8_lossy(&output.stdout).to_lowercase();
    let words = if to.is_ipv4() { "packet filtered" } else { "administratively prohibited" };
    ensure!(said.contains(words), "ping to {to}: {said}");
    Ok(())
}

fn refused() -> Result<()> {
    let switch = Switch::new("closed", ["sales", "lab"])?;
    for to in switch.lab.outsider()?.addresses().into_iter().chain(switch.lab.b.addresses()) {
        // The first waits for the answer, the second meets the verdict.
        hears(&switch.lab.a, to)?;
        hears(&switch.lab.a, to)?;
    }
    Ok(())
}

fn refused_curl() -> Result<()> {
    let switch = Switch::new("closed", ["sales", "lab"])?;
    for to in switch.lab.b.addresses() {
        let url = format!("http://{}/", SocketAddr::new(to, PORT));
        let args = ["curl", "-sS", "-g", "--connect-timeout", "30", &url];
        let output = switch.lab.a.output(&args)?;
        let said = String::from_utf8_lossy(&output.stderr).into_owned();
        println!("$ curl -sS {url}\n{said}");
        let expected = if to.is_ipv4() { "No route to host" } else { "Permission denied" };
        // 28 would be its own timeout.
        ensure!(output.status.code() == Some(7), "curl {url}: {:?} {said}", output.status);
        ensure!(
            said.contains(expected)
                || said.contains("Couldn't connect")
                || said.contains("Could not connect"),
            "{said}"
        );
    }
    Ok(())
}

fn refused_behind() -> Result<()> {
    let row = Row::new(1)?;
    let server = Server::start(&row.ms)?;
    server.group("sales")?;
    let protect = row.leftmost();
    let want =
        RouterRequest { group: "sales", mode: "closed", outside: "right", protect: &protect };
    let _hq = Agent::enrol_router(&row.router(1)?.right, &server, want)?;
    for to in row.b.addresses() {
        hears(&row.a, to)?;
        hears(&row.a, to)?;
    }
    Ok(())
}
