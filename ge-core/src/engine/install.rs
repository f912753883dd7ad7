//! A new version of the policy: keys, mode, groups, removals.

use super::Engine;
use super::row::{Row, RowState};
use crate::Now;
use crate::flow::{FlowKey, HostPair};
use crate::keyring::{Keyring, KeyringError};
use crate::membership::Membership;

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
        self.keyring = Some(keyring);
        self.mode = membership.mode;
        self.membership = Some(membership);
        self.reconsider_plain_rows();
        self.check_all_sessions(now);
        Ok(())
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
