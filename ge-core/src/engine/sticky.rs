//! Destinations once seen protected. While one is remembered, open mode does not talk to it in
//! clear: silence may be an attacker's doing. PROTOCOL.md 2.5, "sticky secure memory".
//!
//! Kept by pair of hosts, asked by destination: also which of our addresses it was protected from
//! matters, when one of them is missing from the list of addresses.

use super::Engine;
use super::row::{Row, RowState};
use crate::flow::HostPair;
use crate::limits::{STICKY_ENTRIES, STICKY_LIFETIME};
use crate::now::Instant;
use crate::{Mode, Now};
use core::net::{IpAddr, Ipv4Addr};
use std::collections::BTreeMap;

/// Before every other address.
const FIRST: IpAddr = IpAddr::V4(Ipv4Addr::UNSPECIFIED);

#[derive(Default)]
pub(super) struct Sticky {
    /// By remote and local address.
    until: BTreeMap<(IpAddr, IpAddr), Instant>,
}

impl Sticky {
    /// Remembers a pair. At the limit the entry that ends first makes room.
    pub(super) fn remember(&mut self, pair: HostPair, now: Instant) {
        let key = key(pair);
        if self.until.len() >= STICKY_ENTRIES && !self.until.contains_key(&key) {
            let oldest = self.until.iter().min_by_key(|(_, until)| **until).map(|(key, _)| *key);
            if let Some(oldest) = oldest {
                self.until.remove(&oldest);
            }
        }
        self.until.insert(key, now + STICKY_LIFETIME);
    }

    /// Forgets `remote`: it said itself, authenticated, that it goes on in clear.
    pub(super) fn forget(&mut self, remote: IpAddr) {
        let known: Vec<_> = self.of_remote(remote).map(|(key, _)| *key).collect();
        for key in known {
            self.until.remove(&key);
        }
    }

    /// Whether `remote` was protected from any of our addresses.
    pub(super) fn contains(&self, remote: IpAddr, now: Instant) -> bool {
        self.of_remote(remote).any(|(_, until)| *until > now)
    }

    /// Whether exactly this pair was.
    pub(super) fn contains_pair(&self, pair: HostPair, now: Instant) -> bool {
        self.until.get(&key(pair)).is_some_and(|until| *until > now)
    }

    pub(super) fn len(&self) -> usize {
        self.until.len()
    }

    fn of_remote(&self, remote: IpAddr) -> impl Iterator<Item = (&(IpAddr, IpAddr), &Instant)> {
        self.until.range((remote, FIRST)..).take_while(move |((known, _), _)| *known == remote)
    }
}

const fn key(pair: HostPair) -> (IpAddr, IpAddr) {
    (pair.remote.0, pair.local.0)
}

impl Engine {
    /// In open mode and yet not content if the flow comes in clear: by policy, or because it was once
    /// protected, and is not now.
    pub(super) fn is_wary(&self, pair: HostPair, now: Now) -> bool {
        let protected = self.pit.get(pair).and_then(Row::protected).is_some();
        self.mode() == Mode::Open && !protected && !self.may_pass(pair.remote.0, now)
    }

    /// Whether packets to and from `remote` may go in clear for want of an agreement. Asked when a
    /// verdict is due, not when the question goes out: both mode and memory may change meanwhile.
    pub(super) fn may_pass(&self, remote: IpAddr, now: Now) -> bool {
        self.mode() == Mode::Open
            && !self.must_protect(remote)
            && !self.sticky.contains(remote, now.mono)
    }

    /// Whether the policy says that `remote` is never talked to in clear.
    pub(super) fn must_protect(&self, remote: IpAddr) -> bool {
        let policy = self.membership.as_ref().map(|own| own.must_protect.as_slice());
        policy.unwrap_or_default().iter().any(|prefix| prefix.contains(remote))
    }

    /// From here on none of our addresses talks to the remote host in clear. The kernel hears of it
    /// before any message says that the pair is protected.
    pub(super) fn remember(&mut self, pair: HostPair, now: Now) {
        self.forget_offload(pair);
        let news = !self.sticky.contains(pair.remote.0, now.mono);
        self.sticky.remember(pair, now.mono);
        if !news {
            return;
        }
        let own: Vec<IpAddr> = self.local_addresses.iter().copied().collect();
        for other in own.into_iter().map(|own| HostPair::new(own, pair.remote.0)) {
            let clear = matches!(self.pit.get(other), Some(Row { state: RowState::Clear(_), .. }));
            if clear && other != pair {
                self.forget_row(other);
            }
        }
    }
}
