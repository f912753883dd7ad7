//! Members: seen, changed, removed.

use super::domain::bump_all;
use super::group::{self, rotate};
use super::{Act, App, Error, certificate};
use crate::keyring::Change;
use crate::store::{KeyScope, Member, MemberId, Transaction};
use mgmt_api::{Kind, Mode, Prefix, Transit, limits};

/// What `member set` changes; `None` leaves it.
#[derive(Clone, Debug, Default)]
pub struct MemberChange {
    /// Open or closed.
    pub mode: Option<Mode>,
    /// What a router lets pass while closed.
    pub transit: Option<Transit>,
    /// Prefixes a router stands for.
    pub prefixes: Option<Vec<Prefix>>,
    /// Names of groups it joins, beside those it is in.
    pub join: Vec<String>,
}

impl App {
    /// Present members, by creation, with the names of their groups.
    ///
    /// # Errors
    /// The store cannot be read.
    pub fn members(&self) -> Result<Vec<(Member, Vec<String>)>, Error> {
        self.read(|tx| {
            let groups = tx.groups()?;
            let names = |member: &Member| {
                let own = groups.iter().filter(|group| member.groups.contains(&group.id));
                own.map(|group| group.name.clone()).collect()
            };
            let present = tx.members()?.into_iter().filter(|member| member.removed.is_none());
            Ok(present.map(|member| (names(&member), member)).map(|(n, m)| (m, n)).collect())
        })
    }

    /// Changes a member and pushes it. `id` is its name or the beginning of its id.
    ///
    /// # Errors
    /// No such member, or several; transit or prefixes for a host, or too many prefixes.
    pub fn change_member(
        &self,
        act: Act<'_>,
        id: &str,
        change: &MemberChange,
    ) -> Result<Member, Error> {
        self.write(|tx| {
            let mut member = named(tx, id)?;
            let before = describe(&member);
            if let Some(mode) = change.mode {
                member.mode = mode;
            }
            if let Some(transit) = change.transit {
                check_transit(&member)?;
                member.transit = transit;
            }
            if let Some(prefixes) = &change.prefixes {
                check_prefixes(&member, prefixes)?;
                member.prefixes.clone_from(prefixes);
            }
            join(tx, &mut member, &change.join)?;
            if change.prefixes.is_some() || !change.join.is_empty() {
                member.certificate = certificate::issue(tx, &member, act.now)?;
            }
            tx.put_member(&member)?;
            tx.bump(&[member.id])?;
            act.note(tx, "member.set", &member.id.to_string(), before, describe(&member))?;
            Ok(member)
        })
    }

    /// Removes a member: it is revoked, and the domain key and the keys of its groups change hard,
    /// for everybody else.
    ///
    /// # Errors
    /// No such member, or several.
    pub fn remove_member(&self, act: Act<'_>, id: &str) -> Result<Member, Error> {
        self.write(|tx| {
            let mut member = named(tx, id)?;
            member.removed = Some(act.now);
            tx.put_member(&member)?;
            rotate(tx, KeyScope::Domain, act.now, Change::Hard)?;
            for group in &member.groups {
                rotate(tx, KeyScope::Group(*group), act.now, Change::Hard)?;
            }
            bump_all(tx)?;
            // Its own long poll must end too: with the refusal.
            tx.bump(&[member.id])?;
            act.note(tx, "member.remove", &member.id.to_string(), describe(&member), "removed")?;
            Ok(member)
        })
    }

    /// Notes when members were last heard of.
    ///
    /// # Errors
    /// The store cannot be written.
    pub fn note_seen(&self, seen: &[(MemberId, u64)]) -> Result<(), Error> {
        if seen.is_empty() {
            return Ok(());
        }
        self.write(|tx| Ok(tx.put_last_seen(seen)?))
    }
}

fn named(tx: &mut dyn Transaction, id: &str) -> Result<Member, Error> {
    let present: Vec<Member> =
        tx.members()?.into_iter().filter(|member| member.removed.is_none()).collect();
    if let Some(member) = present.iter().find(|member| member.name == id) {
        return Ok(member.clone());
    }
    let mut found = present.iter().filter(|member| member.id.to_string().starts_with(id));
    match (found.next(), found.next()) {
        (Some(member), None) if !id.is_empty() => Ok(member.clone()),
        (None, _) => Err(Error::unfit(format!(
            "there is no member with the name or id {id:?}; see `member list`"
        ))),
        _ => Err(Error::unfit(format!(
            "several members' ids begin with {id:?}; write more of it, see `member list`"
        ))),
    }
}

/// Adds groups to a member. Leaving one is another matter: the others need new keys then.
fn join(tx: &mut dyn Transaction, member: &mut Member, names: &[String]) -> Result<(), Error> {
    for name in names {
        let group = group::named(tx, name)?;
        if !member.groups.contains(&group) {
            member.groups.push(group);
        }
    }
    if member.groups.len() > limits::GROUPS_PER_MEMBER {
        return Err(Error::unfit(format!(
            "{} would be in {} groups, and a member is in at most {}",
            member.name,
            member.groups.len(),
            limits::GROUPS_PER_MEMBER
        )));
    }
    Ok(())
}

fn check_transit(member: &Member) -> Result<(), Error> {
    match member.kind {
        Kind::Router => Ok(()),
        Kind::Host => Err(Error::unfit(format!(
            "{} is a host; only routers have traffic of others to let pass",
            member.name
        ))),
    }
}

fn check_prefixes(member: &Member, prefixes: &[Prefix]) -> Result<(), Error> {
    if member.kind == Kind::Host && !prefixes.is_empty() {
        return Err(Error::unfit(format!(
            "{} is a host; only routers stand for address ranges",
            member.name
        )));
    }
    if prefixes.len() > limits::PREFIXES_PER_ROUTER {
        return Err(Error::unfit(format!(
            "a router stands for at most {} address ranges",
            limits::PREFIXES_PER_ROUTER
        )));
    }
    Ok(())
}

fn describe(member: &Member) -> String {
    let mut text = format!("name {} mode {}", member.name, member.mode);
    if member.kind == Kind::Router {
        text.push_str(&format!(" transit {}", member.transit));
    }
    for prefix in &member.prefixes {
        text.push_str(&format!(" prefix {prefix}"));
    }
    for group in &member.groups {
        text.push_str(&format!(" group {group}"));
    }
    text
}
