//! Where the programs under test and the programs of the system are.

use anyhow::{Context, Result, bail};
use std::path::{Path, PathBuf};

/// A program of this workspace, built beside the running one.
///
/// # Errors
/// If it has not been built.
pub fn built(name: &str) -> Result<PathBuf> {
    let own = std::env::current_exe().context("finding this program")?;
    let dir = own.parent().context("a directory with programs")?;
    // Test binaries live one level deeper, in `deps`.
    let dir = if dir.ends_with("deps") { dir.parent().unwrap_or(dir) } else { dir };
    let path = dir.join(name);
    if !path.is_file() {
        bail!("{} is not built; run `cargo build --release --workspace`", path.display());
    }
    Ok(path)
}

/// A program of the system: on `PATH`, or in the directories of the administrator.
#[must_use]
pub fn installed(name: &str) -> Option<PathBuf> {
    let path = std::env::var_os("PATH").unwrap_or_default();
    std::env::split_paths(&path)
        .chain(["/usr/local/sbin", "/usr/sbin", "/sbin"].map(PathBuf::from))
        .map(|dir| dir.join(name))
        .find(|file| is_executable(file))
}

/// Why this user could not run an agent in a nest, if so. To be asked outside of a nest.
#[must_use]
pub fn no_tun() -> Option<&'static str> {
    const TUN: &str = "/dev/net/tun";
    if std::fs::OpenOptions::new().read(true).write(true).open(TUN).is_ok() {
        return None;
    }
    Some(if Path::new(TUN).exists() {
        "this user may not open /dev/net/tun; allow it with `sudo chmod 0666 /dev/net/tun` (as \
         most systems ship it), or run the same command as root"
    } else {
        "there is no /dev/net/tun; load it with `sudo modprobe tun`"
    })
}

fn is_executable(file: &Path) -> bool {
    nix::unistd::access(file, nix::unistd::AccessFlags::X_OK).is_ok() && file.is_file()
}

/// Columns of the terminal on standard output, if it is one.
#[must_use]
pub fn terminal_width() -> Option<usize> {
    let mut size = libc::winsize { ws_row: 0, ws_col: 0, ws_xpixel: 0, ws_ypixel: 0 };
    // SAFETY: the kernel fills in one winsize, which lives.
    let result = unsafe { libc::ioctl(libc::STDOUT_FILENO, libc::TIOCGWINSZ, &raw mut size) };
    (result == 0 && size.ws_col > 0).then_some(usize::from(size.ws_col))
}
