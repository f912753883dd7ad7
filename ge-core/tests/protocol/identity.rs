//! Who may take part: domain, group, certificate, revocation.

use crate::domain::{Domain, Member, NOW};
use crate::run::Run;
use ge_core::cert::{CertError, CertRole};
use ge_core::dprp::{Binding, NoMatch, Reject, consume_dde};
use ge_core::id::{GroupId, Serial};
use ge_core::keyring::{Keyring, KeyringError};
use ge_core::membership::{Issuer, Revocation, Secret32};
use ge_core::{DropReason, GeId, Mode, Role, UnixTime};

fn two() -> (Domain, Member, Member) {
    let domain = Domain::new(1);
    let (i, r) = (domain.member(1, &[1]), domain.member(2, &[1]));
    (domain, i, r)
}

#[test]
fn another_domain_hears_nothing() {
    let (_, i, _) = two();
    let mut run = Run::new(&i, &Domain::new(2).member(2, &[1]));
    assert_eq!(run.finish().err(), Some(Reject::BadMac));
    // The same domain key under another domain's number is another key.
    let (_, i, mut r) = two();
    let foreign = Domain::new(2).member(2, &[1]);
    r.membership.domain = foreign.membership.domain;
    r.membership.certificate = foreign.membership.certificate;
    r.membership.issuers = foreign.membership.issuers;
    r.identity = foreign.identity;
    assert_eq!(Run::new(&i, &r).finish().err(), Some(Reject::BadMac));
}

#[test]
fn without_a_common_group_a_signed_nomatch_says_so() {
    let domain = Domain::new(1);
    let mut r = domain.member(2, &[2, 3]);
    r.membership.mode = Mode::Closed;
    let mut run = Run::new(&domain.member(1, &[1]), &r);
    let (_, dde) = run.dde();
    let received = consume_dde(&run.r, &dde, Binding::Fresh, NOW).unwrap();
    assert!(received.common_groups().is_empty());
    assert_eq!(run.rgi(&dde).err(), Some(Reject::NoCommonGroup));
    let (initiator, nomatch) = run.nomatch();
    let NoMatch { peer, mode, .. } = initiator.consume_nomatch(&run.i, &nomatch, NOW).unwrap();
    assert_eq!((peer.agent, mode), (GeId([2; 16]), Mode::Closed));
}

#[test]
fn a_member_with_another_key_is_no_outsider() {
    // Same group, but the responder has only keys the initiator does not use: it cannot match.
    let (_, i, mut r) = two();
    for key in &mut r.membership.groups[0].keys {
        key.key = Secret32([0x99; 32]);
    }
    let mut run = Run::new(&i, &r);
    let (initiator, nomatch) = run.nomatch();
    let read = initiator.consume_nomatch(&run.i, &nomatch, NOW);
    assert_eq!(read, Err(Reject::OtherEpoch(GroupId(1), Mode::Open)));
}

#[test]
fn a_stolen_group_key_without_its_proof_is_not_enough() {
    // The thief has a certificate of the domain and the group's key, but no commitment.
    let (domain, i, r) = two();
    let thief = |number| {
        let mut member = domain.member(number, &[1]);
        domain.issue(&mut member, |certificate| certificate.commits.clear());
        member
    };
    let no_proof = Some(Reject::Misbehaved("the certificate does not prove the agreed group"));
    assert_eq!(Run::new(&thief(3), &r).finish().err(), no_proof);
    assert_eq!(Run::new(&i, &thief(3)).finish().err(), no_proof);
}

#[test]
fn certificates_that_ended_or_have_not_begun() {
    // Its own clock still says that it is valid: the peer's clock decides.
    let times = [
        (NOW.0 - 7200, NOW.0 - 120, Some(CertError::Expired)),
        (NOW.0 - 7200, NOW.0 - 119, None),
        (NOW.0 + 121, NOW.0 + 7200, Some(CertError::NotYetValid)),
        (NOW.0 + 120, NOW.0 + 7200, None),
    ];
    for (not_before, not_after, error) in times {
        let (domain, mut i, r) = two();
        domain.issue(&mut i, |certificate| {
            certificate.not_before = UnixTime(not_before);
            certificate.not_after = UnixTime(not_after);
        });
        let mut run = Run::new(&i, &r);
        let own_clock = UnixTime(NOW.0.clamp(not_before, not_after - 1));
        run.unix = own_clock;
        let (mut initiator, dde) = run.dde();
        run.unix = UnixTime(NOW.0.clamp(own_clock.0.saturating_sub(120), own_clock.0 + 120));
        let (mut responder, rgi) = run.rgi(&dde).unwrap();
        let (_, mpit) = run.mpit(&mut initiator, &rgi).unwrap();
        run.unix = NOW;
        let read = run.cdn(&mut responder, &mpit).err();
        assert_eq!(read, error.map(Reject::BadCertificate), "{not_before} {not_after}");
    }
}

#[test]
fn revoked_by_any_name() {
    let (_, i, r) = two();
    let of = |member: &Member| {
        let keyring = member.keyring();
        ge_core::cert::Certificate::parse(keyring.certificate()).unwrap()
    };
    let (cert_i, cert_r) = (of(&i), of(&r));
    let nobody = Revocation {
        serial: Serial([0xee; 16]),
        agent: GeId([0xee; 16]),
        identity_key: [0xee; 32],
        noise_key: [0xee; 32],
    };
    let names = |cert: &ge_core::cert::Certificate| {
        [
            Revocation { serial: cert.serial, ..nobody },
            Revocation { agent: cert.agent, ..nobody },
            Revocation { identity_key: cert.identity_key, ..nobody },
            Revocation { noise_key: cert.noise_key, ..nobody },
        ]
    };
    let run = |at_i: Revocation, at_r: Revocation| {
        let (_, mut i, mut r) = two();
        i.membership.revocations = vec![at_i];
        r.membership.revocations = vec![at_r];
        Run::new(&i, &r).finish().err()
    };
    assert_eq!(run(nobody, nobody), None);
    for revocation in names(&cert_r) {
        assert_eq!(run(revocation, nobody), Some(Reject::Revoked));
    }
    for revocation in names(&cert_i) {
        assert_eq!(run(nobody, revocation), Some(Reject::Revoked));
    }
    assert_eq!(Reject::Revoked.drop_reason(), DropReason::BadCertificate);
}

#[test]
fn certificates_by_an_unknown_key() {
    // An authority with another key calls itself ours; only its own member believes that.
    let rogue_member = |number| {
        let (domain, rogue) = (Domain::new(1), Domain::new(9));
        let mut member = domain.member(number, &[1]);
        let issuer = Issuer { id: domain.issuer().id, ..rogue.issuer() };
        member.membership.issuers = vec![issuer];
        rogue.issue(&mut member, |certificate| {
            certificate.domain = domain.id;
            certificate.issuer = issuer.id;
        });
        member
    };
    let (_, i, r) = two();
    let signature = Some(Reject::BadCertificate(CertError::Signature));
    assert_eq!(Run::new(&i, &rogue_member(2)).finish().err(), signature);
    assert_eq!(Run::new(&rogue_member(1), &r).finish().err(), signature);
}

#[test]
fn talking_to_oneself_is_refused() {
    let (domain, ..) = two();
    let (one, same) = (domain.member(1, &[1]), domain.member(1, &[1]));
    let own = Some(Reject::Misbehaved("the certificate is our own"));
    assert_eq!(Run::new(&one, &same).finish().err(), own);
}

#[test]
fn servers_and_relays_do_not_negotiate() {
    for role in [CertRole::Ms, CertRole::Relay] {
        let (domain, mut i, _) = two();
        domain.issue(&mut i, |certificate| certificate.role = role);
        let refused = Keyring::new(&i.identity, &i.membership).err();
        assert_eq!(refused, Some(KeyringError::Mismatch("role")));
    }
}

#[test]
fn keyrings_that_cannot_be() {
    let domain = Domain::new(1);
    let with = |change: &dyn Fn(&mut Member)| {
        let mut member = domain.member(1, &[1]);
        change(&mut member);
        Keyring::new(&member.identity, &member.membership).err()
    };
    assert_eq!(with(&|_| ()), None);
    let other = Secret32([1; 32]);
    let cases: [(&dyn Fn(&mut Member), KeyringError); 7] = [
        (&|m| m.identity.identity = other.clone(), KeyringError::Mismatch("identity key")),
        (&|m| m.identity.noise_static = other.clone(), KeyringError::Mismatch("Noise key")),
        (&|m| m.membership.agent = GeId([5; 16]), KeyringError::Mismatch("agent")),
        (
            &|m| m.membership.role = Role::Router { prefixes: Vec::new() },
            KeyringError::Mismatch("role"),
        ),
        (&|m| m.membership.domain_keys.clear(), KeyringError::NoDomainKey),
        (
            &|m| m.membership.groups = (0..9).map(|number| domain.group(number)).collect(),
            KeyringError::TooManyGroups(9),
        ),
        (&|m| m.membership.issuers.clear(), KeyringError::Certificate(CertError::Issuer)),
    ];
    for (change, expected) in cases {
        assert_eq!(with(change), Some(expected));
    }
}
