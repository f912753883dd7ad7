//! Real programs, as they come with the system, between two members.
//!
//! ```text
//!   ms .1  ──┬──  switch  ──┬── a .11  ges; iperf3 -c, curl, ssh, ping
//!            │   tap on a   └── b .12  ges; iperf3 -s, http.server, sshd
//! ```

use crate::pair::Pair;
use crate::proof::under_tap;
use crate::scenario::{Scenario, scenario};
use crate::tools::{self, http_server, received_bytes};
use anyhow::{Context, Result, ensure};
use serde_json::Value;
use std::net::SocketAddr;

pub(crate) const LIST: &[Scenario] = &[
    scenario("ping_program", "ping, full size with DF set", &["ping"], ping_program),
    scenario("iperf3_tcp", "iperf3 over TCP, four streams", &["iperf3"], || {
        iperf3(&["-P", "4"], received_bytes)
    }),
    scenario("iperf3_reverse", "iperf3 over TCP, from the server", &["iperf3"], || {
        iperf3(&["-R"], received_bytes)
    }),
    scenario("iperf3_udp", "iperf3 over UDP, 20 Mbit/s", &["iperf3"], || {
        iperf3(&["-u", "-b", "20M"], arrived_datagrams)
    }),
    scenario("curl", "curl fetches a file from python3 -m http.server", &["curl", "python3"], curl),
];

fn ping_program() -> Result<()> {
    let pair = Pair::new("open")?;
    let tap = pair.tap()?;
    for (v6, size) in [(false, "1472"), (true, "1452")] {
        let to = pair.address_of_b(v6).to_string();
        // The first full-size packet may be answered by "too big": the program is told the size.
        pair.lab.a.run(&["ping", "-c", "3", "-i", "0.2", "-W", "5", &to])?;
        let full = ["ping", "-c", "3", "-i", "0.2", "-W", "5", "-s", size, &to];
        pair.lab.a.run(&full).context("full-size packets")?;
    }
    pair.ensure_protected(&tap.finish()?, true)
}

fn iperf3(extra: &[&str], check: fn(&Value) -> Result<()>) -> Result<()> {
    let pair = Pair::new("open")?;
    for v6 in [false, true] {
        let at = pair.address_of_b(v6);
        let traffic = || tools::iperf3(&pair.lab.a, &pair.lab.b, at, extra, check);
        under_tap(|| pair.tap(), traffic, |tally| pair.ensure_protected(tally, v6))?;
    }
    Ok(())
}

fn arrived_datagrams(end: &Value) -> Result<()> {
    let sum = &end["sum"];
    let (all, lost) = (sum["packets"].as_u64(), sum["lost_packets"].as_u64());
    let (all, lost) = (all.context("no packets")?, lost.context("no lost_packets")?);
    // A busy test machine may drop some; a path that does not work drops most.
    ensure!(all > 0 && lost * 10 <= all, "{lost} of {all} datagrams were lost");
    Ok(())
}

fn curl() -> Result<()> {
    let pair = Pair::new("open")?;
    let content: Vec<u8> =
        (0..4u32 << 20).map(|at| (at.wrapping_mul(2_654_435_761) >> 13) as u8).collect();
    let dir = pair.lab.b.path("www");
    std::fs::create_dir(&dir)?;
    std::fs::write(dir.join("file"), &content)?;
    let tap = pair.tap()?;
    for v6 in [false, true] {
        let at = SocketAddr::new(pair.address_of_b(v6), 8080);
        let _server = http_server(&pair.lab.b, at, &dir)?;
        let fetched = pair.lab.a.path("fetched");
        let url = format!("http://{at}/file");
        let out = fetched.to_string_lossy();
        pair.lab.a.run(&["curl", "-sS", "-g", "--fail", "--max-time", "20", "-o", &out, &url])?;
        ensure!(std::fs::read(&fetched)? == content, "the fetched file differs");
        pair.ensure_protected(&tap.so_far()?, v6)?;
    }
    pair.ensure_protected(&tap.finish()?, false)
}
