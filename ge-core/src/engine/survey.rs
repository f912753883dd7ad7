//! What an open router asks inwards: a stranger's first packet passes at once, but if a closed agent
//! further in refuses the stranger, later packets need not be carried there in vain.

use super::Engine;
use super::carrier::Numbers;
use super::row::{Plain, Row, RowState, Via};
use crate::Now;
use crate::dprp::Purpose;
use crate::flow::{HostPair, Ports};
use crate::id::Interface;
use crate::io::NegotiationResult;
use crate::limits::{ASK_AGAIN_LAST, HOP_LIMIT, NEGATIVE_LIFETIME, SURVEYS_PER_SECOND};
use crate::timer::Timer;

impl Engine {
    /// Sends a question inwards, in the name of the machine outside.
    pub(super) fn send_survey(&mut self, pair: HostPair, (id, seq): (u16, u16), message: &[u8]) {
        let ends = (pair.remote.0, pair.local.0);
        let (protocol, icmp) = Numbers::Echo { id, seq }.pack(true, false, message, ends);
        self.deliver_inwards(ends, protocol, &icmp, HOP_LIMIT);
    }

    /// Asks `pair.local`, a machine behind this router, whether it refuses packets of
    /// `pair.remote`. The question goes in the stranger's name, so that the answer comes back
    /// through here; it offers no group, since what is in clear outside is not protected by being
    /// sealed inside.
    pub(super) fn survey(&mut self, pair: HostPair, interface: Interface, now: Now) {
        if self.pit.is_crowded() || !self.surveys.take(SURVEYS_PER_SECOND, now.mono) {
            return;
        }
        let Some(negotiation) = self.create_negotiation(
            pair,
            Ports::default(),
            Via::Echo,
            Purpose::Survey,
            interface,
            now,
        ) else {
            return;
        };
        let id = negotiation.initiator.id();
        let until = now.mono + NEGATIVE_LIFETIME;
        let plain = Plain {
            reason: NegotiationResult::Unasked,
            until,
            age_at: until,
            ask_again: now.mono,
            patience: ASK_AGAIN_LAST,
            background: Some(negotiation),
        };
        let row = Row::new(RowState::Clear(plain), interface, now.mono);
        if self.insert_row(pair, row.caused_by(pair.remote.0)).is_err() {
            return;
        }
        self.timers.set(until, Timer::RowAge(pair));
        self.negotiations.insert(id, pair);
        self.send_attempt(pair, now);
    }
}
