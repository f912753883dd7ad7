//! What the commands do: open the domain, one act, print.

pub(crate) mod audit;
pub(crate) mod domain;
pub(crate) mod group;
pub(crate) mod key;
pub(crate) mod member;
pub(crate) mod must_protect;
mod output;
pub(crate) mod policy;
pub(crate) mod token;

use crate::app::{Act, App, Error};
use crate::cli::Data;
use crate::data_dir::DataDir;
use crate::serve::unix_now;
use std::os::unix::fs::MetadataExt;

/// The application over the domain in `data`.
fn open(data: &Data) -> Result<App, Error> {
    DataDir::open(&data.dir)?.app()
}

/// Who runs this command, for the audit log.
fn actor() -> String {
    // The owner of /proc/self is the effective user; it needs no unsafe call.
    match (std::fs::metadata("/proc/self"), std::env::var("SUDO_USER")) {
        (Ok(own), Ok(user)) => format!("admin uid {} for {user}", own.uid()),
        (Ok(own), Err(_)) => format!("admin uid {}", own.uid()),
        (Err(_), _) => "admin".into(),
    }
}

/// Runs one act as the person at the command line.
fn act<T>(run: impl FnOnce(Act<'_>) -> Result<T, Error>) -> Result<T, Error> {
    run(Act { actor: &actor(), now: unix_now() })
}
