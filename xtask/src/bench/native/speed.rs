//! Throughput and CPU of one TCP flow, in each format, by what the cards can do.
//!
//! ```text
//! left eth0 ── left [ wire: a bridge ] right ── eth0 right
//! ```

use super::{Ends, offloads};
use anyhow::{Context, Result};
use e2e::lab::ip;
use e2e::wait::wait_until;
use e2e::{DEV, Host};
use serde_json::{Value, json};
use std::net::{Ipv4Addr, Ipv6Addr};
use std::path::Path;
use std::time::Duration;

/// Rounds, of which the median counts; formats take turns.
const ROUNDS: usize = 5;
const SECONDS: &str = "3";
/// 5201, as the kernel's table of sockets writes it.
const PORT: &str = ":1451 ";
/// What /proc/stat counts in.
const TICKS: f64 = 100.0;

/// What cards are imitated: settings of the two machines' cards, and of the wire's ports. What is cut
/// arrives in pieces and is merged by the receiver's kernel; what is not cut arrives whole.
///
/// Software cutting happens at the wire's far port and not at the sender's: there the last segment of
/// a super-packet from a packet socket still belongs to that socket, the others do not, and the
/// receiver on the same machine refuses to merge it and hands it on first. No real wire does that.
const CARDS: [(&str, [&str; 2], [&str; 2]); 3] = [
    ("software", ["on", "on"], ["off", "off"]),
    ("cut TCP only", ["on", "off"], ["on", "on"]),
    ("cut both", ["on", "on"], ["on", "on"]),
];
const FORMATS: [&str; 4] = ["none", "datagrams", "native", "explicit"];

/// A row per card and format.
pub(super) fn measure() -> Result<Vec<Value>> {
    let [a, b, wire] = cable()?;
    let mut rows = Vec::new();
    for (cards, machines, ports) in CARDS {
        for (host, device, [tcp, udp]) in [
            (&a, DEV, machines),
            (&b, DEV, machines),
            (&wire, "left", ports),
            (&wire, "right", ports),
        ] {
            let cut = ["tso", tcp, "tx-udp-segmentation", udp];
            let merge = ["gro", "on", "rx-udp-gro-forwarding", "on"];
            offloads(host, device, &[cut, merge].concat())?;
        }
        let mut runs: Vec<Vec<Run>> = FORMATS.map(|_| Vec::new()).into();
        for _ in 0..ROUNDS {
            for (format, runs) in FORMATS.iter().zip(&mut runs) {
                runs.push(run(format, &a, &b)?);
            }
        }
        rows.extend(FORMATS.iter().zip(runs).map(|(format, runs)| row(cards, format, &runs)));
    }
    Ok(rows)
}

/// What one run came to.
struct Run {
    gbps: f64,
    cpu: f64,
    retransmits: f64,
    /// Segments in a frame that was sent, and in one that was received.
    merged: [f64; 2],
}

/// Two machines and what is between them.
fn cable() -> Result<[Host; 3]> {
    ip(None, "netns add left\nnetns add right\nnetns add wire\n")?;
    let mut wire = String::from("link add name br0 type bridge mcast_snooping 0\n");
    for side in ["left", "right"] {
        wire += &format!(
            "link add name {side} type veth peer name {DEV} netns {side}\n\
             link set dev {side} master br0 up\n"
        );
    }
    ip(Some("wire"), &(wire + "link set dev br0 up\n"))?;
    let dir = Path::new("/run/lab");
    let host = |name: &str, last: u8| {
        let v4 = Ipv4Addr::new(10, 91, 0, last);
        let batch =
            format!("link set dev lo up\nlink set dev {DEV} up\naddr add {v4}/24 dev {DEV}\n");
        ip(Some(name), &batch)?;
        Host::open(name, v4, Ipv6Addr::UNSPECIFIED, dir)
    };
    let wire = Host::open("wire", Ipv4Addr::UNSPECIFIED, Ipv6Addr::UNSPECIFIED, dir)?;
    Ok([host("left", 1)?, host("right", 2)?, wire])
}

fn run(format: &str, a: &Host, b: &Host) -> Result<Run> {
    let ends = match format {
        "none" => None,
        format => Some(Ends::start(format, DEV, [a, b])?),
    };
    let mut command = b.command("iperf3");
    command.args(["-s", "-1"]);
    let mut server = b.spawn("iperf3", command)?;
    wait_until("iperf3 to listen", super::DEADLINE, || {
        Ok(b.run(&["cat", "/proc/net/tcp", "/proc/net/tcp6"])?.contains(PORT))
    })?;
    let before = busy()?;
    let said = a.run(&["iperf3", "-J", "-t", SECONDS, "-c", &b.v4.to_string()])?;
    let cpu = busy()? - before;
    server.wait(Duration::from_secs(10))?;
    let end = &serde_json::from_str::<Value>(&said).context("iperf3 -J")?["end"];
    let number = |value: &Value| value.as_f64().context("a figure of iperf3");
    let counts = ends.map(|ends| ends.stop(format != "plain")).transpose()?;
    let merged = |way: &str| {
        let of = |what: &str| {
            let ends = counts.iter().flatten();
            ends.map(|end| end[format!("{what}_{way}")].as_f64().unwrap_or(0.0)).fold(0.0, f64::max)
        };
        of("segments") / of("frames").max(1.0)
    };
    Ok(Run {
        gbps: number(&end["sum_received"]["bits_per_second"])? / 1e9,
        cpu: cpu / (number(&end["sum_received"]["bytes"])? / 1e9),
        retransmits: number(&end["sum_sent"]["retransmits"])?,
        merged: [merged("out"), merged("in")],
    })
}

/// Seconds in which any CPU of this machine was not idle.
fn busy() -> Result<f64> {
    let text = std::fs::read_to_string("/proc/stat")?;
    let line = text.lines().next().context("an empty /proc/stat")?;
    let fields: Vec<f64> = line.split_whitespace().skip(1).filter_map(|n| n.parse().ok()).collect();
    Ok((fields.iter().sum::<f64>() - fields[3] - fields[4]) / TICKS)
}

fn row(cards: &str, format: &str, runs: &[Run]) -> Value {
    let median = |of: fn(&Run) -> f64| sorted(runs, of)[runs.len() / 2];
    let gbps = sorted(runs, |run| run.gbps);
    json!({
        "cards": cards,
        "format": format,
        "gbps": median(|run| run.gbps),
        "gbps_least": gbps.first(),
        "gbps_most": gbps.last(),
        "cpu_s_per_gb": median(|run| run.cpu),
        "retransmits": median(|run| run.retransmits),
        "segments_per_frame_out": median(|run| run.merged[0]),
        "segments_per_frame_in": median(|run| run.merged[1]),
    })
}

fn sorted(runs: &[Run], of: fn(&Run) -> f64) -> Vec<f64> {
    let mut values: Vec<f64> = runs.iter().map(of).collect();
    values.sort_by(f64::total_cmp);
    values
}

pub(super) fn print(rows: &[Value]) {
    println!(
        "one TCP flow, {SECONDS} s, median of {ROUNDS} rounds; machine and load make the figures"
    );
    println!(
        "{:<14} {:<16} {:>7} {:>13} {:>9} {:>8} {:>18}",
        "cards", "format", "Gbit/s", "least … most", "CPU s/GB", "again", "segments per frame"
    );
    for row in rows {
        let number = |key: &str| row[key].as_f64().unwrap_or(0.0);
        println!(
            "{:<14} {:<16} {:>7.2} {:>5.2} … {:>5.2} {:>9.2} {:>8} {:>8.1} {:>9.1}",
            row["cards"].as_str().unwrap_or_default(),
            row["format"].as_str().unwrap_or_default(),
            number("gbps"),
            number("gbps_least"),
            number("gbps_most"),
            number("cpu_s_per_gb"),
            number("retransmits"),
            number("segments_per_frame_out"),
            number("segments_per_frame_in"),
        );
    }
}
