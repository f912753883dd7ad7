//! A small domain: what a management server would hand out, made from fixed seeds, so that every
//! run sees the same keys.

use ge_core::addr::WireAddr;
use ge_core::cert::{CertRole, Certificate, commit};
use ge_core::crypto::{Rng, sha256, sign, x25519};
use ge_core::dprp::{Proposal, Purpose, SessionParameters};
use ge_core::flow::{HostPair, Ports};
use ge_core::id::{Epoch, GroupId, Serial, SessionIndex};
use ge_core::keyring::Keyring;
use ge_core::membership::{Group, Identity, Issuer, KeyEpoch, Membership, Secret32};
use ge_core::{DomainId, GeId, Mode, Role, Transit, UnixTime};
use rand_core::SeedableRng as _;

/// The present of all tests. Epoch 5 of every key is in force, epoch 4 is about to end.
pub const NOW: UnixTime = UnixTime(1_800_000_000);
/// Life of an epoch.
pub const DAY: u64 = 86_400;
/// How long the epoch before is still accepted.
pub const OVERLAP: u64 = 600;

/// One domain with its issuing key.
pub struct Domain {
    pub id: DomainId,
    seed: u8,
    issuer_seed: [u8; 32],
}

/// One agent: its own keys and what the domain gave it.
pub struct Member {
    pub identity: Identity,
    pub membership: Membership,
}

impl Member {
    pub fn keyring(&self) -> Keyring {
        Keyring::new(&self.identity, &self.membership).expect("the fixture is consistent")
    }
}

impl Domain {
    pub fn new(seed: u8) -> Self {
        Self { id: DomainId([seed; 8]), seed, issuer_seed: secret(seed, "issuer", 0).0 }
    }

    pub fn issuer(&self) -> Issuer {
        let key = sign::public_key(&Secret32(self.issuer_seed));
        let mut id = [0; 8];
        id.copy_from_slice(&sha256(&[&key])[..8]);
        Issuer { id, key, not_before: UnixTime(NOW.0 - 30 * DAY), not_after: NOW.plus(30 * DAY) }
    }

    /// Group `number`; the smaller its number, the more it is preferred.
    pub fn group(&self, number: u32) -> Group {
        Group {
            id: GroupId(number),
            name: format!("group-{number}"),
            priority: 100,
            keys: self.epochs(&format!("gk {number}")),
            commit_key: secret(self.seed, "ck", number),
        }
    }

    /// Agent `number`, an open host in `groups`, with AES in hardware.
    pub fn member(&self, number: u8, groups: &[u32]) -> Member {
        let identity = Identity {
            identity: secret(self.seed, "ik", number.into()),
            noise_static: secret(self.seed, "sk", number.into()),
        };
        let membership = Membership {
            version: 7,
            domain: self.id,
            agent: GeId([number; 16]),
            role: Role::Host,
            mode: Mode::Open,
            transit: Transit::Vouched,
            certificate: Vec::new(),
            issuers: vec![self.issuer()],
            domain_keys: self.epochs("tk"),
            groups: groups.iter().map(|group| self.group(*group)).collect(),
            revocations: Vec::new(),
            search_scope: Vec::new(),
            observe: false,
            must_protect: Vec::new(),
            must_protect_names: Vec::new(),
        };
        let mut member = Member { identity, membership };
        self.issue(&mut member, |_| ());
        member
    }

    /// Issues the member's certificate anew, with `change` made to its content.
    pub fn issue(&self, member: &mut Member, change: impl FnOnce(&mut Certificate)) {
        let serial = Serial([member.membership.agent.0[0]; 16]);
        let groups = &member.membership.groups;
        let mut certificate = Certificate {
            domain: self.id,
            serial,
            agent: member.membership.agent,
            role: CertRole::Host,
            identity_key: sign::public_key(&member.identity.identity),
            noise_key: x25519::public_key(&member.identity.noise_static),
            not_before: UnixTime(NOW.0 - 3600),
            not_after: NOW.plus(DAY),
            issuer: self.issuer().id,
            aes: true,
            commits: groups.iter().map(|group| commit(&group.commit_key, &serial)).collect(),
            prefixes: Vec::new(),
            name_hashes: Vec::new(),
        };
        change(&mut certificate);
        member.membership.certificate = certificate.sign(&self.issuer_seed);
    }

    /// Epochs 3 to 6: two that are over or nearly, the present one, the next one.
    fn epochs(&self, label: &str) -> Vec<KeyEpoch> {
        let start = |epoch: u32| NOW.0 - OVERLAP / 2 + u64::from(epoch) * DAY - 5 * DAY;
        (3..=6)
            .map(|epoch| KeyEpoch {
                epoch: Epoch(epoch),
                key: secret(self.seed, label, epoch),
                not_before: UnixTime(start(epoch)),
                not_after: UnixTime(start(epoch) + DAY + OVERLAP),
            })
            .collect()
    }
}

/// A flow between two hosts of the documentation range.
pub fn proposal() -> Proposal {
    let pair = HostPair::new([192, 0, 2, 1].into(), [192, 0, 2, 2].into());
    let ports = Ports { protocol: 6, local: 40_000, remote: 22 };
    let purpose = Purpose::Protect;
    Proposal { pair, ports, mode: Mode::Open, router: false, purpose }
}

/// Of one end of [`proposal`]: 2 and 22 are indices of the responder, all others of the initiator.
pub fn parameters(index: u32) -> SessionParameters {
    let host = if matches!(index, 2 | 22) { 2 } else { 1 };
    let wire = WireAddr([192, 0, 2, host].into());
    SessionParameters { index: SessionIndex(index), data_port: 5865, wire }
}

pub fn rng(seed: u8) -> Rng {
    Rng::from_seed([seed; 32])
}

fn secret(seed: u8, label: &str, number: u32) -> Secret32 {
    Secret32(sha256(&[b"test", &[seed], label.as_bytes(), &number.to_be_bytes()]))
}
