//! Metrics of what the packet path does with the kernel.

use super::{Counts, Levels, count, level};
use crate::report::DetailsReport;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::registry::Registry;
use std::sync::atomic::AtomicU64;

type Labels = Vec<(&'static str, String)>;
type Fractions = Family<Labels, Gauge<f64, AtomicU64>>;

pub(super) fn register(registry: &mut Registry, details: &DetailsReport) {
    offloads(registry, details);
    lost(registry, details);
    sockets(registry, details);
    tuns(registry, details);
    let times = Fractions::default();
    for aead in &details.aeads {
        if let Some(nanoseconds) = aead.seal_nanoseconds {
            let labels = vec![("aead", aead.name.clone())];
            times.get_or_create(&labels).set(nanoseconds as f64 / 1e9);
        }
    }
    let help = "Time to seal one packet of 1,400 bytes, as measured at the start";
    registry.register("seal_seconds", help, times);
}

fn offloads(registry: &mut Registry, details: &DetailsReport) {
    let (states, refusals, replayed) = (Levels::default(), Counts::default(), Counts::default());
    for offload in &details.offloads {
        let name = ("offload", offload.name.as_str());
        level(&states, &[name, ("state", &offload.state)], 1);
        count(&refusals, &[name], offload.refusals);
        count(&replayed, &[name], offload.replayed);
    }
    let help = "1 for the state an offload is in: on, off, refused or fell-back";
    registry.register("offload_state", help, states);
    let help = "Calls that the kernel refused while the offload was used";
    registry.register("offload_refusals", help, refusals);
    let help = "Packets of such calls that went one by one instead";
    registry.register("offload_replayed_packets", help, replayed);
}

fn lost(registry: &mut Registry, details: &DetailsReport) {
    let lost = Counts::default();
    for loss in &details.lost {
        count(&lost, &[("place", &loss.place), ("cause", &loss.cause)], loss.packets);
    }
    let help = "Packets that the kernel did not take, by what was to be done with them and why";
    registry.register("lost_packets", help, lost);
}

fn sockets(registry: &mut Registry, details: &DetailsReport) {
    let (sizes, drops) = (Levels::default(), Counts::default());
    for socket in &details.sockets {
        let name = ("socket", socket.name.as_str());
        level(&sizes, &[name, ("dir", "in")], u64::from(socket.receive_buffer));
        level(&sizes, &[name, ("dir", "out")], u64::from(socket.send_buffer));
        count(&drops, &[name], u64::from(socket.dropped));
    }
    registry.register("socket_buffer_bytes", "Sizes of socket buffers, as got", sizes);
    let help = "Datagrams that the kernel dropped because a socket's buffer was full";
    registry.register("socket_dropped", help, drops);
}

fn tuns(registry: &mut Registry, details: &DetailsReport) {
    let (packets, drops) = (Counts::default(), Counts::default());
    for tun in &details.tuns {
        for (dir, value) in [("out", tun.read), ("in", tun.written)] {
            count(&packets, &[("tun", &tun.name), ("dir", dir)], value);
        }
        for (place, value) in [
            ("queue", tun.queue_dropped),
            ("stack", tun.stack_dropped),
            ("malformed", tun.malformed),
        ] {
            count(&drops, &[("tun", &tun.name), ("place", place)], value);
        }
    }
    let help = "Packets read from a TUN and written to it, a super-packet once";
    registry.register("tun_packets", help, packets);
    let help = "Packets that the kernel dropped at a TUN: before we read them, after we wrote them";
    registry.register("tun_dropped", help, drops);
}
