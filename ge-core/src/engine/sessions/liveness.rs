//! Whether the peer of a session is there: asked inside the session, so that nobody else can say so.
//!
//! ```text
//! data ===========>                    nothing comes back (a living peer would have sent a keepalive)
//!      0.6  0.7  0.8  0.9 s            prompts in the session; any authentic datagram ends the matter
//!      1.0 s + one round trip          DDE beside the session: fresh keys with whoever is there now
//! ```
//! An agent that lost its session, at an end or between, cannot prove anything about it: whatever it
//! said, anybody could say (decision 0017). So nobody says it, and silence is noticed sooner instead.

use super::{EPOCH_ENDS_SOON, SESSION_CHECK, Session};
use crate::Now;
use crate::engine::Engine;
use crate::id::SessionIndex;
use crate::limits::{
    KEEPALIVE_AFTER, LIVENESS, NAT_KEEPALIVE, PROMPT_AFTER, PROMPT_EVERY, PROMPTS, ROUND_TRIP_MAX,
};
use crate::now::Instant;
use core::time::Duration;

/// How often a session is looked at to which nothing happens. Less than [`EPOCH_ENDS_SOON`], so that none
/// rests through the end of its epoch; and rekeying can be so late: [`REJECT_AFTER_TIME`] is a minute
/// behind [`REKEY_AFTER_TIME`].
///
/// [`REJECT_AFTER_TIME`]: crate::limits::REJECT_AFTER_TIME
/// [`REKEY_AFTER_TIME`]: crate::limits::REKEY_AFTER_TIME
const REST: Duration = Duration::from_secs(8);

impl Session {
    /// Whether the peer is so long silent, data having been sent, that it is asked for new keys.
    pub(super) fn is_silent(&self, now: Instant) -> bool {
        self.doubted || self.silent_at().is_some_and(|at| at <= now)
    }

    /// When that is so, unless something comes before.
    fn silent_at(&self) -> Option<Instant> {
        Some(self.unanswered_since? + LIVENESS + self.path.round_trip)
    }

    /// When the next prompt is due, unless something comes before.
    fn prompt_at(&self) -> Option<Instant> {
        let since = self.unanswered_since.filter(|_| self.prompts < PROMPTS)?;
        Some(since + self.path.round_trip + PROMPT_AFTER + PROMPT_EVERY * self.prompts)
    }

    /// When the session is to be looked at next: at its regular turn, or sooner if something is due.
    /// `left`: until its epoch ends.
    pub(super) fn next_look(&self, left: Duration, now: Instant) -> Instant {
        let turn = if self.rests(left, now) { REST } else { SESSION_CHECK };
        let behind_nat = self.path.seen_as.map(|_| self.last_sent + NAT_KEEPALIVE);
        let keepalive = self.unacknowledged_since.map(|since| since + KEEPALIVE_AFTER);
        let asked = [self.prompt_at(), self.silent_at(), keepalive, behind_nat];
        let due = asked.into_iter().chain([self.leave_epoch_at, self.retire_at]);
        due.flatten().filter(|at| *at > now).fold(now + turn, Instant::min)
    }

    /// Only time can change what is to be done about it: neither end owes the other a word, it was
    /// quiet since the look before, and its epoch goes on. What other threads do under it is seen by
    /// looking only.
    fn rests(&self, left: Duration, now: Instant) -> bool {
        let owed = self.unanswered_since.or(self.unacknowledged_since).or(self.retire_at);
        let quiet = now.since(self.last_sent.max(self.last_received)) >= SESSION_CHECK;
        let stays = left > EPOCH_ENDS_SOON && self.leave_epoch_at.is_none_or(|at| at > now);
        owed.is_none() && quiet && stays && !self.doubted && !self.is_shared()
    }

    /// Something happened to it: if it rests, it has its regular turn again. When, if that is news.
    pub(in crate::engine) fn wake(&mut self, now: Instant) -> Option<Instant> {
        let turn = now + SESSION_CHECK;
        (self.next_check > turn).then(|| {
            self.next_check = turn;
            turn
        })
    }

    /// The peer answered something that was sent when the session was made, `took` ago.
    pub(in crate::engine) fn measured(&mut self, took: Duration) {
        self.path.round_trip = took.min(ROUND_TRIP_MAX);
    }
}

impl Engine {
    /// Asks a peer that should have said something by now.
    pub(super) fn prompt(&mut self, index: SessionIndex, now: Now) {
        let Some(session) = self.sessions.get_mut(index) else { return };
        if session.prompt_at().is_some_and(|at| at <= now.mono) {
            session.prompts += 1;
            self.send_prompt(index, now);
        }
    }
}
