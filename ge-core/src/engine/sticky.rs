//! Destinations once seen protected. While one is remembered, open mode does not talk to it in
//! clear: silence may be an attacker's doing. PROTOCOL.md 2.5, "sticky secure memory".
//!
//! Kept by pair of hosts, asked by destination: also which of our addresses it was protected from
//! matters, when one of them is missing from the list of addresses.

use super::Engine;
use super::row::{Row, RowState};
use crate::flow::HostPair;
use crate::limits::{STICKY_ENTRIES, STICKY_LIFETIME};
use crate::mode::Prefix;
use crate::now::Instant;
use crate::{Mode, Now, UnixTime};
use core::net::{IpAddr, Ipv4Addr};
use core::time::Duration;
use std::collections::{BTreeMap, BTreeSet};

/// Before every other address.
const FIRST: IpAddr = IpAddr::V4(Ipv4Addr::UNSPECIFIED);

#[derive(Default)]
pub(super) struct Sticky {
    /// By remote and local address.
    until: BTreeMap<(IpAddr, IpAddr), Instant>,
    /// Grows with every pair that comes or is forgotten.
    changes: u64,
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
        self.insert(key, now + STICKY_LIFETIME);
    }

    fn insert(&mut self, key: (IpAddr, IpAddr), until: Instant) {
        if self.until.insert(key, until).is_none() {
            self.changes += 1;
        }
    }

    /// Forgets everything.
    pub(super) fn forget_all(&mut self) {
        self.until.clear();
        self.changes += 1;
    }

    /// Forgets `remote`: it said itself, authenticated, that it goes on in clear.
    pub(super) fn forget(&mut self, remote: IpAddr) {
        let known: Vec<_> = self.of_remote(remote).map(|(key, _)| *key).collect();
        for key in known {
            self.until.remove(&key);
            self.changes += 1;
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
            || self.named.contains(&remote)
    }

    /// What the policy says is never talked to in clear: ranges, and addresses of names.
    #[must_use]
    pub fn guarded(&self) -> (&[Prefix], &BTreeSet<IpAddr>) {
        let ranges = self.membership.as_ref().map(|own| own.must_protect.as_slice());
        (ranges.unwrap_or_default(), &self.named)
    }

    /// Names of which the runtime is to find the addresses.
    #[must_use]
    pub fn must_protect_names(&self) -> &[String] {
        let names = self.membership.as_ref().map(|own| own.must_protect_names.as_slice());
        names.unwrap_or_default()
    }

    /// The addresses of these names, all of them. What went in clear to a new one ends.
    pub fn set_named(&mut self, addresses: BTreeSet<IpAddr>) {
        let clear: Vec<HostPair> = self
            .pit
            .iter()
            .filter(|(_, row)| matches!(row.state, RowState::Clear(_)))
            .map(|(key, _)| key.pair)
            .filter(|pair| {
                let remote = pair.remote.0;
                addresses.contains(&remote) && !self.named.contains(&remote)
            })
            .collect();
        self.named = addresses;
        for pair in clear {
            self.forget_row(pair);
        }
    }

    /// Grows with every destination that is remembered anew or forgotten: when to write them down.
    #[must_use]
    pub const fn sticky_changes(&self) -> u64 {
        self.sticky.changes
    }

    /// Destinations once protected, and until when that counts, in wall time: what has to be
    /// remembered over a restart.
    #[must_use]
    pub fn sticky(&self, now: Now) -> Vec<(HostPair, UnixTime)> {
        let alive = self.sticky.until.iter().filter(|(_, until)| **until > now.mono);
        let entry = |(&(remote, local), until): (&(IpAddr, IpAddr), &Instant)| {
            (HostPair::new(local, remote), now.unix.plus(until.since(now.mono).as_secs()))
        };
        alive.map(entry).collect()
    }

    /// Takes over what was remembered. No entry counts for longer than from now on; one whose time
    /// is over does not count.
    pub fn restore_sticky(&mut self, entries: &[(HostPair, UnixTime)], now: Now) {
        for (pair, until) in entries.iter().take(STICKY_ENTRIES) {
            let left = Duration::from_secs(until.0.saturating_sub(now.unix.0));
            if !left.is_zero() {
                self.sticky.insert(key(*pair), now.mono + left.min(STICKY_LIFETIME));
            }
        }
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
