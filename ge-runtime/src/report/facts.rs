//! What the runtime knows beside the engine: when it started, its interfaces, its server.
//!
//! The parts that learn these things (server client, interface watch) write them here; reports
//! read them. One lock, held for a copy.

use crate::ledger::Ledger;
use crate::options::{Prefix, RunOptions};
use crate::program::Program;
use ge_core::Role;
use serde::{Deserialize, Serialize};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::SystemTime;

/// What the runtime knows beside the engine.
#[derive(Clone, Debug)]
pub struct Facts {
    /// Which agent.
    pub program: Program,
    /// When the agent started.
    pub started: SystemTime,
    /// Names of the interfaces under the hook.
    pub interfaces: Vec<String>,
    /// Ranges a router is certified to stand for.
    pub prefixes: Vec<Prefix>,
    /// Ranges it was told to protect.
    pub protect: Vec<Prefix>,
    /// The management server.
    pub server: ServerFacts,
    /// What is wrong with the memory of destinations, if anything is.
    pub memory_fault: Option<MemoryFault>,
    /// Names that must be protected.
    pub names: Vec<NameFacts>,
}

/// What is wrong with the memory of destinations.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum MemoryFault {
    /// The file could not be believed; the agent started without.
    Lost,
    /// It cannot be written.
    NotWritten,
}

/// A name that must be protected, as last looked up.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct NameFacts {
    /// The name.
    pub name: String,
    /// The resolver gave an address for it the last time.
    pub resolves: bool,
    /// Addresses that count for it, remembered ones too.
    pub addresses: usize,
}

/// The management server as the agent sees it.
#[derive(Clone, Debug, Default)]
pub struct ServerFacts {
    /// Base URL.
    pub url: Option<String>,
    /// When it last answered.
    pub last_contact: Option<SystemTime>,
    /// Since when it has not answered; `None` while it does.
    pub unreachable_since: Option<SystemTime>,
}

/// [`Facts`] that several threads write and read.
#[derive(Clone)]
pub struct SharedFacts {
    facts: Arc<Mutex<Facts>>,
    ledger: Arc<Ledger>,
}

impl SharedFacts {
    /// An agent with these options that starts now.
    #[must_use]
    pub fn new(started: SystemTime, options: &RunOptions) -> Self {
        let facts = Facts {
            program: options.program,
            started,
            interfaces: Vec::new(),
            prefixes: Vec::new(),
            protect: options.protect.clone(),
            server: ServerFacts { url: options.server.clone(), ..ServerFacts::default() },
            memory_fault: None,
            names: Vec::new(),
        };
        let ledger = Arc::new(Ledger::new(options.offloads));
        Self { facts: Arc::new(Mutex::new(facts)), ledger }
    }

    /// What becomes of offloads, and of packets that the kernel does not take.
    #[must_use]
    pub fn ledger(&self) -> Arc<Ledger> {
        Arc::clone(&self.ledger)
    }

    /// A copy for a report.
    #[must_use]
    pub fn get(&self) -> Facts {
        self.lock().clone()
    }

    /// The interfaces under the hook changed.
    pub fn set_interfaces(&self, names: Vec<String>) {
        self.lock().interfaces = names;
    }

    /// A membership is in force.
    pub fn set_role(&self, role: &Role) {
        self.lock().prefixes = match role {
            Role::Host => Vec::new(),
            Role::Router { prefixes } => prefixes
                .iter()
                .filter_map(|prefix| Prefix::covering(prefix.address, prefix.length))
                .collect(),
        };
    }

    /// The memory of destinations is not as it should be.
    pub fn set_memory_fault(&self, fault: Option<MemoryFault>) {
        self.lock().memory_fault = fault;
    }

    /// It was written. What was lost at the start stays lost.
    pub fn memory_written(&self) {
        let facts = &mut self.lock();
        facts.memory_fault = facts.memory_fault.filter(|fault| *fault == MemoryFault::Lost);
    }

    /// Names were looked up.
    pub fn set_names(&self, names: Vec<NameFacts>) {
        self.lock().names = names;
    }

    /// The server's address became known or changed.
    pub fn set_server(&self, url: String) {
        self.lock().server.url = Some(url);
    }

    /// The server answered.
    pub fn server_reached(&self, now: SystemTime) {
        let server = &mut self.lock().server;
        server.last_contact = Some(now);
        server.unreachable_since = None;
    }

    /// The server did not answer. Only the first failure in a row counts.
    pub fn server_failed(&self, now: SystemTime) {
        self.lock().server.unreachable_since.get_or_insert(now);
    }

    fn lock(&self) -> MutexGuard<'_, Facts> {
        // A writer cannot leave the facts half written: each stores one value.
        self.facts.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::time::{Duration, UNIX_EPOCH};

    #[test]
    fn the_first_failure_in_a_row_dates_the_outage() {
        let at = |secs| UNIX_EPOCH + Duration::from_secs(secs);
        let facts = SharedFacts::new(at(0), &RunOptions::new(Program::Ges));
        facts.server_reached(at(10));
        facts.server_failed(at(20));
        facts.server_failed(at(30));
        assert_eq!(facts.get().server.unreachable_since, Some(at(20)));
        facts.server_reached(at(40));
        assert_eq!(facts.get().server.unreachable_since, None);
        assert_eq!(facts.get().server.last_contact, Some(at(40)));
    }
}
