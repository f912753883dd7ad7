//! Floods against an agent on the real kernel, while another member negotiates (T-7).
//!
//! ```text
//!   a  ── fresh negotiations, one every 50 ms ──>  b, which is measured
//!   o  ── forged sources, as fast as asked ─────>
//! ```
//! `o` has the keys of a third member. Junk is the same requests with a wrong mac1. All share this
//! machine, so that the senders' work delays what is measured too; the rate is what really left.

use super::first_packet::{address, give_addresses};
use super::measure::{cpu_time, resident};
use anyhow::{Context, Result, bail, ensure};
use e2e::ping::Pinger;
use e2e::programs::built;
use e2e::{Agent, Host, Lab, Server};
use nix::sys::socket::{
    AddressFamily, MsgFlags, SockFlag, SockProtocol, SockType, SockaddrIn, sendto, socket,
};
use serde_json::{Value, json};
use std::net::SocketAddrV4;
use std::os::fd::AsRawFd;
use std::process::{Command, ExitCode};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

/// Fresh negotiations in each part.
const NEGOTIATIONS: u8 = 60;
const PAUSE: Duration = Duration::from_millis(50);
/// A program gives up later; a first packet that takes longer counts as failed.
const DEADLINE: Duration = Duration::from_secs(3);
/// Different requests of the flood; sent again and again.
const REQUESTS: u32 = 8192;
const GROUP: &str = "team";
/// Junk and right requests a second.
const JUNK: u32 = 100_000;
const RIGHT: u32 = 20_000;

/// The work of the nest's first process.
pub(crate) fn inside(as_json: bool) -> Result<ExitCode> {
    let lab = Lab::switched(1500)?;
    give_addresses(&lab)?;
    let server = Server::start(&lab.ms)?;
    server.group(GROUP)?;
    let outsider = lab.outsider()?;
    let mut stolen = Agent::enrol(outsider, &server, GROUP, "open")?;
    stolen.stop()?;
    let _asking = Agent::enrol(&lab.a, &server, GROUP, "closed")?;
    let asked = Agent::enrol(&lab.b, &server, GROUP, "closed")?;
    // What b answers shall leave it.
    let route = format!("route add 10.99.0.0/16 via {}\n", outsider.v4);
    e2e::lab::ip(Some("b"), &route)?;
    let right = Arc::new(requests(&stolen, &lab.b)?);
    let junk = Arc::new(right.iter().map(|packet| spoiled(packet)).collect::<Vec<_>>());
    let parts = [
        ("no flood", 0, 1, Arc::clone(&junk)),
        ("junk", JUNK, 1 + NEGOTIATIONS, junk),
        ("right requests", RIGHT, 1 + 2 * NEGOTIATIONS, right),
    ];
    let mut results = Vec::new();
    for (what, rate, first, packets) in parts {
        results.push(part(&lab, &asked, what, first, (rate, packets))?);
    }
    print(&results, as_json);
    Ok(ExitCode::SUCCESS)
}

/// One flood and the negotiations meanwhile.
fn part(
    lab: &Lab,
    asked: &Agent,
    what: &str,
    first: u8,
    (rate, packets): (u32, Arc<Vec<Vec<u8>>>),
) -> Result<Value> {
    let (memory, cpu, start) = (resident(asked)?, cpu_time(asked)?, Instant::now());
    let stop = Arc::new(AtomicBool::new(false));
    let (ended, to) = (Arc::clone(&stop), SocketAddrV4::new(lab.b.v4, 0));
    let flood = lab.outsider()?.thread(move || send(&packets, to, rate, &ended));
    let times = negotiate(&lab.a, first);
    stop.store(true, Ordering::Relaxed);
    let sent = flood.join().ok().context("the sender panicked")??;
    let (mut times, took) = (times?, start.elapsed().as_secs_f64());
    times.sort();
    let at = |percent: usize| {
        let index = (times.len() * percent).div_ceil(100).saturating_sub(1);
        times.get(index).map(|time| time.as_secs_f64() * 1e3)
    };
    Ok(json!({
        "what": what,
        "asked_per_second": rate,
        "sent_per_second": sent as f64 / took,
        "negotiations": NEGOTIATIONS,
        "succeeded": times.len(),
        "p50_ms": at(50),
        "p99_ms": at(99),
        "rss_kib_before": memory,
        "rss_kib_after": resident(asked)?,
        "cpu_cores": (cpu_time(asked)? - cpu).as_secs_f64() / took,
        "under_load": asked.ges(&["metrics"])?.lines().any(|line| line == "ges_under_load 1"),
    }))
}

/// Times of the first echoes that were answered.
fn negotiate(from: &Host, first: u8) -> Result<Vec<Duration>> {
    let mut times = Vec::new();
    for last in first..first + NEGOTIATIONS {
        let to = address(last).into();
        times.extend(Pinger::new(from, to, &[0x2e; 56])?.echo(DEADLINE)?);
        std::thread::sleep(PAUSE);
    }
    Ok(times)
}

/// Requests made with the keys in the state directory of an agent.
fn requests(stolen: &Agent, to: &Host) -> Result<Vec<Vec<u8>>> {
    let made = Command::new(built("benches")?)
        .arg("requests")
        .arg(stolen.state())
        .args([to.v4.to_string(), REQUESTS.to_string()])
        .output()
        .context("making requests")?;
    if !made.status.success() {
        bail!("making requests: {}", String::from_utf8_lossy(&made.stderr).trim_end());
    }
    let mut packets = Vec::new();
    let mut rest = made.stdout.as_slice();
    while let Some((length, tail)) = rest.split_first_chunk() {
        let length = usize::from(u16::from_be_bytes(*length));
        let (packet, tail) = tail.split_at_checked(length).context("a request cut short")?;
        packets.push(packet.to_vec());
        rest = tail;
    }
    ensure!(packets.len() == REQUESTS as usize, "{} requests", packets.len());
    Ok(packets)
}

/// Two neighbouring words of the message exchanged: the checksum of ICMP stays right, mac1 does not.
fn spoiled(packet: &[u8]) -> Vec<u8> {
    let mut junk = packet.to_vec();
    junk[200..204].rotate_left(2);
    junk
}

/// Sends so many packets a second, or as many as can be, until told to stop; how many they were.
fn send(packets: &[Vec<u8>], to: SocketAddrV4, rate: u32, stop: &AtomicBool) -> Result<u64> {
    let flags = SockFlag::SOCK_CLOEXEC;
    let socket = socket(AddressFamily::Inet, SockType::Raw, flags, SockProtocol::Raw)
        .context("opening a raw socket")?;
    let (to, start) = (SockaddrIn::from(to), Instant::now());
    let mut sent = 0_u64;
    while !stop.load(Ordering::Relaxed) {
        let due = (start.elapsed().as_secs_f64() * f64::from(rate)) as u64;
        // What could not be sent in time is not made up for.
        for packet in packets.iter().cycle().skip((sent % packets.len() as u64) as usize).take(64) {
            if sent >= due {
                break;
            }
            sent +=
                u64::from(sendto(socket.as_raw_fd(), packet, &to, MsgFlags::MSG_DONTWAIT).is_ok());
        }
        if sent >= due {
            std::thread::sleep(Duration::from_micros(200));
        }
    }
    Ok(sent)
}

fn print(parts: &[Value], as_json: bool) {
    if as_json {
        println!("{}", json!({ "schema": "bench-flood-kernel/1", "parts": parts }));
        return;
    }
    println!(
        "{:<16} {:>10} {:>9} {:>9} {:>9} {:>9} {:>10} {:>6}",
        "flood", "sent/s", "succeeded", "p50 ms", "p99 ms", "cores", "RSS KiB +", "load"
    );
    for part in parts {
        let number = |key: &str| part[key].as_f64().unwrap_or_default();
        println!(
            "{:<16} {:>10.0} {:>6}/{} {:>9.1} {:>9.1} {:>9.2} {:>10.0} {:>6}",
            part["what"].as_str().unwrap_or_default(),
            number("sent_per_second"),
            part["succeeded"],
            part["negotiations"],
            number("p50_ms"),
            number("p99_ms"),
            number("cpu_cores"),
            number("rss_kib_after") - number("rss_kib_before"),
            part["under_load"],
        );
    }
}
