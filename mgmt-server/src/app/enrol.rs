//! Becoming a member, and staying one.

use super::token::secret_hash;
use super::view::{self, identified};
use super::{Act, App, Error, TokenState, certificate};
use crate::random;
use crate::store::{Certificate, Member, Token, Transaction};
use mgmt_api::{Bundle, EnrolRequest, ErrorCode, HexBytes, Prefix, RenewRequest, Transit, limits};
use subtle::ConstantTimeEq;

impl App {
    /// Checks and burns the token and makes a member, in one serialisable transaction. `identity`
    /// is the key the TLS client proved.
    ///
    /// The same identity with the same token gets its membership again, so that an agent whose
    /// answer was lost on the way can ask again.
    ///
    /// # Errors
    /// [`Error::Refused`] with the reason.
    pub fn enrol(
        &self,
        now: u64,
        identity: HexBytes<32>,
        request: &EnrolRequest,
    ) -> Result<Bundle, Error> {
        check_request(request)?;
        self.write(|tx| {
            let token = proved_token(tx, request)?;
            if let Some(known) = tx.member_by_identity(&identity)? {
                return again(tx, &known, &token, now);
            }
            check_state(&token, request, now)?;
            tx.put_token(&Token { uses_left: token.uses_left - 1, ..token.clone() })?;
            let member = admit(tx, &token, identity, request, now)?;
            let actor = format!("agent {}", member.id);
            let act = Act { actor: &actor, now };
            let after = format!("name {} token {}", member.name, token.id);
            act.note(tx, "member.enrol", &member.id.to_string(), "", after)?;
            view::bundle(tx, &member, now)
        })
    }

    /// A new certificate for a member.
    ///
    /// # Errors
    /// [`Error::Refused`] with the reason.
    pub fn renew(
        &self,
        now: u64,
        identity: HexBytes<32>,
        request: &RenewRequest,
    ) -> Result<Bundle, Error> {
        self.write(|tx| {
            let mut member = identified(tx, &identity)?;
            member.noise_key = request.noise_key;
            member.aes = request.aes;
            member.certificate = certificate::issue(tx, &member, now)?;
            tx.put_member(&member)?;
            tx.bump(&[member.id])?;
            member.version = tx.version()?;
            view::bundle(tx, &member, now)
        })
    }
}

fn check_request(request: &EnrolRequest) -> Result<(), Error> {
    if !limits::is_name(&request.name) {
        return Err(Error::refused(ErrorCode::BadRequest, "the machine's name is not a host name"));
    }
    if request.subnets.len() > limits::REPORTED_SUBNETS {
        return Err(Error::refused(ErrorCode::BadRequest, "too many subnets are offered"));
    }
    Ok(())
}

/// Says nothing about a token to those who do not hold its secret.
fn proved_token(tx: &mut dyn Transaction, request: &EnrolRequest) -> Result<Token, Error> {
    let given = secret_hash(&request.secret);
    tx.token(&request.token)?
        .filter(|token| bool::from(token.secret_hash.0.ct_eq(&given.0)))
        .ok_or_else(|| {
            Error::refused(
                ErrorCode::WrongToken,
                "the server does not know this token; make a new one with `mgmt-server token \
                 create`",
            )
        })
}

fn check_state(token: &Token, request: &EnrolRequest, now: u64) -> Result<(), Error> {
    let (code, why) = match TokenState::of(token, now) {
        TokenState::Usable if token.kind == request.kind => return Ok(()),
        TokenState::Usable => (ErrorCode::WrongKind, "is for the other kind of agent"),
        TokenState::Used => (ErrorCode::TokenUsed, "was used up"),
        TokenState::Expired => (ErrorCode::TokenExpired, "has expired"),
        TokenState::Revoked => (ErrorCode::TokenRevoked, "was taken back by an administrator"),
    };
    Err(Error::refused(
        code,
        format!(
            "the token {why}; make a new one with `mgmt-server token create --kind {}`",
            request.kind
        ),
    ))
}

/// An identity that is known already.
fn again(
    tx: &mut dyn Transaction,
    known: &Member,
    token: &Token,
    now: u64,
) -> Result<Bundle, Error> {
    if known.removed.is_some() {
        return Err(view::removed());
    }
    if known.token != token.id {
        return Err(Error::refused(
            ErrorCode::AlreadyEnrolled,
            format!(
                "this machine is the member {} already; start the agent without a token, or \
                 remove the member and the agent's state first",
                known.name
            ),
        ));
    }
    view::bundle(tx, known, now)
}

fn admit(
    tx: &mut dyn Transaction,
    token: &Token,
    identity: HexBytes<32>,
    request: &EnrolRequest,
    now: u64,
) -> Result<Member, Error> {
    let mut member = Member {
        id: HexBytes(random::bytes()?),
        name: free_name(tx, &request.name)?,
        kind: request.kind,
        mode: token.mode,
        identity_key: identity,
        noise_key: request.noise_key,
        aes: request.aes,
        transit: Transit::default(),
        prefixes: certified(token, &request.subnets),
        subnets: request.subnets.clone(),
        groups: token.groups.clone(),
        token: token.id,
        version: 0,
        created: now,
        last_seen: now,
        removed: None,
        certificate: Certificate {
            serial: HexBytes([0; 16]),
            issued: now,
            expires: now,
            bytes: Vec::new(),
        },
    };
    member.certificate = certificate::issue(tx, &member, now)?;
    tx.put_member(&member)?;
    tx.bump(&[member.id])?;
    member.version = tx.version()?;
    Ok(member)
}

/// What is certified of the offered subnets: an address range is a claim on other machines' traffic,
/// so only what an administrator allowed with the token; for the rest there is `member set`.
fn certified(token: &Token, offered: &[Prefix]) -> Vec<Prefix> {
    let mut certified = Vec::<Prefix>::new();
    for subnet in offered.iter().filter(|subnet| subnet.length() > 0) {
        let allowed = token.prefixes.iter().any(|allowed| allowed.covers(subnet));
        let known = certified.iter().any(|wider| wider.covers(subnet));
        if allowed && !known && certified.len() < limits::PREFIXES_PER_ROUTER {
            certified.push(*subnet);
        }
    }
    certified
}

/// The wished name, or the first free of `name-2`, `name-3`, …
fn free_name(tx: &mut dyn Transaction, wish: &str) -> Result<String, Error> {
    let members = tx.members()?;
    let taken =
        |name: &str| members.iter().any(|member| member.removed.is_none() && member.name == name);
    if !taken(wish) {
        return Ok(wish.to_owned());
    }
    let numbered = (2..=members.len().saturating_add(2)).map(|number| {
        let suffix = format!("-{number}");
        let stem = &wish[..wish.len().min(limits::NAME_BYTES - suffix.len())];
        format!("{stem}{suffix}")
    });
    let free = numbered.into_iter().find(|name| !taken(name));
    free.ok_or_else(|| Error::refused(ErrorCode::Internal, "no free name for the machine"))
}
