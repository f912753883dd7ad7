//! A new version of the policy: keys, mode, groups, removals.

use super::Engine;
use super::observe::Observed;
use super::row::{Row, RowState};
use crate::Now;
use crate::flow::{FlowKey, HostPair};
use crate::keyring::{Keyring, KeyringError};
use crate::limits::{OPEN_HOLD, pit_rows};
use crate::membership::Membership;
use crate::mode::Transit;
use crate::timer::Timer;
use crate::wire::dprp::Consent;

impl Engine {
    /// Puts a membership in force. An older version than the present one is ignored: policy never
    /// goes back (THREATS row 44).
    ///
    /// # Errors
    /// If keys or certificate in it cannot be used; the present membership stays in force.
    pub fn install(&mut self, membership: Membership, now: Now) -> Result<(), KeyringError> {
        if self.membership.as_ref().is_some_and(|present| membership.version < present.version) {
            return Ok(());
        }
        let keyring = Keyring::new(&self.identity, &membership)?;
        if self.is_stricter(&keyring, &membership) {
            self.forget_others_sessions();
        }
        self.keyring = Some(keyring);
        self.mode = membership.mode;
        if !membership.observe {
            self.observed = Observed::default();
        }
        self.pit.set_capacity(pit_rows(&membership.role));
        self.membership = Some(membership);
        self.answers.forget_refusals();
        self.reconsider_plain_rows();
        self.reconsider_pending_rows(now);
        self.check_all_sessions(now);
        Ok(())
    }

    /// What this agent asks of sessions of others has changed, and it asks something.
    fn is_stricter(&self, keyring: &Keyring, membership: &Membership) -> bool {
        let consent = keyring.consent();
        let ids = |of: &Membership| of.groups.iter().map(|group| group.id).collect::<Vec<_>>();
        let same = self.keyring.as_ref().is_some_and(|present| present.consent() == consent)
            && self.membership.as_ref().is_some_and(|present| ids(present) == ids(membership));
        !same && !matches!(consent, Consent::Open | Consent::Closed(Transit::Any))
    }

    /// Sessions of others that were let pass under another policy: their ends ask again, and hear
    /// what holds now.
    fn forget_others_sessions(&mut self) {
        for pair in self.pairs() {
            let others =
                matches!(self.pit.get(pair), Some(Row { state: RowState::Transit(_), .. }));
            if others {
                self.forget_row(pair);
            }
        }
    }

    /// Whether the held packets of a flow may pass follows the mode in force, not the one in which
    /// the question was asked.
    fn reconsider_pending_rows(&mut self, now: Now) {
        for pair in self.pairs() {
            let pending =
                matches!(self.pit.get(pair), Some(Row { state: RowState::Pending(_), .. }));
            if pending && self.may_pass(pair.remote.0, now) {
                self.timers.set(now.mono + OPEN_HOLD, Timer::HoldOver(pair));
            }
        }
    }

    /// Whether a plain or dropped verdict still holds is a question for the next packet; flows
    /// that are being negotiated or protected are left alone.
    fn reconsider_plain_rows(&mut self) {
        let plain: Vec<HostPair> = self
            .pit
            .iter()
            .filter(|(_, Row { state, .. })| {
                matches!(state, RowState::Clear(_) | RowState::Dropped(_))
            })
            .map(|(FlowKey { pair, .. }, _)| *pair)
            .collect();
        for pair in plain {
            self.forget_row(pair);
        }
    }
}
