//! One agent does without an offload, the other has it: traffic is the same.
//!
//! ```text
//!   ms .1  ──┬──  switch  ──┬── a .11  ges --no-offload …
//!            │   tap on a   └── b .12  ges
//! ```

use crate::agent::Agent;
use crate::pair::Pair;
use crate::scenario::{Scenario, scenario};
use crate::stream::transfer;
use crate::udp;
use anyhow::{Context, Result, ensure};
use serde_json::Value;

pub(crate) const LIST: &[Scenario] = &[
    scenario("offloads_off_tun", "without super-packets of the TUN on one side", &[], || {
        switched_off(&["tun-tso", "tun-ecn", "tun-uso"])
    }),
    scenario("offloads_off_udp", "without merged datagrams on one side", &[], || {
        switched_off(&["udp-send", "udp-receive"])
    }),
    scenario("offloads_off_merge", "without merged writes on one side", &[], || {
        switched_off(&["merge-tcp", "merge-udp", "put-back"])
    }),
    scenario("offloads_off_all", "without any offload on one side", &[], || switched_off(&["all"])),
    scenario("status_details", "the agent tells its offloads, losses and buffers", &[], details),
];

const FILE: u64 = 16 << 20;

fn switched_off(names: &[&str]) -> Result<()> {
    let mut pair = Pair::new("open")?;
    for name in names {
        pair.a.stop()?;
        pair.a.set_args(&["--no-offload", name]);
        pair.a.start().with_context(|| format!("without {name}"))?;
        carries(&pair).with_context(|| format!("without {name}"))?;
        for offload in offloads(&pair.a.details()?)? {
            let off = *name == "all" || offload["name"] == *name;
            let expected = if off { "off" } else { "on" };
            ensure!(offload["state"] == expected, "without {name}: {offload}");
        }
    }
    Ok(())
}

/// TCP both ways, datagrams one by one and in bursts both ways, and all of it sealed.
fn carries(pair: &Pair) -> Result<()> {
    let (a, b) = (&pair.lab.a, &pair.lab.b);
    pair.exchange(false)?;
    pair.exchange(true)?;
    let tap = pair.tap()?;
    for v6 in [false, true] {
        let (to_a, to_b) = (pair.address_of_a(v6), pair.address_of_b(v6));
        transfer(a, to_a, b, FILE).context("b from a")?;
        transfer(b, to_b, a, FILE).context("a from b")?;
        udp::echo(a, b, to_b, &[1, 100, 1200, 8192])?;
        for size in [64, 1200] {
            udp::burst(a, b, to_b, size).context("a to b")?;
            udp::burst(b, a, to_a, size).context("b to a")?;
        }
    }
    pair.ensure_protected(&tap.finish()?, false)
}

fn offloads(details: &Value) -> Result<Vec<Value>> {
    let list = details["offloads"].as_array().context("no offloads in the details")?;
    ensure!(list.len() == 8, "{} offloads", list.len());
    Ok(list.clone())
}

/// Both data sockets of each thread are listed, and the interface's own; in the metrics as well.
fn ensure_sockets(agent: &Agent, details: &Value) -> Result<()> {
    let threads = details["threads"].as_array().context("no threads")?.len();
    let beside = (1..threads)
        .flat_map(|thread| ["udp4", "udp6"].map(|udp| format!("{udp} thread {thread}")));
    let expected: Vec<_> = ["udp4", "udp6"]
        .map(str::to_owned)
        .into_iter()
        .chain(beside)
        .chain(["packet eth0".to_owned()])
        .collect();
    let sockets = details["sockets"].as_array().context("no sockets")?;
    let names: Vec<_> = sockets.iter().filter_map(|socket| socket["name"].as_str()).collect();
    ensure!(names == expected, "{names:?} of {threads} threads");
    let metrics = agent.ges(&["metrics"])?;
    for name in names {
        let line = format!("ges_socket_dropped_total{{socket=\"{name}\"}} 0");
        ensure!(metrics.contains(&line), "no {line} in\n{metrics}");
    }
    Ok(())
}

fn details() -> Result<()> {
    let pair = Pair::new("closed")?;
    carries(&pair)?;
    for agent in [&pair.a, &pair.b] {
        let details = agent.details()?;
        for offload in offloads(&details)? {
            ensure!(offload["state"] == "on" && offload["refusals"] == 0, "{offload}");
        }
        ensure_sockets(agent, &details)?;
        for socket in details["sockets"].as_array().into_iter().flatten() {
            let size = socket["receive_buffer"].as_u64().unwrap_or_default();
            ensure!(size > 0 && socket["dropped"] == 0, "{socket}");
        }
        ensure!(details["tuns"][0]["interface"] == "eth0", "{details}");
        for count in ["malformed", "stack_dropped"] {
            ensure!(details["tuns"][0][count] == 0, "{details}");
        }
        let sealing = |at: usize| details["aeads"][at]["seal_nanoseconds"].as_u64();
        ensure!(sealing(0) > Some(10) && sealing(1) > Some(10), "{details}");
        let flows = |at: usize| details["aeads"][at]["flows"].as_u64().unwrap_or_default();
        ensure!(flows(0) + flows(1) >= 2, "{details}");
        let text = agent.ges(&["status", "-d"])?;
        ensure!(text.contains("udp-send") && text.contains("sealing 1400 bytes"), "{text}");
        ensure!(agent.status()?["details"].is_null(), "details that nobody asked for");
        let metrics = agent.ges(&["metrics"])?;
        for line in [
            "ges_offload_state{offload=\"udp-send\",state=\"on\"} 1",
            "ges_seal_seconds{aead=\"aes-256-gcm\"} ",
            "ges_socket_buffer_bytes{socket=\"udp4\",dir=\"in\"} ",
            "ges_tun_dropped_total{tun=\"ges0\",place=\"malformed\"} 0",
        ] {
            ensure!(metrics.contains(line), "no {line} in\n{metrics}");
        }
    }
    Ok(())
}
