//! `status --details`: offloads, losses, buffers, algorithms.

use super::table::Table;
use super::units::bytes;
use ge_runtime::report::{AeadReport, DetailsReport, OffloadReport};
use std::fmt::Write;

pub(super) fn details(report: &DetailsReport) -> String {
    let mut table = Table::new(["OFFLOAD", "STATE", "WHY", "REFUSALS", "ONE BY ONE"]);
    for offload in &report.offloads {
        table.push([
            offload.name.clone(),
            state(offload),
            offload.error.clone().unwrap_or_else(|| "-".to_owned()),
            offload.refusals.to_string(),
            offload.replayed.to_string(),
        ]);
    }
    let mut text = table.to_string();
    if report.lost.is_empty() {
        text.push_str("the kernel took every packet\n");
    } else {
        let mut table = Table::new(["NOT TAKEN", "CAUSE", "PACKETS"]);
        for loss in &report.lost {
            table.push([loss.place.clone(), loss.cause.clone(), loss.packets.to_string()]);
        }
        text.push_str(&table.to_string());
    }
    let mut table = Table::new(["SOCKET", "RECEIVE", "SEND", "DROPPED"]);
    for socket in &report.sockets {
        table.push([
            socket.name.clone(),
            bytes(u64::from(socket.receive_buffer)),
            bytes(u64::from(socket.send_buffer)),
            socket.dropped.to_string(),
        ]);
    }
    text.push_str(&table.to_string());
    let mut table =
        Table::new(["TUN", "FOR", "READ", "WRITTEN", "QUEUE FULL", "STACK DROPPED", "MALFORMED"]);
    for tun in &report.tuns {
        table.push([
            tun.name.clone(),
            tun.interface.clone(),
            tun.read.to_string(),
            tun.written.to_string(),
            tun.queue_dropped.to_string(),
            tun.stack_dropped.to_string(),
            tun.malformed.to_string(),
        ]);
    }
    text.push_str(&table.to_string());
    let mut table = Table::new(["THREAD", "SEALED", "OPENED"]);
    for (number, thread) in report.threads.iter().enumerate() {
        table.push([number.to_string(), thread.sealed.to_string(), thread.opened.to_string()]);
    }
    text.push_str(&table.to_string());
    let aeads: Vec<String> = report.aeads.iter().map(aead).collect();
    let _ = writeln!(text, "sealing 1400 bytes: {}", aeads.join(", "));
    text
}

fn state(offload: &OffloadReport) -> String {
    let bound = offload.at_once.map(|packets| format!(", {packets} at once"));
    format!("{}{}", offload.state, bound.unwrap_or_default())
}

fn aead(aead: &AeadReport) -> String {
    let time = aead.seal_nanoseconds.map_or_else(|| "-".to_owned(), |time| format!("{time} ns"));
    let plural = if aead.flows == 1 { "" } else { "s" };
    format!("{} {time} ({} flow{plural})", aead.name, aead.flows)
}
