//! Whether the peer of a session is there: asked inside the session, so that nobody else can say so.
//!
//! ```text
//! data ===========>                    nothing comes back (a living peer would have sent a keepalive)
//!      0.6  0.7  0.8  0.9 s            prompts in the session; any authentic datagram ends the matter
//!      1.0 s + one round trip          DDE beside the session: fresh keys with whoever is there now
//! ```
//! An agent that lost its session, at an end or between, cannot prove anything about it: whatever it
//! said, anybody could say (decision 0017). So nobody says it, and silence is noticed sooner instead.

use super::Session;
use crate::Now;
use crate::engine::Engine;
use crate::id::SessionIndex;
use crate::limits::{LIVENESS, PROMPT_AFTER, PROMPT_EVERY, PROMPTS, ROUND_TRIP_MAX};
use crate::now::Instant;
use core::time::Duration;

impl Session {
    /// Whether the peer is so long silent, data having been sent, that it is asked for new keys.
    pub(super) fn is_silent(&self, now: Instant) -> bool {
        self.doubted || self.silent_at().is_some_and(|at| at <= now)
    }

    /// When that is so, unless something comes before.
    pub(super) fn silent_at(&self) -> Option<Instant> {
        Some(self.unanswered_since? + LIVENESS + self.path.round_trip)
    }

    /// When the next prompt is due, unless something comes before.
    pub(super) fn prompt_at(&self) -> Option<Instant> {
        let since = self.unanswered_since.filter(|_| self.prompts < PROMPTS)?;
        Some(since + self.path.round_trip + PROMPT_AFTER + PROMPT_EVERY * self.prompts)
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
