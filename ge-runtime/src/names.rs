//! Names that must be protected, and the addresses they have.
//!
//! Asked is the machine's own resolver, `getaddrinfo`: it alone knows `/etc/hosts`, the search list
//! and every other source that the machine's programs go by, so that the agent is told what they
//! are told. It may take long, so a thread of its own waits for it.
//!
//! An address counts for [`ADDRESS_LIFETIME`] after it was last seen, whatever the resolver says
//! meanwhile: neither its silence nor one lie takes an address out.

use crate::clock;
use crate::command::{Command, CommandSender, SendError};
use crate::memory::Memory;
use crate::report::{NameFacts, SharedFacts};
use crate::state_dir::memory_file::ADDRESSES_PER_NAME;
use ge_core::UnixTime;
use mgmt_api::DnsName;
use std::collections::{BTreeMap, BTreeSet};
use std::io;
use std::net::{IpAddr, ToSocketAddrs};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::time::Duration;
use tracing::{debug, warn};

/// Names are asked for again after this long: the lifetime of records that change often.
/// `getaddrinfo` does not tell a record's own.
pub const REFRESH: Duration = Duration::from_secs(60);
/// The same while a name does not resolve.
const RETRY: Duration = Duration::from_secs(10);
/// An address counts for this long after it was last seen: as long as a destination once protected.
pub const ADDRESS_LIFETIME: u64 = 24 * 3600;
/// Between two attempts to hand addresses to a busy engine.
const BUSY: Duration = Duration::from_millis(50);

/// Says which names are wanted. Clones speak to the same thread.
#[derive(Clone)]
pub struct Names(Arc<Shared>);

struct Shared {
    wanted: Mutex<Wanted>,
    news: Condvar,
}

struct Wanted {
    names: Vec<DnsName>,
    changed: bool,
}

/// The addresses each name had, and until when they count.
#[derive(Default)]
pub struct Table(BTreeMap<DnsName, BTreeMap<IpAddr, UnixTime>>);

impl Table {
    /// What was remembered over a restart.
    #[must_use]
    pub fn restored(named: &[(DnsName, IpAddr, UnixTime)]) -> Self {
        let mut table = Self::default();
        for (name, address, until) in named {
            table.0.entry(name.clone()).or_default().insert(*address, *until);
        }
        table
    }

    /// Forgets names that are not wanted any more, and addresses whose time is over. An address
    /// cannot count for longer than from now on: clocks may have been set back.
    pub fn keep(&mut self, names: &[DnsName], now: UnixTime) {
        self.0.retain(|name, _| names.contains(name));
        for addresses in self.0.values_mut() {
            addresses.retain(|_, until| *until > now);
            for until in addresses.values_mut() {
                *until = (*until).min(now.plus(ADDRESS_LIFETIME));
            }
        }
    }

    /// A name was resolved. Beyond the limit the address not seen for longest makes room.
    pub fn saw(&mut self, name: &DnsName, addresses: &[IpAddr], now: UnixTime) {
        let known = self.0.entry(name.clone()).or_default();
        for address in addresses.iter().filter(|address| is_destination(**address)) {
            known.insert(*address, now.plus(ADDRESS_LIFETIME));
            if known.len() > ADDRESSES_PER_NAME {
                let oldest = known.iter().min_by_key(|(_, until)| **until).map(|(ip, _)| *ip);
                oldest.and_then(|oldest| known.remove(&oldest));
            }
        }
    }

    /// All addresses.
    #[must_use]
    pub fn addresses(&self) -> BTreeSet<IpAddr> {
        self.0.values().flat_map(BTreeMap::keys).copied().collect()
    }

    fn count(&self, name: &DnsName) -> usize {
        self.0.get(name).map_or(0, BTreeMap::len)
    }

    fn entries(&self) -> Vec<(DnsName, IpAddr, UnixTime)> {
        let all = self.0.iter().flat_map(|(name, addresses)| {
            addresses.iter().map(|(address, until)| (name.clone(), *address, *until))
        });
        all.collect()
    }
}

/// An address of another machine that packets can be sent to.
const fn is_destination(address: IpAddr) -> bool {
    !(address.is_loopback() || address.is_unspecified() || address.is_multicast())
}

impl Names {
    /// Starts the thread for these names. `table` is what was remembered of them; the engine has its
    /// addresses already.
    ///
    /// # Errors
    /// The thread cannot be started.
    pub fn start(
        names: Vec<DnsName>,
        table: Table,
        engine: CommandSender,
        memory: Memory,
        facts: SharedFacts,
    ) -> io::Result<Self> {
        let wanted = Mutex::new(Wanted { names, changed: true });
        let names = Self(Arc::new(Shared { wanted, news: Condvar::new() }));
        let worker = Worker { table, engine, memory, facts, shared: Arc::clone(&names.0) };
        // Never joined: the resolver may be in the middle of a long wait when the process ends.
        std::thread::Builder::new().name("names".into()).spawn(move || worker.run())?;
        Ok(names)
    }

    /// From here on these names are resolved.
    pub fn want(&self, names: &[DnsName]) {
        let mut wanted = self.0.lock();
        if wanted.names != names {
            names.clone_into(&mut wanted.names);
            wanted.changed = true;
            self.0.news.notify_all();
        }
    }
}

impl Shared {
    fn lock(&self) -> MutexGuard<'_, Wanted> {
        self.wanted.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Waits until `patience` is over or other names are wanted.
    fn wait(&self, patience: Duration) -> Vec<DnsName> {
        let wanted = self.lock();
        let waited = self.news.wait_timeout_while(wanted, patience, |wanted| !wanted.changed);
        let (mut wanted, _) = waited.unwrap_or_else(PoisonError::into_inner);
        wanted.changed = false;
        wanted.names.clone()
    }
}

struct Worker {
    table: Table,
    engine: CommandSender,
    memory: Memory,
    facts: SharedFacts,
    shared: Arc<Shared>,
}

impl Worker {
    fn run(mut self) {
        let mut patience = Duration::ZERO;
        let mut told = None;
        loop {
            let names = self.shared.wait(patience);
            let failing = self.resolve(&names);
            patience = if failing { RETRY } else { REFRESH };
            let addresses = self.table.addresses();
            if told.as_ref() != Some(&addresses) {
                if !self.hand_on(&addresses) {
                    return;
                }
                told = Some(addresses);
            }
        }
    }

    /// True if a name does not resolve.
    fn resolve(&mut self, names: &[DnsName]) -> bool {
        let before = self.table.entries();
        let mut report = Vec::new();
        for name in names {
            let answer = addresses_of(name);
            if let Ok(addresses) = &answer {
                self.table.saw(name, addresses, clock::now().unix);
            }
            let resolves = answer.is_ok_and(|addresses| !addresses.is_empty());
            if !resolves {
                debug!(%name, "a name that must be protected does not resolve");
            }
            report.push((name, resolves));
        }
        self.table.keep(names, clock::now().unix);
        let report = report.into_iter().map(|(name, resolves)| NameFacts {
            name: name.to_string(),
            resolves,
            addresses: self.table.count(name),
        });
        let report: Vec<NameFacts> = report.collect();
        let failing = report.iter().any(|name| !name.resolves);
        self.facts.set_names(report);
        let after = self.table.entries();
        if before != after {
            self.memory.put_named(after);
        }
        failing
    }

    /// False if the engine has ended.
    fn hand_on(&self, addresses: &BTreeSet<IpAddr>) -> bool {
        loop {
            match self.engine.send(Command::Named(addresses.clone())) {
                Ok(()) => return true,
                Err(SendError::Full) => std::thread::sleep(BUSY),
                Err(SendError::Stopped) => return false,
            }
        }
    }
}

fn addresses_of(name: &DnsName) -> io::Result<Vec<IpAddr>> {
    let found = (name.as_str(), 0).to_socket_addrs()?;
    let addresses: Vec<IpAddr> = found.map(|at| at.ip().to_canonical()).collect();
    if addresses.len() > ADDRESSES_PER_NAME {
        warn!(%name, count = addresses.len(), "a name has more addresses than are remembered");
    }
    Ok(addresses)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn name() -> DnsName {
        "db.example.org".parse().unwrap()
    }

    fn ip(n: u32) -> IpAddr {
        std::net::Ipv4Addr::from(0x0a00_0000 + n).into()
    }

    #[test]
    fn neither_silence_nor_a_lie_takes_an_address_out() {
        let mut table = Table::default();
        table.saw(&name(), &[ip(1)], UnixTime(1000));
        table.saw(&name(), &[], UnixTime(2000));
        table.saw(&name(), &[ip(66)], UnixTime(3000));
        table.keep(&[name()], UnixTime(3000));
        assert_eq!(table.addresses(), [ip(1), ip(66)].into());
        table.keep(&[name()], UnixTime(1000 + ADDRESS_LIFETIME - 1));
        assert!(table.addresses().contains(&ip(1)));
        table.keep(&[name()], UnixTime(1000 + ADDRESS_LIFETIME));
        assert_eq!(table.addresses(), [ip(66)].into(), "its time is over");
        table.keep(&[], UnixTime(4000));
        assert!(table.addresses().is_empty(), "the policy no longer names it");
    }

    #[test]
    fn what_is_no_destination_is_passed_over_and_the_rest_is_bounded() {
        let mut table = Table::default();
        let odd =
            ["127.0.0.1", "::1", "0.0.0.0", "224.0.0.1", "ff02::1"].map(|a| a.parse().unwrap());
        table.saw(&name(), &odd, UnixTime(1));
        assert!(table.addresses().is_empty());
        for n in 0..2 * ADDRESSES_PER_NAME as u32 {
            table.saw(&name(), &[ip(n)], UnixTime(u64::from(n)));
        }
        assert_eq!(table.addresses().len(), ADDRESSES_PER_NAME);
        assert!(!table.addresses().contains(&ip(0)), "the oldest went");
    }

    #[test]
    fn restored_as_remembered_but_no_longer_than_from_now() {
        let mut table = Table::default();
        table.saw(&name(), &[ip(1)], UnixTime(1_000_000));
        let mut again = Table::restored(&table.entries());
        again.keep(&[name()], UnixTime(500));
        assert_eq!(again.entries(), [(name(), ip(1), UnixTime(500 + ADDRESS_LIFETIME))]);
    }

    #[test]
    fn the_machines_own_resolver_is_asked() {
        let local = addresses_of(&"localhost".parse().unwrap()).unwrap();
        assert!(local.iter().any(IpAddr::is_loopback), "{local:?}");
    }
}
