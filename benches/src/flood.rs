//! What floods cost one core, and how much answers are longer than questions (T-7 to T-9).
//!
//! Capacities are the inverse of median times of one agent's share; packets go through the engine as
//! they would from the hook, without the kernel's part.

use crate::figure::{Figure, time};
use crate::negotiation;
use crate::stolen::{Spoofer, spoofed};
use anyhow::{Context, Result, ensure};
use ge_core::crypto::Rng;
use ge_core::engine::Engine;
use ge_core::flow::Direction;
use ge_core::io::{Frame, InterfaceInfo, Output, PACKET_AT};
use ge_core::keyring::Keyring;
use ge_core::now::Instant;
use ge_core::wire::dprp::{cookie::COOKIE_LEN, dde::DDE_LEN, rgi};
use ge_core::{Interface, Mode, Now};
use ge_sim::NodeId;
use ge_sim::mgmt::{Admission, Mgmt};
use ge_sim::node::START;
use rand_core::{Rng as _, SeedableRng as _};
use serde_json::{Value, json};
use std::net::{IpAddr, Ipv4Addr};
use std::time::Duration;

const RUNS: usize = 20_000;
const BATCH: usize = 100;
const ETH0: Interface = Interface(2);
const TO: IpAddr = IpAddr::V4(Ipv4Addr::new(10, 0, 0, 2));
const HEADERS: usize = 28;

/// One line of the table.
pub(crate) struct Line {
    what: String,
    value: f64,
    unit: &'static str,
    target: &'static str,
}

impl Line {
    pub(crate) fn to_json(&self) -> Value {
        let Self { what, value, unit, target } = self;
        json!({ "what": what, "value": value, "unit": unit, "target": target })
    }
}

impl std::fmt::Display for Line {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let Self { what, value, unit, target } = self;
        let digits = if *value < 10.0 { 2 } else { 0 };
        write!(f, "{what:<60} {value:>10.digits$} {unit:<10} {target}")
    }
}

pub(crate) fn lines() -> Result<Vec<Line>> {
    let mut lines = refusals()?;
    lines.extend(capacity()?);
    lines.extend(ratios()?);
    Ok(lines)
}

fn rate(what: &str, figure: &Figure, target: &'static str) -> Line {
    Line { what: what.to_owned(), value: figure.per_second(), unit: "/s", target }
}

/// An agent that is asked, and somebody with keys of its domain.
fn scene() -> Result<(Engine, Spoofer)> {
    let mut mgmt = Mgmt::new(Rng::seed_from_u64(3), START);
    let group = mgmt.add_group(START);
    let admission = || Admission::host(Mode::Closed, &[group]);
    let identity = mgmt.add_member(NodeId(0), admission());
    let stolen = mgmt.add_member(NodeId(1), admission());
    let membership = mgmt.membership(NodeId(1), START).context("no membership")?;
    let spoofer = Spoofer::new(Keyring::new(&stolen, &membership)?, START);
    let mut engine = Engine::new(identity, [7; 32]);
    let addresses = vec![(TO, 8)];
    let (name, mac) = (String::from("eth0"), [2; 6]);
    let interface = InterfaceInfo { interface: ETH0, name, mac, mtu: 1500, addresses };
    engine.set_interfaces(vec![interface], &[TO]);
    engine.install(mgmt.membership(NodeId(0), START).context("no membership")?, now(0))?;
    Ok((engine, spoofer))
}

fn now(micros: u64) -> Now {
    Now { mono: Instant::from_micros(micros), unix: START }
}

/// Hands packets to the engine; the median time of one, and the bytes of messages sent.
fn feed(name: &str, engine: &mut Engine, packets: &[Vec<u8>]) -> (Figure, usize) {
    let mut frames: Vec<Vec<u8>> =
        packets.iter().map(|packet| [&[0; PACKET_AT], &packet[..]].concat()).collect();
    let mut sent = 0;
    let samples: Vec<Duration> = frames
        .chunks_mut(BATCH)
        .enumerate()
        .map(|(at, batch)| {
            let work = || {
                for bytes in batch.iter_mut() {
                    let direction = Direction::Incoming(ETH0);
                    engine.incoming(&Frame { direction, bytes }, now(1_000_000 + at as u64 * 100));
                }
                let mut bytes = 0;
                loop {
                    match engine.poll_output() {
                        Output::Idle { .. } => break bytes,
                        Output::Transmit(transmit) => bytes += transmit.bytes.len() - 8,
                        _ => {}
                    }
                }
            };
            let (took, bytes) = time(work);
            sent += bytes;
            took
        })
        .collect();
    (Figure::median(name.to_owned(), samples, BATCH), sent)
}

fn refusals() -> Result<Vec<Line>> {
    let (mut engine, mut spoofer) = scene()?;
    let right =
        (0..RUNS as u32).map(|n| spoofer.request(spoofed(n), TO)).collect::<Result<Vec<_>>>()?;
    let mut junk = right.clone();
    let mut rng = Rng::seed_from_u64(1);
    for packet in &mut junk {
        spoil(packet, &mut rng);
    }
    let (figure, sent) = feed("junk", &mut engine, &junk);
    ensure!(sent == 0, "junk was answered with {sent} bytes");
    let mut lines = vec![rate("messages with wrong mac1 refused, one core", &figure, "500,000")];
    let (figure, sent) = feed("right", &mut engine, &right);
    lines.push(rate("requests of forged sources asked for proof, one core", &figure, ""));
    let out = sent as f64 / (RUNS * DDE_LEN) as f64;
    let what = "bytes out for bytes in over that flood, its beginning included";
    lines.push(Line { what: what.to_owned(), value: out, unit: "", target: "<= 1.0" });
    Ok(lines)
}

/// Exchanges two words of the message, so that the checksum of ICMP stays right and `mac1` does not.
fn spoil(packet: &mut [u8], rng: &mut Rng) {
    let at = HEADERS + 60 + 2 * (rng.next_u32() as usize % 100);
    packet[at..at + 4].rotate_left(2);
}

fn capacity() -> Result<Vec<Line>> {
    let figures = negotiation::shares()?;
    let [strangers, known, transit] = figures;
    Ok(vec![
        rate("negotiations with strangers as responder, one core", &strangers, "1,500"),
        rate("negotiations with known agents as responder, one core", &known, "1,500"),
        rate("negotiations past a router between, one core", &transit, "2,000"),
    ])
}

fn ratios() -> Result<Vec<Line>> {
    let [dde, rgi, mpit, cdn, nomatch] = negotiation::lengths()?;
    ensure!(dde == DDE_LEN, "a DDE has {dde} bytes");
    let ratio = |what: &str, answer: usize, question: usize, target| Line {
        what: format!("{what}, {answer} to {question} bytes"),
        value: answer as f64 / question as f64,
        unit: "",
        target,
    };
    Ok(vec![
        ratio("RGI to a DDE", rgi, dde, "<= 3.0"),
        ratio("RGI with seven records to a DDE", rgi::LONGEST, dde, "<= 3.0"),
        ratio("NOMATCH to a DDE", nomatch, dde, "<= 3.0"),
        ratio("CDN to an MPIT", cdn, mpit, "<= 3.0"),
        ratio("COOKIE to a DDE, under load", COOKIE_LEN, dde, "<= 1.0"),
        ratio("anything to a message with wrong mac1", 0, dde, "0"),
    ])
}
