//! What time itself brings about: epochs begin and end, issuing keys end.

use super::domain::{bump_all, bump_group};
use super::{Act, App, Error};
use crate::store::{KeyScope, Transaction};

impl App {
    /// Lets time pass for all keys. True if anything changed. Cheap when nothing is due.
    ///
    /// # Errors
    /// The store cannot be read or written.
    pub fn maintain(&self, now: u64) -> Result<bool, Error> {
        // Looking takes no write lock, so a second server costs nothing.
        if self.read(|tx| Ok(due(tx, now)?.is_empty() && ended_issuers(tx, now)?.is_empty()))? {
            return Ok(false);
        }
        self.write(|tx| {
            let act = Act { actor: "server", now };
            for scope in due(tx, now)? {
                let mut ring = tx.keyring(scope)?;
                ring.advance(now)?;
                tx.put_keyring(scope, &ring)?;
                let subject = match scope {
                    KeyScope::Domain => "domain".into(),
                    KeyScope::Group(id) => format!("group {id}"),
                };
                let epoch = ring.current(now).map_or(0, |epoch| epoch.epoch);
                act.note(tx, "key.advance", &subject, "", format!("epoch {epoch}"))?;
                match scope {
                    KeyScope::Domain => bump_all(tx)?,
                    KeyScope::Group(id) => bump_group(tx, id)?,
                }
            }
            for key in ended_issuers(tx, now)? {
                tx.delete_issuer(&key)?;
            }
            Ok(true)
        })
    }
}

/// Keys with an epoch to announce or to erase.
fn due(tx: &mut dyn Transaction, now: u64) -> Result<Vec<KeyScope>, Error> {
    let groups = tx.groups()?.into_iter().map(|group| KeyScope::Group(group.id));
    let mut due = Vec::new();
    for scope in core::iter::once(KeyScope::Domain).chain(groups) {
        let ring = tx.keyring(scope)?;
        let epochs = ring.epochs();
        let announce = epochs.last().is_none_or(|last| last.not_before <= now);
        if announce || epochs.iter().any(|epoch| epoch.not_after <= now) {
            due.push(scope);
        }
    }
    Ok(due)
}

fn ended_issuers(tx: &mut dyn Transaction, now: u64) -> Result<Vec<mgmt_api::HexBytes<32>>, Error> {
    let issuers = tx.issuers()?.into_iter().map(|issuer| issuer.statement);
    Ok(issuers.filter(|issuer| issuer.not_after <= now).map(|issuer| issuer.key).collect())
}
