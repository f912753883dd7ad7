//! What a format that keeps the TCP header would bring: the same bare tunnel in each format, first
//! over one cable, then through a router that translates ports and drops what its connection
//! tracking calls invalid.
//!
//! ```text
//! speed    a ═══ wire ═══ b                  one TCP flow, formats in turn
//! path     a ── r1 (NAT, strict) ── b        a fetches a file from b, all counted at r1
//! ```
//! The tunnel's ends are `benches native`; `docs/decisions/0019-native.md` has the formats and what
//! the figures mean. A file that does not arrive as it was sent is an error; figures are not judged.

mod path;
mod speed;

use anyhow::{Context, Result, ensure};
use e2e::programs::built;
use e2e::wait::wait_until;
use e2e::{Host, Process};
use serde_json::{Value, json};
use std::process::ExitCode;
use std::time::Duration;

const DEADLINE: Duration = Duration::from_secs(10);

/// The work of the nest's first process.
pub(crate) fn inside(as_json: bool) -> Result<ExitCode> {
    let paths = path::measure()?;
    if !as_json {
        path::print(&paths);
    }
    let speeds = speed::measure()?;
    if as_json {
        println!("{}", json!({ "schema": "bench-native/1", "speed": speeds, "path": paths }));
    } else {
        speed::print(&speeds);
    }
    Ok(ExitCode::SUCCESS)
}

/// Both ends of a tunnel.
struct Ends([Process; 2]);

impl Ends {
    /// Starts them on `device` of each machine; ready when it returns.
    fn start(format: &str, device: &str, hosts: [&Host; 2]) -> Result<Self> {
        let [a, b] = hosts;
        let start = |host: &Host, side: &str| {
            let mut command = host.command(built("benches")?);
            command.args(["native", format, device, side]);
            host.spawn("native", command)
        };
        let ends = Self([start(a, "first")?, start(b, "second")?]);
        let ready = || Ok(ends.0.iter().all(|end| end.log().contains("ready")));
        wait_until("both ends", DEADLINE, ready)?;
        Ok(ends)
    }

    /// Stops them; what went by at each, which is something if the format seals.
    fn stop(mut self, sealed: bool) -> Result<[Value; 2]> {
        let mut said = [Value::Null, Value::Null];
        for (end, said) in self.0.iter_mut().zip(&mut said) {
            end.stop()?;
            let log = end.log();
            let last = log.lines().last().context("an end that says nothing")?;
            *said = serde_json::from_str(last).with_context(|| log.clone())?;
            // Else what is measured is not the tunnel.
            ensure!(!sealed || said["segments_in"].as_u64() > Some(0), "nothing was sealed: {log}");
        }
        Ok(said)
    }
}

/// Switches offloads of a device.
fn offloads(host: &Host, device: &str, settings: &[&str]) -> Result<()> {
    let argv: Vec<&str> = ["ethtool", "-K", device].iter().chain(settings).copied().collect();
    host.run(&argv).map(drop)
}
