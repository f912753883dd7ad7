//! The product between two namespaces that somebody else made and measures.
//!
//! ```text
//!   NS_A  va 10.231.0.1 ═══════════ vb 10.231.0.2  NS_B       measured, protected
//!     └ ge-mgmt .2 ── server .1 ── .3 ge-mgmt ┘               10.230.0.0/24, our own, unprotected
//! ```
//! Prints `ready` once a first packet went through protected; SIGTERM or SIGINT takes everything
//! down again.

use anyhow::{Context, Result, ensure};
use e2e::lab::ip;
use e2e::pair::ECHO_DEADLINE;
use e2e::ping::ping;
use e2e::{Agent, Host, Server};
use nix::sys::signal::{SaFlags, SigAction, SigHandler, SigSet, Signal, sigaction};
use std::net::{Ipv4Addr, Ipv6Addr};
use std::path::PathBuf;
use std::process::{Command, ExitCode};
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

const GROUP: &str = "rig";
const A: Ipv4Addr = Ipv4Addr::new(10, 231, 0, 1);
const B: Ipv4Addr = Ipv4Addr::new(10, 231, 0, 2);
const SERVER: Ipv4Addr = Ipv4Addr::new(10, 230, 0, 1);
/// How often we look whether we shall end.
const TICK: Duration = Duration::from_millis(50);

static ENDING: AtomicBool = AtomicBool::new(false);

extern "C" fn end(_signal: i32) {
    ENDING.store(true, Ordering::Relaxed);
}

/// Brings the pair up, waits for the end, takes it down.
pub(crate) fn run(ns_a: &str, ns_b: &str, options: &[String]) -> Result<ExitCode> {
    let action = SigAction::new(SigHandler::Handler(end), SaFlags::empty(), SigSet::empty());
    for signal in [Signal::SIGTERM, Signal::SIGINT] {
        // SAFETY: the handler stores one atomic flag, nothing else.
        unsafe { sigaction(signal, &action) }.context("handling signals")?;
    }
    let bench = Bench::new(ns_a, ns_b)?;
    let server = Server::start(&bench.server)?;
    server.group(GROUP)?;
    let mut a = agent(&bench.a, &server, "va", options)?;
    let mut b = agent(&bench.b, &server, "vb", options)?;
    a.start()?;
    b.start()?;
    ensure!(ping(&bench.a, B.into(), ECHO_DEADLINE)?.is_some(), "{B} does not answer");
    a.wait_verdict(B.into(), "protected")?;
    println!("ready");
    while !ENDING.load(Ordering::Relaxed) {
        std::thread::sleep(TICK);
    }
    // A signal to our whole process group has ended the agents already.
    for agent in [&mut a, &mut b] {
        if agent.stop().is_err() {
            agent.kill()?;
        }
    }
    Ok(ExitCode::SUCCESS)
}

fn agent(host: &Host, server: &Server, device: &str, options: &[String]) -> Result<Agent> {
    let mut agent = Agent::prepare(host, server, e2e::TokenRequest::new(GROUP, "closed"))?;
    agent.set_device(device);
    agent.add_args(&options.iter().map(String::as_str).collect::<Vec<_>>());
    Ok(agent)
}

/// The server's own namespace and the links to it; removed when dropped.
struct Bench {
    a: Host,
    b: Host,
    server: Host,
    name: String,
    ns_a: String,
    ns_b: String,
    dir: PathBuf,
}

impl Bench {
    fn new(ns_a: &str, ns_b: &str) -> Result<Self> {
        let name = format!("ge-mgmt-{}", std::process::id());
        let dir = std::env::temp_dir().join(&name);
        std::fs::create_dir(&dir).with_context(|| format!("making {}", dir.display()))?;
        ip(None, &format!("netns add {name}\n"))?;
        ip(
            Some(&name),
            &format!(
                "link set dev lo up\n\
                 link add name br0 type bridge\n\
                 link set dev br0 up\n\
                 addr add {SERVER}/24 dev br0\n\
                 link add name a type veth peer name ge-mgmt netns {ns_a}\n\
                 link add name b type veth peer name ge-mgmt netns {ns_b}\n\
                 link set dev a master br0 up\n\
                 link set dev b master br0 up\n"
            ),
        )?;
        for (ns, last) in [(ns_a, 2), (ns_b, 3)] {
            let batch =
                format!("addr add 10.230.0.{last}/24 dev ge-mgmt\nlink set dev ge-mgmt up\n");
            ip(Some(ns), &batch)?;
        }
        let open = |ns: &str, v4| Host::open(ns, v4, Ipv6Addr::UNSPECIFIED, &dir);
        Ok(Self {
            a: open(ns_a, A)?,
            b: open(ns_b, B)?,
            server: open(&name, SERVER)?,
            ns_a: ns_a.to_owned(),
            ns_b: ns_b.to_owned(),
            name,
            dir,
        })
    }
}

impl Drop for Bench {
    fn drop(&mut self) {
        for ns in [&self.ns_a, &self.ns_b] {
            // Gone already if somebody removed the namespace first.
            let _ = Command::new("ip").args(["-n", ns, "link", "del", "dev", "ge-mgmt"]).output();
        }
        let _ = Command::new("ip").args(["netns", "del", &self.name]).output();
        let _ = std::fs::remove_dir_all(&self.dir);
    }
}
