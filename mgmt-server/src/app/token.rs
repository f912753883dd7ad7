//! Enrolment tokens: made, listed, taken back.

use super::group::named;
use super::{Act, App, Error};
use crate::random;
use crate::store::{Token, TokenId};
use mgmt_api::{
    Fingerprint, HexBytes, Kind, Mode, Prefix, Secret, ServerAddress, Token as Paste, limits,
};
use sha2::{Digest, Sha256};

/// What a token is made from.
#[derive(Clone, Debug)]
pub struct NewToken {
    /// Groups its members join, by name.
    pub groups: Vec<String>,
    /// For hosts or for routers.
    pub kind: Kind,
    /// Mode its members begin with.
    pub mode: Mode,
    /// Ranges its routers may stand for: what they offer inside these is certified at once.
    pub prefixes: Vec<Prefix>,
    /// Enrolments it is good for.
    pub uses: u32,
    /// Unix seconds.
    pub expires: u64,
}

/// What a token is still good for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum TokenState {
    /// It may be used.
    Usable,
    /// No uses left.
    Used,
    /// Its time is over.
    Expired,
    /// Taken back.
    Revoked,
}

impl TokenState {
    /// All of them.
    pub const ALL: [Self; 4] = [Self::Usable, Self::Used, Self::Expired, Self::Revoked];

    /// The state of `token` at `now`.
    #[must_use]
    pub const fn of(token: &Token, now: u64) -> Self {
        if token.revoked {
            Self::Revoked
        } else if token.uses_left == 0 {
            Self::Used
        } else if token.expires <= now {
            Self::Expired
        } else {
            Self::Usable
        }
    }

    /// As lists, metrics and JSON spell it.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Usable => "usable",
            Self::Used => "used",
            Self::Expired => "expired",
            Self::Revoked => "revoked",
        }
    }
}

impl App {
    /// Makes a token. Its secret is in the returned value alone.
    ///
    /// # Errors
    /// A group is missing; too many groups; no uses; prefixes for hosts; or it is not known where
    /// the server listens.
    pub fn create_token(
        &self,
        act: Act<'_>,
        new: &NewToken,
        fingerprint: Fingerprint,
    ) -> Result<Paste, Error> {
        if new.groups.is_empty() || new.groups.len() > limits::GROUPS_PER_MEMBER {
            return Err(Error::unfit(format!(
                "a member is in 1 to {} groups; give that many --group",
                limits::GROUPS_PER_MEMBER
            )));
        }
        if new.uses == 0 {
            return Err(Error::unfit("a token needs at least one use; give --uses 1 or more"));
        }
        check_prefixes(new)?;
        self.write(|tx| {
            let servers = reachable_at(&tx.domain()?)?;
            let mut groups = Vec::with_capacity(new.groups.len());
            for name in &new.groups {
                groups.push(named(tx, name)?);
            }
            groups.sort_unstable();
            groups.dedup();
            let id = HexBytes(random::bytes()?);
            let secret = Secret::new(random::bytes()?);
            tx.put_token(&Token {
                id,
                secret_hash: secret_hash(&secret),
                kind: new.kind,
                mode: new.mode,
                prefixes: new.prefixes.clone(),
                groups,
                uses: new.uses,
                uses_left: new.uses,
                created: act.now,
                expires: new.expires,
                revoked: false,
            })?;
            act.note(tx, "token.create", &id.to_string(), "", describe(new))?;
            Ok(Paste { fingerprint, id, secret, servers })
        })
    }

    /// All tokens, newest first.
    ///
    /// # Errors
    /// The store cannot be read.
    pub fn tokens(&self) -> Result<Vec<Token>, Error> {
        self.read(|tx| Ok(tx.tokens()?))
    }

    /// Takes a token back; `id` may be the beginning of one.
    ///
    /// # Errors
    /// No token begins so, or several do.
    pub fn revoke_token(&self, act: Act<'_>, id: &str) -> Result<TokenId, Error> {
        self.write(|tx| {
            let tokens = tx.tokens()?;
            let mut found = tokens.iter().filter(|token| token.id.to_string().starts_with(id));
            let (Some(token), None) = (found.next(), found.next()) else {
                return Err(Error::unfit(format!(
                    "{id:?} is not the beginning of exactly one token's id; see `token list`"
                )));
            };
            let before = TokenState::of(token, act.now).as_str();
            tx.put_token(&Token { revoked: true, ..token.clone() })?;
            act.note(tx, "token.revoke", &token.id.to_string(), before, "revoked")?;
            Ok(token.id)
        })
    }
}

fn check_prefixes(new: &NewToken) -> Result<(), Error> {
    if new.kind == Kind::Host && !new.prefixes.is_empty() {
        return Err(Error::unfit(
            "only routers stand for address ranges; give --kind router with --prefix",
        ));
    }
    if new.prefixes.len() > limits::PREFIXES_PER_TOKEN {
        return Err(Error::unfit(format!(
            "a token allows at most {} address ranges; join some into larger ones",
            limits::PREFIXES_PER_TOKEN
        )));
    }
    Ok(())
}

fn describe(new: &NewToken) -> String {
    let mut text = format!(
        "groups {} kind {} mode {} uses {}",
        new.groups.join(","),
        new.kind,
        new.mode,
        new.uses
    );
    for prefix in &new.prefixes {
        text.push_str(&format!(" prefix {prefix}"));
    }
    text
}

/// The secret has 256 random bits: a plain hash cannot be searched.
pub(super) fn secret_hash(secret: &Secret) -> HexBytes<32> {
    HexBytes(Sha256::digest(secret.expose()).into())
}

fn reachable_at(domain: &crate::store::Domain) -> Result<Vec<ServerAddress>, Error> {
    if !domain.advertise.is_empty() {
        return Ok(domain.advertise.clone());
    }
    let listen = match domain.bound {
        Some(bound) if domain.listen.port() == 0 => bound,
        _ => domain.listen,
    };
    if listen.port() == 0 {
        return Err(Error::unfit(
            "the server picks its port when it starts; start it with `run` first",
        ));
    }
    Ok(vec![listen.into()])
}
