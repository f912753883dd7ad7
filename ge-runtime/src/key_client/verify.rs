//! What must hold before an answer is believed, and its translation into the engine's words.

use crate::state_dir::Enrolment;
use ge_core::cert::{CertError, Certificate};
use ge_core::crypto::{sign, x25519};
use ge_core::id::Serial;
use ge_core::membership::{Group, Identity, Issuer, KeyEpoch, Membership, Revocation, Secret32};
use ge_core::mode::Prefix;
use ge_core::{DomainId, Epoch, GeId, GroupId, Mode, Role, Transit, UnixTime};
use mgmt_api::{Bundle, IssuerStatement, Kind};
use sha2::{Digest, Sha256};

/// Why an answer of the server is not believed. Nothing of it is put in force.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Unbelievable {
    /// It is of another domain than the agent enrolled with.
    #[error("the server speaks for another domain than this host enrolled with; enrol again")]
    OtherDomain,
    /// The root key did not sign one of the issuing keys.
    #[error(
        "the server named an issuing key that the domain's root key did not sign; somebody may \
         have taken over the server"
    )]
    Issuer,
    /// The certificate is not this agent's, or does not hold.
    #[error("the server sent a certificate that does not hold: {0}")]
    Certificate(CertError),
    /// The certificate is about other keys.
    #[error("the server sent a certificate for other keys than this host's")]
    OtherKeys,
    /// Older than what was in force.
    #[error(
        "the server sent version {offered} of the membership, but version {known} was in force \
         here; it may have been set back to an old backup"
    )]
    RolledBack {
        /// Version sent.
        offered: u64,
        /// Highest version ever in force here.
        known: u64,
    },
}

/// The version must not be lower than any that was in force.
pub(super) const fn version(offered: u64, known: u64) -> Result<(), Unbelievable> {
    if offered < known { Err(Unbelievable::RolledBack { offered, known }) } else { Ok(()) }
}

/// Verifies everything but the version, and translates.
pub(super) fn membership(
    bundle: &Bundle,
    enrolment: &Enrolment,
    identity: &Identity,
) -> Result<Membership, Unbelievable> {
    let root_hash: [u8; 32] = Sha256::digest(bundle.root_key.0).into();
    let same_domain = bundle.root_key == enrolment.root_key
        && bundle.domain == enrolment.domain
        && bundle.agent == enrolment.agent
        && root_hash.starts_with(&bundle.domain.0);
    if !same_domain {
        return Err(Unbelievable::OtherDomain);
    }
    let issuers = bundle.issuers.iter().map(|statement| issuer(statement, bundle));
    let issuers = issuers.collect::<Result<Vec<_>, _>>()?;
    let domain = DomainId(bundle.domain.0);
    let certificate = Certificate::verify_timeless(&bundle.certificate.0, &issuers, domain)
        .map_err(Unbelievable::Certificate)?;
    if certificate.agent.0 != bundle.agent.0
        || certificate.identity_key != sign::public_key(&identity.identity)
        || certificate.noise_key != x25519::public_key(&identity.noise_static)
    {
        return Err(Unbelievable::OtherKeys);
    }
    Ok(Membership {
        version: bundle.version,
        domain,
        agent: GeId(bundle.agent.0),
        role: match bundle.kind {
            Kind::Host => Role::Host,
            Kind::Router => Role::Router { prefixes: prefixes(&bundle.prefixes) },
        },
        mode: match bundle.mode {
            mgmt_api::Mode::Open | mgmt_api::Mode::Observe => Mode::Open,
            mgmt_api::Mode::Closed => Mode::Closed,
        },
        transit: match bundle.transit {
            mgmt_api::Transit::Strict => Transit::Strict,
            mgmt_api::Transit::Vouched => Transit::Vouched,
            mgmt_api::Transit::Any => Transit::Any,
        },
        certificate: bundle.certificate.0.clone(),
        issuers,
        domain_keys: epochs(&bundle.domain_keys),
        groups: bundle.groups.iter().map(group).collect(),
        revocations: bundle.revocations.iter().map(revocation).collect(),
        search_scope: prefixes(&bundle.search_scope),
        observe: bundle.mode != mgmt_api::Mode::Closed
            && (bundle.observe || bundle.mode == mgmt_api::Mode::Observe),
        must_protect: prefixes(&bundle.must_protect),
        must_protect_names: bundle.must_protect_names.iter().map(ToString::to_string).collect(),
    })
}

fn issuer(statement: &IssuerStatement, bundle: &Bundle) -> Result<Issuer, Unbelievable> {
    let text = IssuerStatement::signed_bytes(
        &bundle.domain.0,
        &statement.key.0,
        statement.not_before,
        statement.not_after,
    );
    if !sign::verify(&bundle.root_key.0, &text, &statement.signature.0) {
        return Err(Unbelievable::Issuer);
    }
    let hash: [u8; 32] = Sha256::digest(statement.key.0).into();
    let mut id = [0; 8];
    id.copy_from_slice(&hash[..8]);
    Ok(Issuer {
        id,
        key: statement.key.0,
        not_before: UnixTime(statement.not_before),
        not_after: UnixTime(statement.not_after),
    })
}

fn group(group: &mgmt_api::Group) -> Group {
    Group {
        id: GroupId(group.id),
        name: group.name.clone(),
        priority: group.priority,
        keys: epochs(&group.keys),
        commit_key: Secret32(*group.commit_key.expose()),
    }
}

fn epochs(epochs: &[mgmt_api::KeyEpoch]) -> Vec<KeyEpoch> {
    let translate = |epoch: &mgmt_api::KeyEpoch| KeyEpoch {
        epoch: Epoch(epoch.epoch),
        key: Secret32(*epoch.key.expose()),
        not_before: UnixTime(epoch.not_before),
        not_after: UnixTime(epoch.not_after),
    };
    epochs.iter().map(translate).collect()
}

fn revocation(revocation: &mgmt_api::Revocation) -> Revocation {
    Revocation {
        serial: Serial(revocation.serial.0),
        agent: GeId(revocation.agent.0),
        identity_key: revocation.identity_key.0,
        noise_key: revocation.noise_key.0,
    }
}

fn prefixes(prefixes: &[mgmt_api::Prefix]) -> Vec<Prefix> {
    let translate =
        |prefix: &mgmt_api::Prefix| Prefix { address: prefix.address(), length: prefix.length() };
    prefixes.iter().map(translate).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::state_dir::StateDir;
    use mgmt_api::{EnrolRequest, HexBytes, Token};
    use mgmt_server::app::{Act, NewToken};
    use mgmt_server::data_dir::DataDir;

    const NOW: u64 = 1_700_000_000;

    fn request(token: &Token, identity: &Identity) -> EnrolRequest {
        EnrolRequest {
            token: token.id,
            secret: token.secret.clone(),
            noise_key: HexBytes(x25519::public_key(&identity.noise_static)),
            name: "host".into(),
            kind: Kind::Host,
            aes: true,
            subnets: Vec::new(),
        }
    }

    /// What a fresh domain answers to a fresh machine.
    fn answer() -> (Bundle, Enrolment, Identity) {
        let home = tempfile::tempdir().unwrap();
        let act = Act { actor: "test", now: NOW };
        let listen = "127.0.0.1:8443".parse().unwrap();
        let data = DataDir::init(&home.path().join("server"), listen, Vec::new(), act).unwrap();
        let app = data.app().unwrap();
        app.create_group(act, "sales").unwrap();
        let new = NewToken {
            groups: vec!["sales".into()],
            kind: Kind::Host,
            mode: mgmt_api::Mode::Open,
            prefixes: Vec::new(),
            uses: 1,
            expires: NOW + 1,
        };
        let token = app.create_token(act, &new, HexBytes([0; 32])).unwrap();
        let identity = StateDir::open(&home.path().join("agent")).unwrap().identity().unwrap();
        let key = HexBytes(sign::public_key(&identity.identity));
        let bundle = app.enrol(NOW, key, &request(&token, &identity)).unwrap();
        let enrolment = Enrolment::new(token.servers, token.fingerprint, &bundle);
        (bundle, enrolment, identity)
    }

    #[test]
    fn each_lie_is_found() {
        let (bundle, enrolment, identity) = answer();
        assert!(membership(&bundle, &enrolment, &identity).is_ok());
        let lie = |change: &dyn Fn(&mut Bundle)| {
            let mut bundle = bundle.clone();
            change(&mut bundle);
            membership(&bundle, &enrolment, &identity).err()
        };
        let (other, ..) = answer();
        assert_eq!(lie(&|b| b.clone_from(&other)), Some(Unbelievable::OtherDomain));
        assert_eq!(lie(&|b| b.root_key = other.root_key), Some(Unbelievable::OtherDomain));
        assert_eq!(lie(&|b| b.agent = other.agent), Some(Unbelievable::OtherDomain));
        assert_eq!(lie(&|b| b.issuers[0].not_after += 1), Some(Unbelievable::Issuer));
        assert_eq!(lie(&|b| b.issuers.push(other.issuers[0].clone())), Some(Unbelievable::Issuer));
        assert_eq!(lie(&|b| b.issuers.clear()), Some(Unbelievable::Certificate(CertError::Issuer)));
        assert_eq!(
            lie(&|b| b.certificate.0[60] ^= 1),
            Some(Unbelievable::Certificate(CertError::Signature))
        );
        assert_eq!(
            lie(&|b| b.certificate = other.certificate.clone()),
            Some(Unbelievable::Certificate(CertError::Domain))
        );
    }

    #[test]
    fn a_certificate_for_other_keys_is_of_no_use() {
        let (bundle, enrolment, mut identity) = answer();
        identity.noise_static.0[0] ^= 8;
        let result = membership(&bundle, &enrolment, &identity);
        assert_eq!(result.err(), Some(Unbelievable::OtherKeys));
    }

    #[test]
    fn versions_do_not_go_back() {
        assert_eq!(version(5, 5), Ok(()));
        assert_eq!(version(6, 5), Ok(()));
        assert_eq!(version(4, 5), Err(Unbelievable::RolledBack { offered: 4, known: 5 }));
    }
}
