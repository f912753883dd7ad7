//! SQL of each read and write.

use super::{
    AuditEntry, Certificate, Domain, Group, Issuer, KeyScope, Member, MemberId, PolicyList,
    StoreError, Token, TokenId, Transaction,
};
use crate::keyring::Keyring;
use mgmt_api::{DnsName, HexBytes, IssuerStatement, KeyEpoch, Prefix, Secret};
use rusqlite::{OptionalExtension, Row, params};
use serde::Serialize;
use serde::de::DeserializeOwned;

/// One open transaction.
pub(super) struct Rows<'c> {
    transaction: rusqlite::Transaction<'c>,
    erased: bool,
}

impl<'c> Rows<'c> {
    pub(super) const fn new(transaction: rusqlite::Transaction<'c>) -> Self {
        Self { transaction, erased: false }
    }

    /// Commits; true if keys were erased.
    pub(super) fn commit(self) -> rusqlite::Result<bool> {
        self.transaction.commit()?;
        Ok(self.erased)
    }

    pub(super) fn roll_back(self) -> rusqlite::Result<()> {
        self.transaction.rollback()
    }

    fn all<T>(
        &self,
        sql: &str,
        params: impl rusqlite::Params,
        read: impl FnMut(&Row<'_>) -> rusqlite::Result<T>,
    ) -> Result<Vec<T>, StoreError> {
        let mut statement = self.transaction.prepare_cached(sql)?;
        let rows = statement.query_map(params, read)?;
        Ok(rows.collect::<rusqlite::Result<_>>()?)
    }

    fn execute(&self, sql: &str, params: impl rusqlite::Params) -> Result<usize, StoreError> {
        Ok(self.transaction.prepare_cached(sql)?.execute(params)?)
    }
}

impl Transaction for Rows<'_> {
    fn domain(&mut self) -> Result<Domain, StoreError> {
        let read = |row: &Row<'_>| {
            Ok(Domain {
                id: bytes(row, "id")?,
                root_key: bytes(row, "root_key")?,
                listen: parsed(row, "listen")?,
                advertise: json(row, "advertise")?,
                bound: row
                    .get::<_, Option<String>>("bound")?
                    .map(|_| parsed(row, "bound"))
                    .transpose()?,
            })
        };
        Ok(self.transaction.query_row("SELECT * FROM domain", [], read)?)
    }

    fn put_domain(&mut self, domain: &Domain) -> Result<(), StoreError> {
        self.execute(
            "INSERT OR REPLACE INTO domain VALUES (1, ?1, ?2, ?3, ?4, ?5)",
            params![
                domain.id.0,
                domain.root_key.0,
                domain.listen.to_string(),
                to_json(&domain.advertise),
                domain.bound.map(|bound| bound.to_string()),
            ],
        )?;
        Ok(())
    }

    fn version(&mut self) -> Result<u64, StoreError> {
        let read = |row: &Row<'_>| number(row, "version");
        Ok(self.transaction.query_row("SELECT version FROM policy", [], read)?)
    }

    fn bump(&mut self, members: &[MemberId]) -> Result<(), StoreError> {
        self.execute("UPDATE policy SET version = version + 1", [])?;
        for member in members {
            self.execute(
                "UPDATE members SET version = (SELECT version FROM policy) WHERE id = ?1",
                [member.0],
            )?;
        }
        Ok(())
    }

    fn policy(&mut self, list: PolicyList) -> Result<Vec<Prefix>, StoreError> {
        let read = |row: &Row<'_>| json(row, policy_column(list));
        Ok(self.transaction.query_row("SELECT * FROM policy", [], read)?)
    }

    fn put_policy(&mut self, list: PolicyList, ranges: &[Prefix]) -> Result<(), StoreError> {
        let sql = format!("UPDATE policy SET {} = ?1", policy_column(list));
        self.execute(&sql, [to_json(ranges)])?;
        Ok(())
    }

    fn must_protect_names(&mut self) -> Result<Vec<DnsName>, StoreError> {
        let read = |row: &Row<'_>| json(row, "must_protect_names");
        Ok(self.transaction.query_row("SELECT * FROM policy", [], read)?)
    }

    fn put_must_protect_names(&mut self, names: &[DnsName]) -> Result<(), StoreError> {
        self.execute("UPDATE policy SET must_protect_names = ?1", [to_json(names)])?;
        Ok(())
    }

    fn issuers(&mut self) -> Result<Vec<Issuer>, StoreError> {
        self.all("SELECT * FROM issuers ORDER BY not_before, key", [], |row| {
            let statement = IssuerStatement {
                key: bytes(row, "key")?,
                not_before: number(row, "not_before")?,
                not_after: number(row, "not_after")?,
                signature: bytes(row, "signature")?,
            };
            Ok(Issuer { seed: Secret::new(row.get("seed")?), statement })
        })
    }

    fn insert_issuer(&mut self, issuer: &Issuer) -> Result<(), StoreError> {
        let statement = &issuer.statement;
        self.execute(
            "INSERT INTO issuers VALUES (?1, ?2, ?3, ?4, ?5)",
            params![
                statement.key.0,
                issuer.seed.expose(),
                integer(statement.not_before),
                integer(statement.not_after),
                statement.signature.0,
            ],
        )?;
        Ok(())
    }

    fn delete_issuer(&mut self, key: &HexBytes<32>) -> Result<(), StoreError> {
        self.erased = true;
        self.execute("DELETE FROM issuers WHERE key = ?1", [key.0])?;
        Ok(())
    }

    fn groups(&mut self) -> Result<Vec<Group>, StoreError> {
        self.all("SELECT * FROM groups ORDER BY id", [], |row| {
            Ok(Group {
                id: row.get("id")?,
                name: row.get("name")?,
                priority: row.get("priority")?,
                commit_key: Secret::new(row.get("commit_key")?),
            })
        })
    }

    fn insert_group(&mut self, group: &Group) -> Result<(), StoreError> {
        self.execute(
            "INSERT INTO groups VALUES (?1, ?2, ?3, ?4)",
            params![group.id, group.name, group.priority, group.commit_key.expose()],
        )?;
        Ok(())
    }

    fn keyring(&mut self, scope: KeyScope) -> Result<Keyring, StoreError> {
        let epochs = self.all(
            "SELECT * FROM epochs WHERE scope = ?1 ORDER BY epoch",
            [scope_number(scope)],
            |row| {
                Ok(KeyEpoch {
                    epoch: row.get("epoch")?,
                    key: Secret::new(row.get("key")?),
                    not_before: number(row, "not_before")?,
                    not_after: number(row, "not_after")?,
                })
            },
        )?;
        Ok(Keyring::from_epochs(epochs))
    }

    fn put_keyring(&mut self, scope: KeyScope, ring: &Keyring) -> Result<(), StoreError> {
        let scope = scope_number(scope);
        self.erased |= self.execute("DELETE FROM epochs WHERE scope = ?1", [scope])? > 0;
        for epoch in ring.epochs() {
            self.execute(
                "INSERT INTO epochs VALUES (?1, ?2, ?3, ?4, ?5)",
                params![
                    scope,
                    epoch.epoch,
                    epoch.key.expose(),
                    integer(epoch.not_before),
                    integer(epoch.not_after),
                ],
            )?;
        }
        Ok(())
    }

    fn tokens(&mut self) -> Result<Vec<Token>, StoreError> {
        self.all("SELECT * FROM tokens ORDER BY created DESC, id", [], token)
    }

    fn token(&mut self, id: &TokenId) -> Result<Option<Token>, StoreError> {
        let mut statement =
            self.transaction.prepare_cached("SELECT * FROM tokens WHERE id = ?1")?;
        Ok(statement.query_row([id.0], token).optional()?)
    }

    fn put_token(&mut self, token: &Token) -> Result<(), StoreError> {
        self.execute(
            "INSERT OR REPLACE INTO tokens (id, secret_hash, kind, mode, groups, uses, uses_left,
                 created, expires, revoked, prefixes)
             VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9, ?10, ?11)",
            params![
                token.id.0,
                token.secret_hash.0,
                token.kind.as_str(),
                token.mode.as_str(),
                to_json(&token.groups),
                token.uses,
                token.uses_left,
                integer(token.created),
                integer(token.expires),
                token.revoked,
                to_json(&token.prefixes),
            ],
        )?;
        Ok(())
    }

    fn members(&mut self) -> Result<Vec<Member>, StoreError> {
        self.all("SELECT * FROM members ORDER BY created, id", [], member)
    }

    fn member_by_identity(&mut self, key: &HexBytes<32>) -> Result<Option<Member>, StoreError> {
        let mut statement =
            self.transaction.prepare_cached("SELECT * FROM members WHERE identity_key = ?1")?;
        Ok(statement.query_row([key.0], member).optional()?)
    }

    fn put_member(&mut self, member: &Member) -> Result<(), StoreError> {
        self.execute(
            "INSERT INTO members (id, name, kind, mode, identity_key, noise_key, aes, prefixes,
                 subnets, groups, token, created, last_seen, removed, serial, issued, expires,
                 certificate, transit)
             VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9, ?10, ?11, ?12, ?13, ?14, ?15, ?16, ?17,
                 ?18, ?19)
             ON CONFLICT (id) DO UPDATE SET name = ?2, mode = ?4, noise_key = ?6, aes = ?7,
                 prefixes = ?8, subnets = ?9, groups = ?10, last_seen = ?13, removed = ?14,
                 serial = ?15, issued = ?16, expires = ?17, certificate = ?18,
                 transit = ?19",
            params![
                member.id.0,
                member.name,
                member.kind.as_str(),
                member.mode.as_str(),
                member.identity_key.0,
                member.noise_key.0,
                member.aes,
                to_json(&member.prefixes),
                to_json(&member.subnets),
                to_json(&member.groups),
                member.token.0,
                integer(member.created),
                integer(member.last_seen),
                member.removed.map(integer),
                member.certificate.serial.0,
                integer(member.certificate.issued),
                integer(member.certificate.expires),
                member.certificate.bytes,
                member.transit.as_str(),
            ],
        )?;
        Ok(())
    }

    fn put_last_seen(&mut self, seen: &[(MemberId, u64)]) -> Result<(), StoreError> {
        for (member, time) in seen {
            self.execute(
                "UPDATE members SET last_seen = max(last_seen, ?2) WHERE id = ?1",
                params![member.0, integer(*time)],
            )?;
        }
        Ok(())
    }

    fn append_audit(&mut self, entry: &AuditEntry) -> Result<(), StoreError> {
        self.execute(
            "INSERT INTO audit (time, actor, action, subject, before, after)
             VALUES (?1, ?2, ?3, ?4, ?5, ?6)",
            params![
                integer(entry.time),
                entry.actor,
                entry.action,
                entry.subject,
                entry.before,
                entry.after,
            ],
        )?;
        Ok(())
    }

    fn audit(&mut self, limit: u32) -> Result<Vec<AuditEntry>, StoreError> {
        self.all("SELECT * FROM audit ORDER BY id DESC LIMIT ?1", [limit], |row| {
            Ok(AuditEntry {
                time: number(row, "time")?,
                actor: row.get("actor")?,
                action: row.get("action")?,
                subject: row.get("subject")?,
                before: row.get("before")?,
                after: row.get("after")?,
            })
        })
    }
}

fn token(row: &Row<'_>) -> rusqlite::Result<Token> {
    Ok(Token {
        id: bytes(row, "id")?,
        secret_hash: bytes(row, "secret_hash")?,
        kind: parsed(row, "kind")?,
        mode: parsed(row, "mode")?,
        prefixes: json(row, "prefixes")?,
        groups: json(row, "groups")?,
        uses: row.get("uses")?,
        uses_left: row.get("uses_left")?,
        created: number(row, "created")?,
        expires: number(row, "expires")?,
        revoked: row.get("revoked")?,
    })
}

fn member(row: &Row<'_>) -> rusqlite::Result<Member> {
    Ok(Member {
        id: bytes(row, "id")?,
        name: row.get("name")?,
        kind: parsed(row, "kind")?,
        mode: parsed(row, "mode")?,
        identity_key: bytes(row, "identity_key")?,
        noise_key: bytes(row, "noise_key")?,
        aes: row.get("aes")?,
        transit: parsed(row, "transit")?,
        prefixes: json(row, "prefixes")?,
        subnets: json(row, "subnets")?,
        groups: json(row, "groups")?,
        token: bytes(row, "token")?,
        version: number(row, "version")?,
        created: number(row, "created")?,
        last_seen: number(row, "last_seen")?,
        removed: row.get::<_, Option<i64>>("removed")?.map(i64::unsigned_abs),
        certificate: Certificate {
            serial: bytes(row, "serial")?,
            issued: number(row, "issued")?,
            expires: number(row, "expires")?,
            bytes: row.get("certificate")?,
        },
    })
}

const fn policy_column(list: PolicyList) -> &'static str {
    match list {
        PolicyList::SearchScope => "search_scope",
        PolicyList::MustProtect => "must_protect",
    }
}

const fn scope_number(scope: KeyScope) -> u32 {
    match scope {
        KeyScope::Domain => 0,
        KeyScope::Group(id) => id,
    }
}

/// SQLite's integers are signed; no time or version reaches the top bit.
fn integer(number: u64) -> i64 {
    i64::try_from(number).unwrap_or(i64::MAX)
}

fn number(row: &Row<'_>, column: &str) -> rusqlite::Result<u64> {
    Ok(row.get::<_, i64>(column)?.unsigned_abs())
}

fn bytes<const N: usize>(row: &Row<'_>, column: &str) -> rusqlite::Result<HexBytes<N>> {
    row.get(column).map(HexBytes)
}

fn to_json<T: Serialize + ?Sized>(value: &T) -> String {
    serde_json::to_string(value).expect("invariant: lists of numbers and texts always serialise")
}

fn json<T: DeserializeOwned>(row: &Row<'_>, column: &str) -> rusqlite::Result<T> {
    let text: String = row.get(column)?;
    serde_json::from_str(&text).map_err(|err| damaged(column, err))
}

fn parsed<T>(row: &Row<'_>, column: &str) -> rusqlite::Result<T>
where
    T: core::str::FromStr<Err: ToString>,
{
    let text: String = row.get(column)?;
    text.parse().map_err(|err: T::Err| damaged(column, std::io::Error::other(err.to_string())))
}

fn damaged(column: &str, err: impl core::error::Error + Send + Sync + 'static) -> rusqlite::Error {
    tracing::error!(column, %err, "a stored value cannot be read");
    rusqlite::Error::FromSqlConversionFailure(0, rusqlite::types::Type::Text, Box::new(err))
}
