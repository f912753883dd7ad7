//! First packet of fresh flows: from the send call to the echo reply, key exchange included.
//!
//! Host `b` gets 200 addresses, so that every echo from `a` opens a host pair of its own.
//! Neighbours are filled in by hand, so that the figures contain no address resolution. The same
//! echoes are measured before the agents run, for comparison.

use super::measure::{Times, cpu_time};
use anyhow::{Context, Result, ensure};
use e2e::lab::ip;
use e2e::pair::ECHO_DEADLINE;
use e2e::ping::Pinger;
use e2e::{Agent, DEV, Host, Lab, Server};
use serde_json::Value;
use std::net::{IpAddr, Ipv4Addr};
use std::process::ExitCode;
use std::time::Duration;

/// Flows measured.
const FLOWS: u8 = 200;
const GROUP: &str = "team";

/// The work of the nest's first process.
pub(crate) fn inside() -> Result<ExitCode> {
    let lab = Lab::switched(1500)?;
    give_addresses(&lab)?;
    let plain = echoes(&lab.a)?;
    let server = Server::start(&lab.ms)?;
    server.group(GROUP)?;
    let a = Agent::enrol(&lab.a, &server, GROUP, "closed")?;
    let b = Agent::enrol(&lab.b, &server, GROUP, "closed")?;
    let cpu = || -> Result<[Duration; 2]> { Ok([cpu_time(&a)?, cpu_time(&b)?]) };
    let before = cpu()?;
    let first = echoes(&lab.a)?;
    let between = cpu()?;
    let second = echoes(&lab.a)?;
    let after = cpu()?;
    let negotiation = negotiations(&a)?;
    ensure!(negotiation.len() == usize::from(FLOWS), "{} flows protected", negotiation.len());
    println!("{FLOWS} flows, both hosts on this machine, microseconds");
    println!("{:<44} {:>8} {:>8} {:>8}", "", "p50", "p99", "max");
    row("echo without agents", plain);
    row("first echo, key exchange included", first);
    row("next echo of the same flow", second);
    row("negotiation as the asking agent saw it", negotiation);
    for (end, name) in ["a, which asks", "b, which answers"].into_iter().enumerate() {
        // The second round costs what the echoes cost; the rest of the first was negotiation.
        let first = between[end].saturating_sub(before[end]);
        let used = first.saturating_sub(after[end].saturating_sub(between[end]));
        let each = used.as_secs_f64() * 1e6 / f64::from(FLOWS);
        println!("{:<44} {each:>8.0}", format!("CPU of a negotiation on {name}"));
    }
    Ok(ExitCode::SUCCESS)
}

fn address(last: u8) -> Ipv4Addr {
    Ipv4Addr::new(10, 77, 1, last)
}

fn give_addresses(lab: &Lab) -> Result<()> {
    let mac = |host: &Host| -> Result<String> {
        let link = host.run(&["ip", "-o", "link", "show", "dev", DEV])?;
        let mac = link.split("link/ether ").nth(1).and_then(|rest| rest.split(' ').next());
        mac.map(str::to_owned).context("no MAC address")
    };
    let (mac_a, mac_b) = (mac(&lab.a)?, mac(&lab.b)?);
    let mut on_a = format!("route add 10.77.1.0/24 dev {DEV}\n");
    let mut on_b = format!("neigh replace {} lladdr {mac_a} dev {DEV} nud permanent\n", lab.a.v4);
    for last in 1..=FLOWS {
        let to = address(last);
        on_a += &format!("neigh replace {to} lladdr {mac_b} dev {DEV} nud permanent\n");
        on_b += &format!("addr add {to}/32 dev {DEV}\n");
    }
    ip(Some("a"), &on_a)?;
    ip(Some("b"), &on_b)
}

/// Round-trip time of one echo to each address.
fn echoes(from: &Host) -> Result<Vec<Duration>> {
    (1..=FLOWS)
        .map(|last| {
            let to: IpAddr = address(last).into();
            let answer = Pinger::new(from, to, &[0x2e; 56])?.echo(ECHO_DEADLINE)?;
            answer.with_context(|| format!("no answer from {to}"))
        })
        .collect()
}

/// What the agent says each negotiation took.
fn negotiations(agent: &Agent) -> Result<Vec<Duration>> {
    let json: Value = serde_json::from_str(&agent.ges(&["flows", "--json"])?)?;
    let rows = json["flows"].as_array().context("no flows")?;
    let seconds = rows.iter().filter_map(|row| row["peer"]["negotiation_seconds"].as_f64());
    Ok(seconds.map(Duration::from_secs_f64).collect())
}

fn row(what: &str, times: Vec<Duration>) {
    let times = Times::new(times);
    println!("{what:<44} {:>8} {:>8} {:>8}", times.at(50), times.at(99), times.at(100));
}
