//! Destinations once seen protected. While one is remembered, open mode does not talk to it in
//! clear: silence may be an attacker's doing. PROTOCOL.md 2.5, "sticky secure memory".

use crate::limits::{STICKY_ENTRIES, STICKY_LIFETIME};
use crate::now::Instant;
use core::net::IpAddr;
use std::collections::BTreeMap;

#[derive(Default)]
pub(super) struct Sticky {
    until: BTreeMap<IpAddr, Instant>,
}

impl Sticky {
    /// Remembers `remote`. At the limit the entry that ends first makes room.
    pub(super) fn remember(&mut self, remote: IpAddr, now: Instant) {
        if self.until.len() >= STICKY_ENTRIES && !self.until.contains_key(&remote) {
            let oldest = self.until.iter().min_by_key(|(_, until)| **until).map(|(ip, _)| *ip);
            if let Some(oldest) = oldest {
                self.until.remove(&oldest);
            }
        }
        self.until.insert(remote, now + STICKY_LIFETIME);
    }

    /// Forgets `remote`: it said itself, authenticated, that it goes on in clear.
    pub(super) fn forget(&mut self, remote: IpAddr) {
        self.until.remove(&remote);
    }

    pub(super) fn contains(&self, remote: IpAddr, now: Instant) -> bool {
        self.until.get(&remote).is_some_and(|until| *until > now)
    }

    pub(super) fn len(&self) -> usize {
        self.until.len()
    }
}
