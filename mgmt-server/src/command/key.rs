//! `key rotate|issue`.

use super::output::print;
use super::{act, open};
use crate::app::Error;
use crate::cli::Data;
use crate::data_dir::{DataDir, read_root_key};
use crate::keyring::Change;
use std::path::Path;

pub(crate) fn rotate(data: &Data, group: &str, hard: bool) -> Result<(), Error> {
    let change = if hard { Change::Hard } else { Change::Soft };
    let epoch = act(|act| open(data)?.rotate(act, group, change))?;
    print(&format!("group {group} is in epoch {epoch}"))
}

pub(crate) fn issue(data: &Data, root_key: Option<&Path>) -> Result<(), Error> {
    let dir = DataDir::open(&data.dir)?;
    let root = match root_key {
        Some(file) => read_root_key(file)?,
        None => dir.root_key()?.ok_or_else(|| {
            Error::Unfit(
                "the root key is not in the data directory; give it with --root-key FILE".into(),
            )
        })?,
    };
    let made = act(|act| dir.app()?.renew_issuer(act, &root))?;
    print(if made {
        "the next issuing key is made"
    } else {
        "nothing to do: the issuing key is good for more than 7 days"
    })
}
