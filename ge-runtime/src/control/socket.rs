//! The socket file: one live agent per path, no leftovers of a dead one in the way.
//!
//! A file whose agent is dead refuses connections and is replaced; one that accepts them belongs
//! to a live agent and is left alone. Two agents that start at once decide it under a lock on the
//! directory, which needs no file of its own and is gone with the process.

use super::credentials::group_id;
use crate::options::RunError;
use crate::program::Program;
use nix::fcntl::{Flock, FlockArg};
use std::fs::{self, File, Permissions};
use std::io;
use std::os::unix::fs::{MetadataExt, PermissionsExt, chown};
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::{Path, PathBuf};

/// The bound control socket. The file goes when this is dropped.
#[derive(Debug)]
pub struct ControlSocket {
    pub(super) listener: UnixListener,
    pub(super) program: Program,
    path: PathBuf,
    inode: (u64, u64),
}

impl ControlSocket {
    /// Binds `path`, readable and writable for the owner and, where the host has it, the group
    /// named as the program.
    ///
    /// Fails with [`RunError::AnotherAgent`] if an agent answers there, and leaves any file that
    /// is not a socket alone.
    pub fn bind(program: Program, path: &Path) -> Result<Self, RunError> {
        let failed = |error| RunError::system(format!("bind {}", path.display()), error);
        let directory = match path.parent() {
            Some(parent) if !parent.as_os_str().is_empty() => parent,
            _ => Path::new("."),
        };
        fs::create_dir_all(directory).map_err(failed)?;
        let _lock = lock(directory).map_err(failed)?;
        if is_live(path).map_err(failed)? {
            return Err(RunError::AnotherAgent {
                program: program.name(),
                socket: path.display().to_string(),
            });
        }
        let listener = bind_private(program, path).map_err(failed)?;
        listener.set_nonblocking(true).map_err(failed)?;
        let meta = fs::symlink_metadata(path).map_err(failed)?;
        Ok(Self { listener, program, path: path.to_owned(), inode: (meta.dev(), meta.ino()) })
    }

    /// Where it is bound.
    #[must_use]
    pub fn path(&self) -> &Path {
        &self.path
    }
}

impl Drop for ControlSocket {
    fn drop(&mut self) {
        let ours = fs::symlink_metadata(&self.path)
            .is_ok_and(|meta| (meta.dev(), meta.ino()) == self.inode);
        if ours {
            let _ = fs::remove_file(&self.path);
        }
    }
}

/// Removes the socket file of a dead agent. True if there was one.
pub fn remove_stale(path: &Path) -> io::Result<bool> {
    match fs::symlink_metadata(path) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(false),
        Err(error) => Err(error),
        Ok(_) if is_live(path)? => Ok(false),
        Ok(_) => fs::remove_file(path).map(|()| true),
    }
}

/// Waits for the directory's lock; whoever holds it is about to bind and lets go at once.
fn lock(directory: &Path) -> io::Result<Flock<File>> {
    Flock::lock(File::open(directory)?, FlockArg::LockExclusive)
        .map_err(|(_, errno)| io::Error::from(errno))
}

/// True if somebody accepts connections at `path`; false if nothing is there or nobody listens.
fn is_live(path: &Path) -> io::Result<bool> {
    match UnixStream::connect(path) {
        Ok(_) => Ok(true),
        Err(error) => match error.kind() {
            io::ErrorKind::NotFound => Ok(false),
            io::ErrorKind::ConnectionRefused => is_socket(path).map(|()| false),
            // Its queue is full: somebody listens.
            io::ErrorKind::WouldBlock => Ok(true),
            _ => Err(error),
        },
    }
}

fn is_socket(path: &Path) -> io::Result<()> {
    use std::os::unix::fs::FileTypeExt;
    if fs::symlink_metadata(path)?.file_type().is_socket() {
        return Ok(());
    }
    Err(io::Error::new(io::ErrorKind::AlreadyExists, "the path exists and is not a socket"))
}

fn bind_private(program: Program, path: &Path) -> io::Result<UnixListener> {
    match fs::remove_file(path) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
        _ => {}
    }
    let listener = UnixListener::bind(path)?;
    // Peers are checked by credentials as well; the mode keeps strangers from even connecting.
    let mode = match group_id(program).map(|gid| chown(path, None, Some(gid))) {
        Some(Ok(())) => 0o660,
        Some(Err(_)) | None => 0o600,
    };
    fs::set_permissions(path, Permissions::from_mode(mode))?;
    Ok(listener)
}
