//! What an agent remembers of destinations over a restart: which were once protected, and which
//! addresses the names had that must be. A thread of its own writes it, so that the packet path
//! never waits for a disk.
//!
//! ```text
//! engine thread --sticky--+
//!                         +--> newest contents --(at most once a second)--> DIR/memory.seal
//! names thread --named----+
//! ```
//! The file is replaced as a whole. One that cannot be read is ignored, and said so: an agent that
//! does not start protects nobody.

use crate::clock;
use crate::entropy;
use crate::report::{MemoryFault, SharedFacts};
use crate::state_dir::memory_file::{self, Remembered};
use crate::state_dir::{StateError, replace, sealed};
use ge_core::UnixTime;
use ge_core::flow::HostPair;
use ge_core::membership::Identity;
use mgmt_api::DnsName;
use std::fs;
use std::io;
use std::net::IpAddr;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::thread::JoinHandle;
use std::time::Duration;
use tracing::warn;

/// Name of the file in the state directory.
pub const FILE: &str = "memory.seal";

/// Between two writes: what is news is on the disk within this time, and a disk is not worn out by
/// a machine that talks to many.
pub const WRITE_EVERY: Duration = Duration::from_secs(1);

/// The writer's end. Clones write to the same file.
#[derive(Clone)]
pub struct Memory(Arc<Shared>);

/// The thread behind a [`Memory`]; dropping it writes what is not written yet.
pub struct Writer {
    memory: Memory,
    thread: Option<JoinHandle<()>>,
}

struct Shared {
    state: Mutex<State>,
    wake: Condvar,
}

struct State {
    contents: Remembered,
    dirty: bool,
    stop: bool,
}

impl Memory {
    /// Reads the memory in `directory` and starts the thread that writes it. Gives what was
    /// remembered: nothing, if the file is not there or cannot be believed.
    ///
    /// # Errors
    /// The thread cannot be started.
    pub fn open(
        directory: &Path,
        identity: &Identity,
        facts: SharedFacts,
    ) -> io::Result<(Self, Writer, Remembered)> {
        let contents = match read(directory, identity) {
            Ok(contents) => contents,
            Err(cause) => {
                warn!(
                    file = %directory.join(FILE).display(), cause,
                    "what was protected before this start is not remembered"
                );
                facts.set_memory_fault(Some(MemoryFault::Lost));
                Remembered::default()
            }
        };
        let state = State { contents: contents.clone(), dirty: false, stop: false };
        let memory = Self(Arc::new(Shared { state: Mutex::new(state), wake: Condvar::new() }));
        let file = File { directory: directory.to_owned(), identity: identity.clone(), facts };
        let shared = Arc::clone(&memory.0);
        let thread = std::thread::Builder::new()
            .name("memory".into())
            .spawn(move || write(&shared, &file))?;
        Ok((memory.clone(), Writer { memory, thread: Some(thread) }, contents))
    }

    /// Replaces what is remembered of protected destinations.
    pub fn put_sticky(&self, sticky: Vec<(HostPair, UnixTime)>) {
        self.change(|contents| contents.sticky = sticky);
    }

    /// Replaces what is remembered of names.
    pub fn put_named(&self, named: Vec<(DnsName, IpAddr, UnixTime)>) {
        self.change(|contents| contents.named = named);
    }

    fn change(&self, change: impl FnOnce(&mut Remembered)) {
        let mut state = self.0.lock();
        change(&mut state.contents);
        state.contents.ahead = clock::server_ahead();
        state.dirty = true;
        self.0.wake.notify_all();
    }
}

impl Shared {
    /// Whoever panicked with the lock left whole contents: each change replaces one value.
    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Drop for Writer {
    fn drop(&mut self) {
        self.memory.0.lock().stop = true;
        self.memory.0.wake.notify_all();
        // A thread that panicked has said so.
        let _ = self.thread.take().map(JoinHandle::join);
    }
}

struct File {
    directory: PathBuf,
    identity: Identity,
    facts: SharedFacts,
}

fn read(directory: &Path, identity: &Identity) -> Result<Remembered, &'static str> {
    match fs::read(directory.join(FILE)) {
        Ok(bytes) => sealed::open_memory(identity, &bytes)
            .and_then(|text| memory_file::parse(&text))
            .ok_or("the file is damaged or of another machine"),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(Remembered::default()),
        Err(_) => Err("the file cannot be read"),
    }
}

fn write(shared: &Shared, file: &File) {
    loop {
        let mut state = shared.lock();
        while !state.dirty && !state.stop {
            state = shared.wake.wait(state).unwrap_or_else(PoisonError::into_inner);
        }
        if !state.dirty {
            return;
        }
        state.dirty = false;
        let bytes = memory_file::emit(&state.contents);
        drop(state);
        file.write(&bytes);
        let state = shared.lock();
        // Not woken by news, only by the end.
        let waited = shared.wake.wait_timeout_while(state, WRITE_EVERY, |state| !state.stop);
        drop(waited.unwrap_or_else(PoisonError::into_inner));
    }
}

impl File {
    fn write(&self, text: &[u8]) {
        match self.try_write(text) {
            Ok(()) => self.facts.memory_written(),
            Err(error) => {
                warn!(%error, "what is protected now would not be remembered after a restart");
                self.facts.set_memory_fault(Some(MemoryFault::NotWritten));
            }
        }
    }

    fn try_write(&self, text: &[u8]) -> Result<(), StateError> {
        let mut nonce = [0; sealed::NONCE];
        entropy::fill(&mut nonce)?;
        replace(&self.directory, FILE, &sealed::seal_memory(&self.identity, &nonce, text))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::options::RunOptions;
    use crate::program::Program;
    use ge_core::membership::Secret32;
    use std::time::SystemTime;

    fn identity() -> Identity {
        Identity { identity: Secret32([1; 32]), noise_static: Secret32([2; 32]) }
    }

    fn facts() -> SharedFacts {
        SharedFacts::new(SystemTime::now(), &RunOptions::new(Program::Ges))
    }

    fn entry() -> (HostPair, UnixTime) {
        let pair = HostPair::new([10, 0, 0, 1].into(), [10, 0, 0, 2].into());
        (pair, UnixTime(1_900_000_000))
    }

    #[test]
    fn what_was_put_is_there_at_the_next_start() {
        let directory = tempfile::tempdir().unwrap();
        let facts = facts();
        let open = || Memory::open(directory.path(), &identity(), facts.clone()).unwrap();
        let (memory, writer, kept) = open();
        assert_eq!(kept, Remembered::default());
        memory.put_sticky(vec![entry()]);
        drop(writer);
        let (memory, writer, kept) = open();
        assert_eq!(kept.sticky, [entry()]);
        memory.put_named(vec![("a.example".parse().unwrap(), [10, 0, 0, 9].into(), UnixTime(9))]);
        drop(writer);
        let (_, _writer, kept) = open();
        assert_eq!(
            (kept.sticky.len(), kept.named.len()),
            (1, 1),
            "one part does not erase the other"
        );
        assert_eq!(facts.get().memory_fault, None);
    }

    #[test]
    fn a_torn_file_is_ignored_and_told_until_a_whole_one_is_written() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join(FILE);
        let facts = facts();
        let (memory, writer, _) =
            Memory::open(directory.path(), &identity(), facts.clone()).unwrap();
        memory.put_sticky(vec![entry()]);
        drop(writer);
        let whole = fs::read(&path).unwrap();
        for torn in [&whole[..whole.len() - 1], &whole[..8], b"", &[0xff; 300]] {
            fs::write(&path, torn).unwrap();
            let (_, _writer, kept) =
                Memory::open(directory.path(), &identity(), facts.clone()).unwrap();
            assert_eq!(kept, Remembered::default(), "{} bytes", torn.len());
            assert_eq!(facts.get().memory_fault, Some(MemoryFault::Lost));
        }
    }

    #[test]
    fn a_disk_that_takes_nothing_is_told() {
        let directory = tempfile::tempdir().unwrap();
        let facts = facts();
        let (memory, writer, _) =
            Memory::open(directory.path(), &identity(), facts.clone()).unwrap();
        fs::remove_dir(directory.path()).unwrap();
        memory.put_sticky(vec![entry()]);
        drop(writer);
        assert_eq!(facts.get().memory_fault, Some(MemoryFault::NotWritten));
    }
}
