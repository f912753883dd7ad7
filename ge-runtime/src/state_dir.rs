//! What an agent keeps between two runs.
//!
//! ```text
//! DIR/               0700
//!   identity.key     0600  private keys, made here, never sent
//!   enrolment.json   0600  server, its key's fingerprint, the domain's root key, our agent id
//!   version          0600  highest version of the membership ever put in force
//!   membership.seal  0600  last membership, sealed under the identity (sealed.rs)
//!   memory.seal      0600  destinations once protected, addresses of names (memory.rs)
//!   lock             0600  held by the running agent
//! ```
//!
//! Every file is replaced as a whole (temporary file, fsync, rename, fsync of the directory), so a
//! torn write leaves the old one. A damaged identity or enrolment is an error with the fix; a
//! damaged sealed membership is only logged, because the server has it. The bytes of each file are
//! made and read by a module without I/O.

pub mod enrolment_file;
pub mod identity_file;
pub mod memory_file;
pub mod sealed;
pub mod version_file;

pub use enrolment_file::Enrolment;

use crate::entropy::{self, EntropyError};
use ge_core::membership::{Identity, Secret32};
use mgmt_api::Bundle;
use nix::errno::Errno;
use nix::fcntl::{Flock, FlockArg};
use std::fs::{self, DirBuilder, File, OpenOptions, Permissions};
use std::io::{self, Write};
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt, PermissionsExt};
use std::path::{Path, PathBuf};
use zeroize::Zeroizing;

const IDENTITY: &str = "identity.key";
const ENROLMENT: &str = "enrolment.json";
const VERSION: &str = "version";
const MEMBERSHIP: &str = "membership.seal";
const LOCK: &str = "lock";

/// Why state cannot be used. One sentence with the fix.
#[derive(Debug, thiserror::Error)]
pub enum StateError {
    /// The operating system refused.
    #[error("cannot {what} {}: {cause}; run the agent as the user who owns the state directory", path.display())]
    Io {
        /// What was tried.
        what: &'static str,
        /// On which file.
        path: PathBuf,
        /// What the operating system said.
        cause: io::Error,
    },
    /// A file is not what this program wrote.
    #[error(
        "{} is damaged; restore it, or remove {} and enrol again with a new token", file.display(),
        dir.display()
    )]
    Damaged {
        /// The file.
        file: PathBuf,
        /// The state directory.
        dir: PathBuf,
    },
    /// Another agent holds the directory.
    #[error("another agent uses {}; stop it first, or give this one another --state", .0.display())]
    InUse(PathBuf),
    /// No keys without randomness.
    #[error(transparent)]
    Entropy(#[from] EntropyError),
}

/// A state directory, held by this process alone.
#[derive(Debug)]
pub struct StateDir {
    path: PathBuf,
    _lock: Flock<File>,
}

impl StateDir {
    /// Opens `path`, making it if need be, and closes it to other users.
    ///
    /// # Errors
    /// Another agent holds it, or the operating system refuses.
    pub fn open(path: &Path) -> Result<Self, StateError> {
        DirBuilder::new()
            .recursive(true)
            .mode(0o700)
            .create(path)
            .and_then(|()| fs::set_permissions(path, Permissions::from_mode(0o700)))
            .map_err(|cause| io_error("make", path, cause))?;
        let file = path.join(LOCK);
        let opened = private().create(true).truncate(false).open(&file);
        let opened = opened.map_err(|cause| io_error("open", &file, cause))?;
        let lock =
            Flock::lock(opened, FlockArg::LockExclusiveNonblock).map_err(
                |(_, errno)| match errno {
                    Errno::EWOULDBLOCK => StateError::InUse(path.to_owned()),
                    other => io_error("lock", &file, other.into()),
                },
            )?;
        Ok(Self { path: path.to_owned(), _lock: lock })
    }

    /// The agent's private keys; made now if there are none.
    ///
    /// # Errors
    /// They are damaged, cannot be read or written, or there is no randomness.
    pub fn identity(&self) -> Result<Identity, StateError> {
        if let Some(bytes) = self.read(IDENTITY)? {
            return identity_file::parse(&bytes).ok_or_else(|| self.damaged(IDENTITY));
        }
        let identity = new_identity()?;
        self.write(IDENTITY, &identity_file::emit(&identity))?;
        Ok(identity)
    }

    /// What enrolment fixed; `None` before it.
    ///
    /// # Errors
    /// It is damaged or cannot be read.
    pub fn enrolment(&self) -> Result<Option<Enrolment>, StateError> {
        let Some(bytes) = self.read(ENROLMENT)? else { return Ok(None) };
        enrolment_file::parse(&bytes).map(Some).ok_or_else(|| self.damaged(ENROLMENT))
    }

    /// Keeps what enrolment fixed.
    ///
    /// # Errors
    /// The operating system refuses.
    pub fn save_enrolment(&self, enrolment: &Enrolment) -> Result<(), StateError> {
        self.write(ENROLMENT, &enrolment_file::emit(enrolment))
    }

    /// The last membership; `None` if there is none that can be believed.
    ///
    /// # Errors
    /// The file is there but cannot be read.
    pub fn membership(&self, identity: &Identity) -> Result<Option<Bundle>, StateError> {
        let Some(sealed) = self.read(MEMBERSHIP)? else { return Ok(None) };
        let opened = sealed::open(identity, &sealed);
        let bundle = opened.and_then(|text| serde_json::from_slice::<Bundle>(&text).ok());
        if bundle.is_none() {
            tracing::warn!(
                file = %self.path.join(MEMBERSHIP).display(),
                "the sealed membership is damaged or of another machine and is ignored; the \
                 server will send it again"
            );
        }
        Ok(bundle)
    }

    /// Keeps a membership and raises the version below which none is believed again.
    ///
    /// # Errors
    /// The operating system refuses, or there is no randomness.
    pub fn save_membership(&self, identity: &Identity, bundle: &Bundle) -> Result<(), StateError> {
        let text = Zeroizing::new(
            serde_json::to_vec(bundle).expect("invariant: a bundle that was read can be written"),
        );
        let mut nonce = [0; sealed::NONCE];
        entropy::fill(&mut nonce)?;
        // The membership before the version: torn between the two, it still starts from the cache.
        self.write(MEMBERSHIP, &sealed::seal(identity, &nonce, &text))?;
        if bundle.version > self.version()? {
            self.write(VERSION, &version_file::emit(bundle.version))?;
        }
        Ok(())
    }

    /// The highest version ever kept; 0 before the first.
    ///
    /// # Errors
    /// It is damaged or cannot be read.
    pub fn version(&self) -> Result<u64, StateError> {
        let Some(bytes) = self.read(VERSION)? else { return Ok(0) };
        version_file::parse(&bytes).ok_or_else(|| self.damaged(VERSION))
    }

    /// Forgets the membership: this host was removed.
    ///
    /// # Errors
    /// The operating system refuses.
    pub fn forget_membership(&self) -> Result<(), StateError> {
        let file = self.path.join(MEMBERSHIP);
        match fs::remove_file(&file) {
            Err(cause) if cause.kind() != io::ErrorKind::NotFound => {
                Err(io_error("remove", &file, cause))
            }
            _ => self.sync(),
        }
    }

    fn read(&self, name: &str) -> Result<Option<Zeroizing<Vec<u8>>>, StateError> {
        let file = self.path.join(name);
        match fs::read(&file) {
            Ok(bytes) => Ok(Some(Zeroizing::new(bytes))),
            Err(cause) if cause.kind() == io::ErrorKind::NotFound => Ok(None),
            Err(cause) => Err(io_error("read", &file, cause)),
        }
    }

    fn write(&self, name: &str, bytes: &[u8]) -> Result<(), StateError> {
        replace(&self.path, name, bytes)
    }

    /// Makes renames and removals durable.
    fn sync(&self) -> Result<(), StateError> {
        sync(&self.path)
    }

    fn damaged(&self, name: &str) -> StateError {
        StateError::Damaged { file: self.path.join(name), dir: self.path.clone() }
    }
}

/// Replaces a file of a state directory as a whole.
///
/// # Errors
/// The operating system refuses; the old file is still there then.
pub(crate) fn replace(directory: &Path, name: &str, bytes: &[u8]) -> Result<(), StateError> {
    let (file, temporary) = (directory.join(name), directory.join(format!("{name}.new")));
    private()
        .create(true)
        .truncate(true)
        .open(&temporary)
        .and_then(|mut new| {
            new.write_all(bytes)?;
            new.sync_all()
        })
        .and_then(|()| fs::rename(&temporary, &file))
        .map_err(|cause| io_error("write", &file, cause))?;
    sync(directory)
}

fn sync(directory: &Path) -> Result<(), StateError> {
    File::open(directory)
        .and_then(|dir| dir.sync_all())
        .map_err(|cause| io_error("sync", directory, cause))
}

fn new_identity() -> Result<Identity, EntropyError> {
    let mut identity = Identity { identity: Secret32([0; 32]), noise_static: Secret32([0; 32]) };
    entropy::fill(&mut identity.identity.0)?;
    entropy::fill(&mut identity.noise_static.0)?;
    Ok(identity)
}

fn private() -> OpenOptions {
    let mut options = OpenOptions::new();
    options.write(true).mode(0o600);
    options
}

fn io_error(what: &'static str, path: &Path, cause: io::Error) -> StateError {
    StateError::Io { what, path: path.to_owned(), cause }
}
