//! What is sent, and what came of it.

use super::cpus::Side;
use super::gauge::{Gauge, Used};
use super::stage::{MORE, Stage, Way};
use anyhow::{Context, Result, bail, ensure};
use e2e::Process;
use e2e::ping::Pinger;
use e2e::programs::built;
use e2e::wait::wait_until;
use serde_json::Value;
use std::net::Ipv4Addr;
use std::time::Duration;

/// Programs start and end, connections are made, within this time besides that of the sending.
const SLACK: Duration = Duration::from_secs(70);
/// Port of `iperf3`, also as `/proc/net/tcp` writes it.
const IPERF_PORT: (u16, &str) = (5201, ":1451 ");
/// Port of our own generator.
const FLOWS_PORT: u16 = 5202;
/// Echoes of a round-trip measurement.
const ECHOES: usize = 500;

/// One kind of traffic from `a` to `b`.
#[derive(Clone, Copy)]
pub(super) enum Traffic {
    /// `iperf3` over TCP with so many connections.
    Iperf(u32),
    /// `iperf3` over UDP with so many bytes in a datagram, as fast as it can.
    Datagrams(u32),
    /// Our own generator: so many connections, to one address or to many.
    Flows(u32, Addresses),
    /// Echoes one after the other.
    Echoes,
}

#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Addresses {
    One,
    Many,
}

/// What came of it.
pub(super) struct Outcome {
    /// In the unit of [`Traffic::unit`].
    pub(super) value: f64,
    /// Bytes that arrived, where CPU time is to be held against them.
    pub(super) bytes: Option<u64>,
    /// Flows of many that carried nothing in the counted time.
    pub(super) silent: Option<u64>,
    pub(super) used: Used,
}

impl Traffic {
    pub(super) const fn unit(self) -> &'static str {
        match self {
            Self::Iperf(_) | Self::Flows(..) => "Gbit/s",
            Self::Datagrams(_) => "thousand/s",
            Self::Echoes => "µs",
        }
    }

    pub(super) const fn more_is_better(self) -> bool {
        !matches!(self, Self::Echoes)
    }

    /// Runs it once.
    pub(super) fn run(self, stage: &Stage, way: Way, secs: u64) -> Result<Outcome> {
        match self {
            Self::Iperf(flows) => iperf(stage, way, secs, flows),
            Self::Datagrams(size) => datagrams(stage, way, secs, size),
            Self::Flows(flows, addresses) => many(stage, way, secs, flows, addresses),
            Self::Echoes => echoes(stage, way),
        }
    }
}

fn gauge(stage: &Stage) -> Result<Gauge> {
    Gauge::read([&stage.a, &stage.b], &stage.machines, &stage.agents)
}

/// `iperf3` with `extra` arguments; the end of what both say, and what it took.
fn run_iperf(stage: &Stage, way: Way, secs: u64, extra: &[&str]) -> Result<(Value, Used)> {
    let (at, secs) = (stage.to(way).to_string(), secs.to_string());
    let mut server = stage.cpus.on(Side::B, || {
        let mut command = stage.b.command("iperf3");
        command.args(["-s", "-1", "-J", "-p", &IPERF_PORT.0.to_string()]);
        stage.b.spawn("iperf3", command)
    })?;
    // A look by connecting would use up the one test the server grants.
    wait_until("iperf3 to listen", SLACK, || {
        ensure!(server.exit()?.is_none(), "iperf3 ended at once: {}", server.log());
        Ok(stage.b.run(&["cat", "/proc/net/tcp", "/proc/net/tcp6"])?.contains(IPERF_PORT.1))
    })?;
    let port = IPERF_PORT.0.to_string();
    let argv = [&["iperf3", "-c", &at, "-p", &port, "-t", &secs, "-J"], extra].concat();
    let before = gauge(stage)?;
    let said = stage.cpus.on(Side::A, || stage.a.run(&argv))?;
    let used = gauge(stage)?.since(&before);
    server.wait(SLACK)?;
    let json: Value = serde_json::from_str(&said).context("iperf3 -J")?;
    Ok((json, used))
}

fn iperf(stage: &Stage, way: Way, secs: u64, flows: u32) -> Result<Outcome> {
    let (json, used) = run_iperf(stage, way, secs, &["-P", &flows.to_string()])?;
    let received = &json["end"]["sum_received"];
    let value = received["bits_per_second"].as_f64().context("no sum_received")? / 1e9;
    let bytes = received["bytes"].as_u64().context("no bytes received")?;
    ensure!(bytes > 0, "nothing arrived by the {} way", way.as_str());
    Ok(Outcome { value, bytes: Some(bytes), silent: None, used })
}

fn datagrams(stage: &Stage, way: Way, secs: u64, size: u32) -> Result<Outcome> {
    let size = size.to_string();
    let extra = ["-u", "-b", "0", "-l", &size, "--get-server-output"];
    let (json, used) = run_iperf(stage, way, secs, &extra)?;
    let sum = &json["server_output_json"]["end"]["sum"];
    let number = |key: &str| sum[key].as_f64().with_context(|| format!("the server's {key}"));
    let arrived = number("packets")? - number("lost_packets")?;
    Ok(Outcome { value: arrived / secs as f64 / 1e3, bytes: None, silent: None, used })
}

fn many(stage: &Stage, way: Way, secs: u64, flows: u32, addresses: Addresses) -> Result<Outcome> {
    let mut receiver = stage.cpus.on(Side::B, || {
        let mut command = stage.b.command(built("benches")?);
        command.args(["flows", "receive", &flows.to_string()]);
        command.args([FLOWS_PORT.to_string(), secs.to_string()]);
        stage.b.spawn("receive", command)
    })?;
    wait_line(&mut receiver, "ready")?;
    let (first, count): (Ipv4Addr, u32) = match addresses {
        Addresses::One => (stage.to(way), 1),
        Addresses::Many => (Stage::more(way), MORE),
    };
    let mut sender = stage.cpus.on(Side::A, || {
        let mut command = stage.a.command(built("benches")?);
        command.args(["flows", "send", &flows.to_string(), &FLOWS_PORT.to_string()]);
        command.args([secs.to_string(), first.to_string(), count.to_string()]);
        stage.a.spawn("send", command)
    })?;
    wait_line(&mut sender, "connected")?;
    let before = gauge(stage)?;
    wait_line(&mut sender, "sent")?;
    let used = gauge(stage)?.since(&before);
    ensure!(sender.wait(SLACK)? == 0, "sending: {}", sender.log());
    ensure!(receiver.wait(SLACK)? == 0, "receiving: {}", receiver.log());
    let said = receiver.log();
    let json = said.lines().find(|line| line.starts_with('{')).context("no word of receiving")?;
    let json: Value = serde_json::from_str(json)?;
    let number = |key: &str| json[key].as_u64().with_context(|| format!("no {key}"));
    ensure!(number("flows")? == u64::from(flows), "{} of {flows} flows", number("flows")?);
    let value = number("counted")? as f64 * 8.0 / 1e9 / secs as f64;
    let silent = (flows > 1).then(|| number("silent")).transpose()?;
    Ok(Outcome { value, bytes: Some(number("bytes")?), silent, used })
}

/// Waits for a line of a program that goes on.
fn wait_line(process: &mut Process, line: &str) -> Result<()> {
    wait_until(&format!("{line:?}"), SLACK, || {
        let log = process.log();
        if log.lines().any(|said| said == line) {
            return Ok(true);
        }
        match process.exit()? {
            Some(code) => bail!("it ended with {code} before: {}", log.trim_end()),
            None => Ok(false),
        }
    })
}

fn echoes(stage: &Stage, way: Way) -> Result<Outcome> {
    let before = gauge(stage)?;
    let times = stage.cpus.on(Side::A, || {
        let mut pinger = Pinger::new(&stage.a, stage.to(way).into(), &[0x2e; 56])?;
        let echo = |_| pinger.echo(Duration::from_secs(1))?.context("an echo was not answered");
        (0..ECHOES).map(echo).collect::<Result<Vec<_>>>()
    })?;
    let used = gauge(stage)?.since(&before);
    let times = super::measure::Times::new(times);
    Ok(Outcome { value: times.at(50) as f64, bytes: None, silent: None, used })
}
