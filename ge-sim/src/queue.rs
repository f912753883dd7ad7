//! What will happen, in order. Events at the same moment happen in the order they were added.

use crate::adversary::Origin;
use crate::fault::Fault;
use crate::packet::NodeId;
use std::cmp::Reverse;
use std::collections::BinaryHeap;

/// Something that happens at a moment.
#[derive(Debug)]
pub enum Event {
    /// A packet arrives at a machine.
    Arrive {
        /// The machine.
        at: NodeId,
        /// The neighbour it comes from.
        from: NodeId,
        /// The IP packet.
        packet: Vec<u8>,
        /// Who made it.
        origin: Origin,
    },
    /// An agent asked to be woken.
    Wake(NodeId),
    /// Something waits for a thread of an agent: 0 is the engine's.
    Thread(NodeId, u8),
    /// The application behind a flow sends.
    Traffic(usize),
    /// A stack sends a frame on its own account.
    Stack(NodeId, Vec<u8>),
    /// The server's bundle reaches an agent.
    Bundle(NodeId),
    /// Something goes wrong, or right again.
    Fault(Fault),
    /// The adversary acts.
    Attack,
}

/// The event queue.
#[derive(Default)]
pub struct Queue {
    order: BinaryHeap<Reverse<(u64, u64, usize)>>,
    events: Vec<Option<Event>>,
    free: Vec<usize>,
    added: u64,
}

impl Queue {
    /// Adds an event at `at` microseconds.
    pub fn add(&mut self, at: u64, event: Event) {
        let slot = self.free.pop().unwrap_or_else(|| {
            self.events.push(None);
            self.events.len() - 1
        });
        self.events[slot] = Some(event);
        self.order.push(Reverse((at, self.added, slot)));
        self.added += 1;
    }

    /// Takes the next event not later than `until`.
    pub fn pop(&mut self, until: u64) -> Option<(u64, Event)> {
        let Reverse((at, _, slot)) = *self.order.peek()?;
        if at > until {
            return None;
        }
        self.order.pop();
        self.free.push(slot);
        self.events[slot].take().map(|event| (at, event))
    }

    /// The next event and when it happens.
    #[must_use]
    pub fn peek(&self) -> Option<(u64, &Event)> {
        let Reverse((at, _, slot)) = self.order.peek()?;
        self.events[*slot].as_ref().map(|event| (*at, event))
    }
}
