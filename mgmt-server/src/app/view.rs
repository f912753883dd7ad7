//! What a member sees.

use super::{App, Error, certificate};
use crate::keyring::Keyring;
use crate::store::{KeyScope, Member, MemberId, PolicyList, Transaction};
use mgmt_api::{Bundle, ErrorCode, Group, HexBytes, HexVec, KeyEpoch, Mode, Revocation};

/// Answer to "anything newer than my version?".
#[derive(Debug)]
pub enum Answer {
    /// This.
    Newer(Box<Bundle>),
    /// No.
    Unchanged,
}

impl App {
    /// The view of the member with this identity key, if it is newer than `after`.
    ///
    /// # Errors
    /// [`Error::Refused`]: not a member, or removed.
    pub fn bundle(
        &self,
        now: u64,
        identity: HexBytes<32>,
        after: u64,
    ) -> Result<(MemberId, Answer), Error> {
        self.read(|tx| {
            let member = identified(tx, &identity)?;
            let answer = if member.version > after {
                Answer::Newer(Box::new(bundle(tx, &member, now)?))
            } else {
                Answer::Unchanged
            };
            Ok((member.id, answer))
        })
    }
}

/// The present member with this identity key.
pub(super) fn identified(
    tx: &mut dyn Transaction,
    identity: &HexBytes<32>,
) -> Result<Member, Error> {
    match tx.member_by_identity(identity)? {
        Some(member) if member.removed.is_none() => Ok(member),
        Some(_) => Err(removed()),
        None => Err(Error::refused(
            ErrorCode::NotMember,
            "the server does not know this machine; enrol it with a token",
        )),
    }
}

pub(super) fn removed() -> Error {
    Error::refused(
        ErrorCode::Removed,
        "this machine was removed by an administrator; to come back it needs fresh state and a \
         new token",
    )
}

/// Everything `member` needs, as of now.
pub(super) fn bundle(tx: &mut dyn Transaction, member: &Member, now: u64) -> Result<Bundle, Error> {
    let domain = tx.domain()?;
    let mut groups = Vec::with_capacity(member.groups.len());
    for group in tx.groups()?.into_iter().filter(|group| member.groups.contains(&group.id)) {
        groups.push(Group {
            id: group.id,
            name: group.name,
            priority: group.priority,
            keys: keys(&tx.keyring(KeyScope::Group(group.id))?, now),
            commit_key: group.commit_key,
        });
    }
    let issuers = tx.issuers()?.into_iter().map(|issuer| issuer.statement);
    Ok(Bundle {
        version: member.version,
        server_time: now,
        domain: domain.id,
        agent: member.id,
        name: member.name.clone(),
        kind: member.kind,
        prefixes: member.prefixes.clone(),
        mode: match member.mode {
            Mode::Open | Mode::Observe => Mode::Open,
            Mode::Closed => Mode::Closed,
        },
        observe: member.mode == Mode::Observe,
        transit: member.transit,
        certificate: HexVec(member.certificate.bytes.clone()),
        lease: certificate::lease(&member.certificate),
        root_key: domain.root_key,
        issuers: issuers.filter(|issuer| issuer.not_after > now).collect(),
        domain_keys: keys(&tx.keyring(KeyScope::Domain)?, now),
        groups,
        revocations: revocations(tx, now)?,
        search_scope: tx.policy(PolicyList::SearchScope)?,
        must_protect: tx.policy(PolicyList::MustProtect)?,
        must_protect_names: tx.must_protect_names()?,
    })
}

fn keys(ring: &Keyring, now: u64) -> Vec<KeyEpoch> {
    ring.epochs().iter().filter(|epoch| epoch.not_after > now).cloned().collect()
}

/// Removed members whose last certificate has not ended: the list is at most a day deep.
fn revocations(tx: &mut dyn Transaction, now: u64) -> Result<Vec<Revocation>, Error> {
    let removed = tx.members()?.into_iter().filter(|member| member.removed.is_some());
    Ok(removed
        .filter(|member| member.certificate.expires > now)
        .map(|member| Revocation {
            serial: member.certificate.serial,
            agent: member.id,
            identity_key: member.identity_key,
            noise_key: member.noise_key,
        })
        .collect())
}
