//! A domain with one group, its keys made on the spot.

use ge_core::cert::{CertRole, Certificate, commit};
use ge_core::crypto::{sha256, sign, x25519};
use ge_core::id::Serial;
use ge_core::membership::{Group, Identity, Issuer, KeyEpoch, Membership, Secret32};
use ge_core::{DomainId, Epoch, GeId, GroupId, Mode, Role, Transit, UnixTime};

pub(super) struct Domain {
    issuer_seed: [u8; 32],
    issuer: Issuer,
}

const GROUP: GroupId = GroupId(1);

fn epoch(byte: u8) -> KeyEpoch {
    KeyEpoch {
        epoch: Epoch(1),
        key: Secret32([byte; 32]),
        not_before: UnixTime(0),
        not_after: UnixTime(u64::MAX),
    }
}

impl Domain {
    pub(super) fn new() -> Self {
        let issuer_seed = [7; 32];
        let key = sign::public_key(&Secret32(issuer_seed));
        let issuer = Issuer {
            id: sha256(&[&key])[..8].try_into().unwrap(),
            key,
            not_before: UnixTime(0),
            not_after: UnixTime(u64::MAX),
        };
        Self { issuer_seed, issuer }
    }

    pub(super) fn member(&self, number: u8, mode: Mode) -> (Identity, Membership) {
        let identity = Identity {
            identity: Secret32([number; 32]),
            noise_static: Secret32([number + 100; 32]),
        };
        let commit_key = Secret32([9; 32]);
        let serial = Serial([number; 16]);
        let certificate = Certificate {
            domain: DomainId([1; 8]),
            serial,
            agent: GeId([number; 16]),
            role: CertRole::Host,
            identity_key: sign::public_key(&identity.identity),
            noise_key: x25519::public_key(&identity.noise_static),
            not_before: UnixTime(0),
            not_after: UnixTime(u64::MAX / 2),
            issuer: self.issuer.id,
            aes: true,
            commits: vec![commit(&commit_key, &serial)],
            prefixes: Vec::new(),
            name_hashes: Vec::new(),
        }
        .sign(&self.issuer_seed);
        let membership = Membership {
            version: 1,
            domain: DomainId([1; 8]),
            agent: GeId([number; 16]),
            role: Role::Host,
            mode,
            transit: Transit::default(),
            certificate,
            issuers: vec![self.issuer],
            domain_keys: vec![epoch(3)],
            groups: vec![Group {
                id: GROUP,
                name: "lab".to_owned(),
                priority: 0,
                keys: vec![epoch(4)],
                commit_key,
            }],
            revocations: Vec::new(),
            search_scope: Vec::new(),
            observe: false,
            must_protect: Vec::new(),
            must_protect_names: Vec::new(),
        };
        (identity, membership)
    }
}
