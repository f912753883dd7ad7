//! `ges trace` and `ges why` at the engine: find the pair, ask if wanted, and answer when nobody is
//! being asked any more.

use super::devices::Devices;
use crate::command::{Explained, Known, Question};
use ge_core::engine::Engine;
use ge_core::flow::HostPair;
use ge_core::io::Outlook;
use ge_core::{Instant, Interface, Now};
use std::net::IpAddr;
use tokio::sync::oneshot;

/// Questions that wait for an answer.
#[derive(Default)]
pub(super) struct Inquiries {
    waiting: Vec<Inquiry>,
}

struct Inquiry {
    pair: HostPair,
    outlook: Outlook,
    wait: bool,
    started: Instant,
    reply: oneshot::Sender<Explained>,
}

impl Inquiries {
    /// Starts one. A receiver that is gone lost interest.
    pub(super) fn start(
        &mut self,
        engine: &mut Engine,
        devices: &Devices,
        question: Question,
        reply: oneshot::Sender<Explained>,
        now: Now,
    ) {
        let Some(pair) = pair(engine, devices, question, now) else {
            let _ = reply.send(Explained::Strangers);
            return;
        };
        let outlook = engine.outlook(pair, now);
        if question.ask {
            let Some(interface) = interface(devices, pair.remote.0) else {
                let _ = reply.send(Explained::NotHooked);
                return;
            };
            engine.trace(pair, interface, now);
        }
        let wait = question.ask;
        self.waiting.push(Inquiry { pair, outlook, wait, started: now.mono, reply });
    }

    /// Answers those whose flow is not being asked about, or has no row at all.
    pub(super) fn settle(&mut self, engine: &Engine, now: Now) {
        let mut at = 0;
        while at < self.waiting.len() {
            let (pair, wait) = (self.waiting[at].pair, self.waiting[at].wait);
            let flow = engine.flow_snapshot(pair, now);
            let asking = flow.as_ref().is_some_and(|flow| flow.asking || flow.verdict == "pending");
            if wait && asking {
                at += 1;
                continue;
            }
            let Inquiry { outlook, started, reply, .. } = self.waiting.swap_remove(at);
            let took = now.mono.since(started);
            let _ = reply.send(Explained::Known(Box::new(Known { pair, outlook, flow, took })));
        }
    }
}

/// The pair as this agent sees it: its own side first. A row shows that it stands for a machine.
fn pair(
    engine: &Engine,
    devices: &Devices,
    Question { source, destination, .. }: Question,
    now: Now,
) -> Option<HostPair> {
    let source = match source {
        Some(source) => source,
        None => devices.own_address_for(destination)?.0,
    };
    let pair = HostPair::new(source, destination);
    let ours = |pair: &HostPair| {
        engine.outlook(*pair, now).stands_for || engine.flow_snapshot(*pair, now).is_some()
    };
    [pair, pair.reversed()].into_iter().find(ours)
}

/// The hooked interface by which packets for `remote` leave; where there is no telling, the first.
fn interface(devices: &Devices, remote: IpAddr) -> Option<Interface> {
    let by_route = devices.own_address_for(remote).map(|(_, interface)| interface);
    by_route.or_else(|| devices.attached.first().map(|attached| attached.interface))
}
