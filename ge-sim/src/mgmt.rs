//! The management server of the simulated world: makes domain, groups, certificates and epochs,
//! and says what each member's agent is handed. It decides nothing about delivery; the simulation
//! hands its bundles out, late if the plan says so.

use crate::packet::NodeId;
use ge_core::cert::{CertRole, Certificate, commit};
use ge_core::crypto::{Rng, sha256, sign, x25519};
use ge_core::id::Serial;
use ge_core::membership::{Group, Identity, Issuer, KeyEpoch, Membership, Revocation, Secret32};
use ge_core::mode::{Mode, Prefix, Role, Transit};
use ge_core::now::UnixTime;
use ge_core::{DomainId, Epoch, GeId, GroupId};
use rand_core::Rng as _;
use std::collections::BTreeMap;
use std::net::IpAddr;

/// Agents' clocks may be off by half of this, so that what begins at once begins so much earlier.
const CLOCK_SLACK: u64 = 120;
/// How long the former epoch counts after a planned rotation. PROTOCOL.md 2.5.
const SOFT_OVERLAP: u64 = 600;
/// The same after a removal. PROTOCOL.md 2.5.
const HARD_OVERLAP: u64 = 5;
const DAY: u64 = 24 * 3600;

/// How a group's key is replaced.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Rotation {
    /// Planned: the former key counts a while longer.
    Soft,
    /// After a removal: the former key ends at once.
    Hard,
}

/// The server.
pub struct Mgmt {
    rng: Rng,
    domain: DomainId,
    issuer: Issuer,
    issuer_seed: [u8; 32],
    domain_keys: Vec<KeyEpoch>,
    groups: BTreeMap<GroupId, Group>,
    members: BTreeMap<NodeId, Member>,
    revocations: Vec<Revocation>,
    must_protect: Vec<Prefix>,
    /// Every open member observes.
    pub observe: bool,
    version: u64,
}

struct Member {
    agent: GeId,
    serial: Serial,
    identity: Identity,
    admission: Admission,
    aes: bool,
    removed: bool,
}

/// What the administrator says about a member.
#[derive(Clone, Debug)]
pub struct Admission {
    /// Open or closed.
    pub mode: Mode,
    /// Its groups.
    pub groups: Vec<GroupId>,
    /// A host, or a router and what it stands for.
    pub role: Role,
    /// What it asks of others' sessions that pass it.
    pub transit: Transit,
    /// Its machine has AES in hardware; left to chance where nothing is said.
    pub aes: Option<bool>,
}

impl Admission {
    /// A host.
    #[must_use]
    pub fn host(mode: Mode, groups: &[GroupId]) -> Self {
        let (groups, transit) = (groups.to_vec(), Transit::default());
        Self { mode, groups, role: Role::Host, transit, aes: None }
    }

    /// A router in front of `prefixes`.
    #[must_use]
    pub fn router(mode: Mode, groups: &[GroupId], prefixes: Vec<Prefix>) -> Self {
        Self { role: Role::Router { prefixes }, ..Self::host(mode, groups) }
    }

    fn prefixes(&self) -> &[Prefix] {
        match &self.role {
            Role::Router { prefixes } => prefixes,
            Role::Host => &[],
        }
    }

    /// Whether a router may speak for an address. A host speaks for its own, which nobody certifies.
    #[must_use]
    pub fn stands_for(&self, addr: IpAddr) -> bool {
        self.prefixes().iter().any(|prefix| prefix.contains(addr))
    }
}

impl Mgmt {
    /// A server with one domain and no members.
    #[must_use]
    pub fn new(mut rng: Rng, unix: UnixTime) -> Self {
        let mut issuer_seed = [0; 32];
        rng.fill_bytes(&mut issuer_seed);
        let key = sign::public_key(&Secret32(issuer_seed));
        let mut id = [0; 8];
        id.copy_from_slice(&sha256(&[&key])[..8]);
        let issuer =
            Issuer { id, key, not_before: UnixTime(unix.0 - DAY), not_after: unix.plus(30 * DAY) };
        let mut mgmt = Self {
            rng,
            domain: DomainId(*b"simulate"),
            issuer,
            issuer_seed,
            domain_keys: Vec::new(),
            groups: BTreeMap::new(),
            members: BTreeMap::new(),
            revocations: Vec::new(),
            must_protect: Vec::new(),
            observe: false,
            version: 1,
        };
        let key = mgmt.key_epoch(Epoch(1), unix);
        mgmt.domain_keys.push(key);
        mgmt
    }

    /// A new group.
    pub fn add_group(&mut self, unix: UnixTime) -> GroupId {
        let id = GroupId(self.groups.len() as u32 + 1);
        let keys = vec![self.key_epoch(Epoch(1), unix)];
        let commit_key = self.secret();
        let name = format!("group{}", id.0);
        self.groups.insert(id, Group { id, name, priority: 100, keys, commit_key });
        self.version += 1;
        id
    }

    /// A new member. Its keys are made here only because somebody must; the server does not use
    /// the private halves.
    pub fn add_member(&mut self, node: NodeId, admission: Admission) -> Identity {
        let identity = Identity { identity: self.secret(), noise_static: self.secret() };
        let (mut agent, mut serial) = ([0; 16], [0; 16]);
        self.rng.fill_bytes(&mut agent);
        self.rng.fill_bytes(&mut serial);
        let chance = self.rng.next_u32().is_multiple_of(2);
        let member = Member {
            agent: GeId(agent),
            serial: Serial(serial),
            identity: identity.clone(),
            aes: admission.aes.unwrap_or(chance),
            admission,
            removed: false,
        };
        self.members.insert(node, member);
        self.version += 1;
        identity
    }

    /// Present version of the policy.
    #[must_use]
    pub const fn version(&self) -> u64 {
        self.version
    }

    /// The agent of a node.
    #[must_use]
    pub fn agent(&self, node: NodeId) -> Option<GeId> {
        self.members.get(&node).map(|member| member.agent)
    }

    /// The node whose agent this is.
    #[must_use]
    pub fn node(&self, agent: GeId) -> Option<NodeId> {
        self.members.iter().find(|(_, member)| member.agent == agent).map(|(node, _)| *node)
    }

    /// A member that is neither this node nor this agent.
    #[must_use]
    pub fn somebody_else(&self, node: NodeId, agent: GeId) -> Option<NodeId> {
        let mut others = self.members.iter();
        others.find(|(id, member)| **id != node && member.agent != agent).map(|(id, _)| *id)
    }

    /// What was said about a member.
    #[must_use]
    pub fn admission(&self, node: NodeId) -> Option<&Admission> {
        self.members.get(&node).map(|member| &member.admission)
    }

    /// Nobody in `prefix` is talked to in clear from now on, whatever the mode.
    pub fn must_protect(&mut self, prefix: Prefix) {
        self.must_protect.push(prefix);
        self.version += 1;
    }

    /// True if the two are members and share a group.
    #[must_use]
    pub fn share_group(&self, a: NodeId, b: NodeId) -> bool {
        match (self.members.get(&a), self.members.get(&b)) {
            (Some(a), Some(b)) if !a.removed && !b.removed => {
                a.admission.groups.iter().any(|group| b.admission.groups.contains(group))
            }
            _ => false,
        }
    }

    /// True if the node was a member once.
    #[must_use]
    pub fn is_removed(&self, node: NodeId) -> bool {
        self.members.get(&node).is_some_and(|member| member.removed)
    }

    /// Open or closed.
    pub fn set_mode(&mut self, node: NodeId, mode: Mode) {
        if let Some(member) = self.members.get_mut(&node) {
            member.admission.mode = mode;
            self.version += 1;
        }
    }

    /// Mode of a member; plain hosts are as open as can be.
    #[must_use]
    pub fn mode(&self, node: NodeId) -> Mode {
        self.members.get(&node).map_or(Mode::Open, |member| member.admission.mode)
    }

    /// The groups.
    #[must_use]
    pub fn groups(&self) -> Vec<GroupId> {
        self.groups.keys().copied().collect()
    }

    /// Replaces the key of a group.
    pub fn rotate(&mut self, group: GroupId, rotation: Rotation, unix: UnixTime) {
        let Some(epoch) = self.groups.get(&group).and_then(|g| g.keys.last()).map(|k| k.epoch)
        else {
            return;
        };
        let next = self.key_epoch(Epoch(epoch.0 + 1), unix);
        if let Some(group) = self.groups.get_mut(&group) {
            replace(&mut group.keys, next, rotation, unix);
        }
        self.version += 1;
    }

    /// Removes a member: its groups and the domain get new keys at once, its certificate counts no
    /// longer.
    pub fn remove(&mut self, node: NodeId, unix: UnixTime) {
        let Some(member) = self.members.get_mut(&node) else { return };
        member.removed = true;
        self.revocations.push(Revocation {
            serial: member.serial,
            agent: member.agent,
            identity_key: sign::public_key(&member.identity.identity),
            noise_key: x25519::public_key(&member.identity.noise_static),
        });
        for group in member.admission.groups.clone() {
            self.rotate(group, Rotation::Hard, unix);
        }
        let epoch = self.domain_keys.last().map_or(1, |key| key.epoch.0 + 1);
        let next = self.key_epoch(Epoch(epoch), unix);
        replace(&mut self.domain_keys, next, Rotation::Hard, unix);
        self.version += 1;
    }

    /// When the epoch of a group ends, if it has an end before its day is over.
    #[must_use]
    pub fn epoch_ends(&self, group: GroupId, epoch: Epoch) -> Option<UnixTime> {
        let group = self.groups.get(&group)?;
        group.keys.iter().find(|key| key.epoch == epoch).map(|key| key.not_after)
    }

    /// What a member's agent is handed at this moment. `None` for strangers and removed members.
    #[must_use]
    pub fn membership(&self, node: NodeId, unix: UnixTime) -> Option<Membership> {
        let member = self.members.get(&node).filter(|member| !member.removed)?;
        let admission = &member.admission;
        Some(Membership {
            version: self.version,
            domain: self.domain,
            agent: member.agent,
            role: admission.role.clone(),
            mode: admission.mode,
            transit: admission.transit,
            certificate: self.certificate(member, unix),
            issuers: vec![self.issuer],
            domain_keys: self.domain_keys.clone(),
            groups: admission.groups.iter().filter_map(|id| self.groups.get(id)).cloned().collect(),
            revocations: self.revocations.clone(),
            search_scope: scope(),
            observe: self.observe && admission.mode == Mode::Open,
            must_protect: self.must_protect.clone(),
            must_protect_names: Vec::new(),
        })
    }

    fn certificate(&self, member: &Member, unix: UnixTime) -> Vec<u8> {
        let commits = member
            .admission
            .groups
            .iter()
            .filter_map(|id| self.groups.get(id))
            .map(|group| commit(&group.commit_key, &member.serial))
            .collect();
        Certificate {
            domain: self.domain,
            serial: member.serial,
            agent: member.agent,
            role: match member.admission.role {
                Role::Host => CertRole::Host,
                Role::Router { .. } => CertRole::Router,
            },
            identity_key: sign::public_key(&member.identity.identity),
            noise_key: x25519::public_key(&member.identity.noise_static),
            not_before: UnixTime(unix.0 - CLOCK_SLACK),
            not_after: unix.plus(DAY),
            issuer: self.issuer.id,
            aes: member.aes,
            commits,
            prefixes: member.admission.prefixes().to_vec(),
            name_hashes: Vec::new(),
        }
        .sign(&self.issuer_seed)
    }

    fn key_epoch(&mut self, epoch: Epoch, unix: UnixTime) -> KeyEpoch {
        KeyEpoch {
            epoch,
            key: self.secret(),
            not_before: UnixTime(unix.0 - CLOCK_SLACK),
            not_after: unix.plus(DAY),
        }
    }

    fn secret(&mut self) -> Secret32 {
        let mut bytes = [0; 32];
        self.rng.fill_bytes(&mut bytes);
        Secret32(bytes)
    }
}

/// Destinations worth asking: the simulated networks. Everything else is out of scope.
fn scope() -> Vec<Prefix> {
    let prefix =
        |address: &str, length| address.parse().ok().map(|address| Prefix { address, length });
    [prefix("10.0.0.0", 8), prefix("fd00::", 8)].into_iter().flatten().collect()
}

fn replace(keys: &mut Vec<KeyEpoch>, next: KeyEpoch, rotation: Rotation, unix: UnixTime) {
    let overlap = match rotation {
        Rotation::Soft => SOFT_OVERLAP,
        Rotation::Hard => HARD_OVERLAP,
    };
    for key in keys.iter_mut() {
        key.not_after = key.not_after.min(unix.plus(overlap));
    }
    keys.push(next);
}
