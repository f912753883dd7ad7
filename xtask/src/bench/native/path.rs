//! Whether what looks like TCP passes who looks at TCP: a NAT that changes every port, and behind it
//! `ct state invalid drop`, with nothing let in that no SYN began.

use super::{Ends, offloads};
use anyhow::{Context, Result};
use e2e::stream::transfer;
use e2e::{DEV, Host, Row};
use serde_json::{Value, json};

/// Bytes of the file.
const FILE: u64 = 32 << 20;

/// What is tried: format, receive window of `a` in bytes, packets in a hundred that are lost, and
/// whether segments pass one by one.
const TRIES: [(&str, u32, u32, bool); 11] = [
    ("plain", LARGE, 0, true),
    ("plain", LARGE, 1, true),
    ("plain", SMALL, 0, true),
    ("native", LARGE, 0, false),
    ("native", LARGE, 0, true),
    ("native", LARGE, 1, true),
    ("native", SMALL, 0, true),
    ("narrow-windows", SMALL, 0, true),
    ("own-numbers", LARGE, 1, true),
    ("explicit", LARGE, 0, false),
    ("explicit", LARGE, 1, true),
];
/// Receive windows: the usual limit, and one that is full most of the time.
const LARGE: u32 = 6 << 20;
const SMALL: u32 = 32 << 10;

/// The file each way, and what the router counted.
pub(super) fn measure() -> Result<Vec<Value>> {
    let row = Row::new(1)?;
    row.translate(1)?;
    let router = &row.router(1)?.right;
    router.enter(|| Ok(std::fs::write(LOOSE, "0")?)).context(LOOSE)?;
    TRIES.iter().map(|one| attempt(&row, router, *one)).collect()
}

/// A connection begins with a SYN.
const LOOSE: &str = "/proc/sys/net/netfilter/nf_conntrack_tcp_loose";

fn attempt(
    row: &Row,
    router: &Host,
    (format, window, loss, single): (&str, u32, u32, bool),
) -> Result<Value> {
    let switch = if single { "off" } else { "on" };
    for (host, device) in [(&row.a, DEV), (&row.b, DEV), (router, "left"), (router, "right")] {
        offloads(host, device, &["tso", switch, "gso", switch, "gro", switch])?;
    }
    let memory = format!("4096 {window} {window}");
    row.a.enter(|| Ok(std::fs::write("/proc/sys/net/ipv4/tcp_rmem", &memory)?))?;
    router.run(&["nft", &rules(loss)])?;
    let ends = Ends::start(format, DEV, [&row.a, &row.b])?;
    let done = transfer(&row.b, row.b.v4.into(), &row.a, FILE);
    let refused: Vec<Value> =
        ends.stop(format != "plain")?.iter().map(|end| end["refused"].clone()).collect();
    let counted: Value =
        serde_json::from_str(&router.run(&["nft", "-j", "list table ip strict"])?)?;
    let result = match &done {
        Ok(report) => json!({ "seconds": report.took.as_secs_f64() }),
        Err(error) => json!({ "failed": format!("{error:#}") }),
    };
    if format != "own-numbers" {
        done?;
    }
    Ok(json!({
        "format": format,
        "window": window,
        "lost_percent": loss,
        "single_segments": single,
        "packets": counter(&counted, "all"),
        "lost": counter(&counted, "lost"),
        "invalid": counter(&counted, "invalid"),
        "invalid_ends": counter(&counted, "invalid end"),
        "refused_by_ends": refused,
        "result": result,
    }))
}

/// The router's table: what is lost goes before its connection tracking sees it.
fn rules(loss: u32) -> String {
    format!(
        "add table ip strict; delete table ip strict; add table ip strict; \
         add chain ip strict early {{ type filter hook prerouting priority -300 ; }}; \
         add rule ip strict early meta l4proto tcp numgen random mod 100 < {loss} counter drop \
             comment \"lost\"; \
         add chain ip strict through {{ type filter hook forward priority 0 ; policy drop ; }}; \
         add rule ip strict through meta l4proto tcp counter comment \"all\"; \
         add rule ip strict through ct state invalid tcp flags & (syn | fin | rst) != 0 \
             counter drop comment \"invalid end\"; \
         add rule ip strict through ct state invalid counter drop comment \"invalid\"; \
         add rule ip strict through ct state established accept; \
         add rule ip strict through iifname left tcp flags & (syn | ack | rst | fin) == syn \
             ct state new accept"
    )
}

/// Packets of the rule with this comment.
fn counter(table: &Value, comment: &str) -> u64 {
    let objects = table["nftables"].as_array().into_iter().flatten();
    let rule = objects.map(|object| &object["rule"]).find(|rule| rule["comment"] == comment);
    let parts = rule.and_then(|rule| rule["expr"].as_array()).into_iter().flatten();
    parts.filter_map(|part| part["counter"]["packets"].as_u64()).sum()
}

pub(super) fn print(rows: &[Value]) {
    println!("{} MiB through a NAT and a strict filter", FILE >> 20);
    println!(
        "{:<16} {:>9} {:>7} {:>9} {:>8} {:>8} {:>13}  result",
        "format", "window", "single", "packets", "lost", "invalid", "invalid ends"
    );
    for row in rows {
        let failed = row["result"]["failed"].as_str();
        let seconds = row["result"]["seconds"].as_f64().unwrap_or(0.0);
        println!(
            "{:<16} {:>9} {:>7} {:>9} {:>8} {:>8} {:>13}  {}",
            row["format"].as_str().unwrap_or_default(),
            row["window"].as_u64().unwrap_or(0),
            if row["single_segments"] == true { "yes" } else { "no" },
            row["packets"].as_u64().unwrap_or(0),
            row["lost"].as_u64().unwrap_or(0),
            row["invalid"].as_u64().unwrap_or(0),
            row["invalid_ends"].as_u64().unwrap_or(0),
            failed.map_or_else(|| format!("whole, {seconds:.2} s"), str::to_owned),
        );
    }
}
