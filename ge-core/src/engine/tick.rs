//! Time: every deadline that has passed is looked at once.

use super::Engine;
use crate::Now;
use crate::timer::Timer;

impl Engine {
    /// Acts on every deadline up to `now`. Then there is time for what only saves time later.
    pub fn tick(&mut self, now: Now) {
        while let Some((armed, timer)) = self.timers.pop_due(now.mono) {
            match timer {
                Timer::Retransmit(pair) => self.retransmit(pair, now),
                Timer::HoldOver(pair) => self.hold_over(pair, now),
                Timer::RowAge(pair) => self.row_aged(pair, armed, now.mono),
                Timer::AskAgain(pair) => self.ask_again(pair, now),
                Timer::Session(index) => self.check_session(index, armed, now),
                Timer::Answer(id) => self.answer_aged(id, now),
                Timer::Unanswered(id) => self.unanswered(id, now),
                Timer::Handover(pair) => self.handover_over(pair, now),
                Timer::Tentative(id) => self.tentative_aged(id, now),
                Timer::Confirm(id) => self.send_cdn(id),
                Timer::OtherCarrier(pair) => self.other_carrier(pair, now),
            }
        }
        self.ephemerals.refill(&mut self.rng);
    }
}
