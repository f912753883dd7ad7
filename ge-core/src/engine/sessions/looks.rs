//! When a session is looked at next: every half second while it is in use, and seldom at rest.
//!
//! What happens to a session by itself happens at times that are known beforehand, and all else begins
//! with a packet. The first packet after a pause says so: where the engine handles it, here; where
//! another thread does, by [`FastPath::take_woken`](crate::fast_path::FastPath::take_woken).

use super::{EPOCH_ENDS_SOON, Session};
use crate::Now;
use crate::engine::Engine;
use crate::id::SessionIndex;
use crate::limits::{
    KEEPALIVE_AFTER, NAT_KEEPALIVE, REJECT_AFTER_TIME, REKEY_AFTER_TIME, REKEY_HANDOVER, REST_AFTER,
};
use crate::now::Instant;
use core::time::Duration;

/// How often a session in use is looked at: a fraction of its shortest interval.
const IN_USE: Duration = Duration::from_millis(500);
/// How often one at rest is, beside the times at which something is due: to forget a row that is idle,
/// and since the wall clock may be put right.
const AT_REST: Duration = Duration::from_secs(15);

impl Session {
    /// Nothing came or went for a while, and nobody owes anybody anything.
    fn is_at_rest(&self, now: Instant) -> bool {
        let last = self.last_sent.max(self.last_received);
        let settled = self.unanswered_since.is_none() && self.unacknowledged_since.is_none();
        settled && !self.doubted && now.since(last) >= REST_AFTER
    }

    /// It is not looked at any time soon.
    pub(in crate::engine) fn is_left_alone(&self, now: Instant) -> bool {
        self.next_check > now + IN_USE
    }

    /// When something is due whether or not it is used, unless that is past.
    fn next_deadline(&self, now: Instant) -> Option<Instant> {
        let rekey = self.created + REKEY_AFTER_TIME;
        let times = [
            self.prompt_at(),
            self.silent_at(),
            self.unacknowledged_since.map(|since| since + KEEPALIVE_AFTER),
            self.retire_at,
            self.leave_epoch_at,
            self.path.seen_as.map(|_| self.last_sent + NAT_KEEPALIVE),
            Some(if self.initiator { rekey } else { rekey + REKEY_HANDOVER }),
            Some(self.created + REJECT_AFTER_TIME),
        ];
        times.into_iter().flatten().filter(|at| *at > now).min()
    }
}

impl Engine {
    /// A session was looked at, and is to be looked at again.
    pub(super) fn arm_next_look(&mut self, index: SessionIndex, now: Now) {
        let Some(session) = self.sessions.get(index) else { return };
        let resting = session.is_at_rest(now.mono)
            && !session.wants_rekey(&self.key_limits, now.mono)
            && !self.awaits_inquiry(session.pair);
        let regular = now.mono + if resting { AT_REST } else { IN_USE };
        let ends = self.keyring.as_ref().and_then(|k| k.epoch_ends(session.group, session.epoch));
        let left = Duration::from_secs(ends.map_or(0, |ends| ends.0.saturating_sub(now.unix.0)));
        // Before its end it may have to move on to a newer one.
        let epoch = [left, left.saturating_sub(EPOCH_ENDS_SOON)];
        let epoch = epoch.into_iter().filter(|left| !left.is_zero()).map(|left| now.mono + left);
        let due = session.next_deadline(now.mono).into_iter().chain(epoch);
        self.arm_check(index, due.fold(regular, Instant::min));
    }

    /// A session is used again, or doubted.
    pub(in crate::engine) fn keep_looking(&mut self, index: SessionIndex, now: Now) {
        self.look_by(index, now.mono + IN_USE);
    }

    /// Another thread uses a session again, which had not for a while.
    pub fn woken(&mut self, index: SessionIndex, now: Now) {
        if self.sessions.get(index).is_some_and(|session| session.is_left_alone(now.mono)) {
            self.look_by(index, now.mono);
        }
    }

    /// Looks at a session at `at`, unless it does so before.
    pub(super) fn look_by(&mut self, index: SessionIndex, at: Instant) {
        if self.sessions.get(index).is_some_and(|session| session.next_check > at) {
            self.arm_check(index, at);
        }
    }
}
