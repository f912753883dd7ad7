//! `ges ping` at the engine: start a negotiation as a first packet would, and answer when its
//! verdict is known.

use crate::command::ProbeReply;
use ge_core::engine::Engine;
use ge_core::flow::HostPair;
use ge_core::{Instant, Interface, Now};
use std::net::IpAddr;
use tokio::sync::oneshot;

/// Probes that wait for a verdict.
#[derive(Default)]
pub(super) struct Probes {
    waiting: Vec<Probe>,
}

struct Probe {
    pair: HostPair,
    started: Instant,
    reply: oneshot::Sender<ProbeReply>,
}

impl Probes {
    /// Starts a probe from our address `own`, which the kernel would use towards `remote`.
    pub(super) fn start(
        &mut self,
        engine: &mut Engine,
        own: Option<(IpAddr, Interface)>,
        remote: IpAddr,
        reply: oneshot::Sender<ProbeReply>,
        now: Now,
    ) {
        let Some((local, interface)) = own.filter(|(local, _)| *local != remote) else {
            // A receiver that is gone lost interest; so below.
            let _ = reply.send(ProbeReply { flow: None, took: std::time::Duration::ZERO });
            return;
        };
        let pair = HostPair::new(local, remote);
        engine.probe(pair, interface, now);
        self.waiting.push(Probe { pair, started: now.mono, reply });
    }

    /// Answers the probes whose flow has a verdict, or has no row at all.
    pub(super) fn settle(&mut self, engine: &Engine, now: Now) {
        let mut at = 0;
        while at < self.waiting.len() {
            let flow = engine.flow_snapshot(self.waiting[at].pair, now);
            if flow.as_ref().is_some_and(|flow| flow.verdict == "pending") {
                at += 1;
                continue;
            }
            let probe = self.waiting.swap_remove(at);
            let took = now.mono.since(probe.started);
            let _ = probe.reply.send(ProbeReply { flow, took });
        }
    }
}
