//! Issuing keys: 30 days each, signed by the root key.
//!
//! The next one is made while the present one has 7 days left and is first used when the present
//! one no longer outlives a certificate. So it has been in every agent's hands for days by then,
//! and the root key may stay offline for weeks.

use super::{Act, App, Error, domain::bump_all};
use crate::random;
use crate::store::{Issuer, Transaction};
use ed25519_dalek::{Signer, SigningKey};
use mgmt_api::{HexBytes, IssuerStatement, Secret};

/// Life of an issuing key in seconds. PROTOCOL.md 2.1.
pub(super) const ISSUER_LIFE: u64 = 30 * 24 * 3600;
/// The next one is made this long before the end. PROTOCOL.md 2.1.
pub(super) const ISSUER_OVERLAP: u64 = 7 * 24 * 3600;

impl App {
    /// Makes the next issuing key if the present one is in its last 7 days. True if it did.
    ///
    /// # Errors
    /// `root` is not the domain's root key; the store cannot be written.
    pub fn renew_issuer(&self, act: Act<'_>, root: &SigningKey) -> Result<bool, Error> {
        self.write(|tx| {
            let domain = tx.domain()?;
            if root.verifying_key().to_bytes() != domain.root_key.0 {
                return Err(Error::unfit(
                    "this is not the root key of this domain; give the root.key that `init` made",
                ));
            }
            if !is_due(tx, act.now)? {
                return Ok(false);
            }
            let issuer = make(domain.id, root, act.now)?;
            tx.insert_issuer(&issuer)?;
            bump_all(tx)?;
            act.note(tx, "key.issue", &issuer.statement.key.to_string(), "", "")?;
            Ok(true)
        })
    }

    /// True if the next issuing key should be made now.
    ///
    /// # Errors
    /// The store cannot be read.
    pub fn is_issuer_due(&self, now: u64) -> Result<bool, Error> {
        self.read(|tx| is_due(tx, now))
    }
}

fn is_due(tx: &mut dyn Transaction, now: u64) -> Result<bool, Error> {
    let ends = tx.issuers()?.iter().map(|issuer| issuer.statement.not_after).max();
    Ok(ends.is_none_or(|end| end <= now.saturating_add(ISSUER_OVERLAP)))
}

/// Makes an issuing key that counts from `now` and signs its statement.
pub(super) fn make(domain: HexBytes<8>, root: &SigningKey, now: u64) -> Result<Issuer, Error> {
    let seed = Secret::new(random::bytes()?);
    let key = SigningKey::from_bytes(seed.expose()).verifying_key().to_bytes();
    let not_after = now.saturating_add(ISSUER_LIFE);
    let signature = root.sign(&IssuerStatement::signed_bytes(&domain.0, &key, now, not_after));
    let statement = IssuerStatement {
        key: HexBytes(key),
        not_before: now,
        not_after,
        signature: HexBytes(signature.to_bytes()),
    };
    Ok(Issuer { seed, statement })
}

/// The key to sign a certificate with that ends at `expires`: the oldest that outlives it, or the
/// one that lasts longest.
pub(super) fn choose(issuers: &[Issuer], now: u64, expires: u64) -> Option<&Issuer> {
    let mut in_force: Vec<&Issuer> = issuers
        .iter()
        .filter(|issuer| issuer.statement.not_before <= now && issuer.statement.not_after > now)
        .collect();
    in_force.sort_by_key(|issuer| issuer.statement.not_after);
    let outlives = in_force.iter().find(|issuer| issuer.statement.not_after >= expires);
    outlives.or_else(|| in_force.last()).copied()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_next_issuer_is_known_for_days_before_it_signs() {
        let root = SigningKey::from_bytes(&[7; 32]);
        let day = 24 * 3600;
        let old = make(HexBytes([1; 8]), &root, 0).unwrap();
        let new = make(HexBytes([1; 8]), &root, 23 * day).unwrap();
        let both = [old, new];
        let signer = |now: u64| {
            choose(&both, now, now + day)
                .map(|i| both.iter().position(|b| b.statement == i.statement))
        };
        assert_eq!(signer(23 * day), Some(Some(0)));
        assert_eq!(signer(29 * day), Some(Some(0)));
        assert_eq!(signer(29 * day + 1), Some(Some(1)));
        assert_eq!(signer(53 * day - 1), Some(Some(1)));
        assert_eq!(signer(53 * day), None);
    }
}
