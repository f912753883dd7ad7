//! Groups and their keys.

use super::domain::bump_group;
use super::{Act, App, Error};
use crate::keyring::{Change, Keyring};
use crate::random;
use crate::store::{Group, KeyScope, Transaction};
use mgmt_api::{Secret, limits};

/// Priority of a group unless told otherwise: room on both sides.
pub const PRIORITY: u16 = 100;

/// A group as administrators see it: no keys.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct GroupSummary {
    /// Number.
    pub id: u32,
    /// Name.
    pub name: String,
    /// Lowest wins.
    pub priority: u16,
    /// Epoch in force.
    pub epoch: u32,
    /// Unix seconds when the next begins.
    pub next_epoch_at: u64,
    /// Names of the present members.
    pub members: Vec<String>,
}

impl App {
    /// Makes a group with its first two epochs. Of several groups that two members share, the one
    /// with the lowest `priority` protects, then the one with the lowest number.
    ///
    /// # Errors
    /// The name is taken or not a name.
    pub fn create_group(&self, act: Act<'_>, name: &str, priority: u16) -> Result<u32, Error> {
        if !limits::is_name(name) {
            return Err(Error::unfit(format!(
                "{name:?} cannot be a group's name; use 1 to 63 letters, digits, '.', '_' or '-', \
                 beginning with a letter or digit"
            )));
        }
        self.write(|tx| {
            let groups = tx.groups()?;
            if groups.iter().any(|group| group.name == name) {
                return Err(Error::unfit(format!(
                    "there is a group {name} already; choose another name or use that group"
                )));
            }
            let id = groups.last().map_or(1, |last| last.id.saturating_add(1));
            let commit_key = Secret::new(random::bytes()?);
            tx.insert_group(&Group { id, name: name.into(), priority, commit_key })?;
            tx.put_keyring(KeyScope::Group(id), &Keyring::start(act.now)?)?;
            act.note(tx, "group.create", name, "", format!("number {id}"))?;
            Ok(id)
        })
    }

    /// All groups by number.
    ///
    /// # Errors
    /// The store cannot be read.
    pub fn groups(&self, now: u64) -> Result<Vec<GroupSummary>, Error> {
        self.read(|tx| {
            let members = tx.members()?;
            let summary = |tx: &mut dyn Transaction, group: Group| {
                let ring = tx.keyring(KeyScope::Group(group.id))?;
                let next = ring.epochs().iter().find(|epoch| epoch.not_before > now);
                Ok(GroupSummary {
                    id: group.id,
                    priority: group.priority,
                    epoch: ring.current(now).map_or(0, |epoch| epoch.epoch),
                    next_epoch_at: next.map_or(now, |epoch| epoch.not_before),
                    members: members
                        .iter()
                        .filter(|m| m.removed.is_none() && m.groups.contains(&group.id))
                        .map(|member| member.name.clone())
                        .collect(),
                    name: group.name,
                })
            };
            let groups = tx.groups()?;
            groups.into_iter().map(|group| summary(tx, group)).collect()
        })
    }

    /// Begins a new epoch of the group's key and pushes it. Returns the new epoch's number.
    ///
    /// # Errors
    /// There is no such group.
    pub fn rotate(&self, act: Act<'_>, name: &str, change: Change) -> Result<u32, Error> {
        self.write(|tx| {
            let group = named(tx, name)?;
            let (before, after) = rotate(tx, KeyScope::Group(group), act.now, change)?;
            bump_group(tx, group)?;
            act.note(tx, "key.rotate", name, format!("epoch {before}"), format!("epoch {after}"))?;
            Ok(after)
        })
    }
}

/// Begins a new epoch; returns the numbers of the old and the new one.
pub(super) fn rotate(
    tx: &mut dyn Transaction,
    scope: KeyScope,
    now: u64,
    change: Change,
) -> Result<(u32, u32), Error> {
    let mut ring = tx.keyring(scope)?;
    let before = ring.current(now).map_or(0, |epoch| epoch.epoch);
    ring.change(now, change)?;
    tx.put_keyring(scope, &ring)?;
    Ok((before, ring.current(now).map_or(0, |epoch| epoch.epoch)))
}

/// Number of the group with this name.
pub(super) fn named(tx: &mut dyn Transaction, name: &str) -> Result<u32, Error> {
    let groups = tx.groups()?;
    let group = groups.iter().find(|group| group.name == name);
    group.map(|group| group.id).ok_or_else(|| {
        let known: Vec<&str> = groups.iter().map(|group| group.name.as_str()).collect();
        Error::unfit(if known.is_empty() {
            format!("there is no group {name}; make it with `group create {name}`")
        } else {
            format!(
                "there is no group {name}; there are {}, or make it with `group create {name}`",
                known.join(", ")
            )
        })
    })
}
