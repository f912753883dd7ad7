//! Certificates: one encoding per content, and nothing is believed without every check.

use crate::domain::{DAY, Domain, NOW};
use ge_core::UnixTime;
use ge_core::cert::{CERTIFICATE_MAX, CertError, CertRole, Certificate, commit};
use ge_core::crypto::x25519::LOW_ORDER;
use ge_core::membership::{Issuer, Secret32};
use ge_core::mode::Prefix;

/// A router's certificate with everything in it, changed, signed and read.
fn issue(change: impl FnOnce(&mut Certificate)) -> Vec<u8> {
    let domain = Domain::new(1);
    let mut member = domain.member(4, &[1, 2]);
    domain.issue(&mut member, |certificate| {
        certificate.role = CertRole::Router;
        certificate.prefixes = vec![prefix("10.1.0.0", 16), prefix("2001:db8::", 32)];
        certificate.name_hashes = vec![[7; 8], [8; 8]];
        change(certificate);
    });
    member.membership.certificate
}

fn prefix(address: &str, length: u8) -> Prefix {
    Prefix { address: address.parse().unwrap(), length }
}

fn verify(bytes: &[u8]) -> Result<Certificate, CertError> {
    let domain = Domain::new(1);
    Certificate::verify(bytes, &[domain.issuer()], domain.id, NOW)
}

#[test]
fn what_is_issued_is_read_and_written_again() {
    let bytes = issue(|_| ());
    let certificate = verify(&bytes).unwrap();
    assert_eq!(certificate.prefixes, [prefix("10.1.0.0", 16), prefix("2001:db8::", 32)]);
    assert_eq!((certificate.commits.len(), certificate.name_hashes.len()), (2, 2));
    assert_eq!(Certificate::parse(&bytes), Ok(certificate));
    assert!(
        issue(|certificate| {
            certificate.commits = vec![[1; 6]; 8];
            certificate.prefixes = vec![prefix("2001:db8::", 32); 3];
        })
        .len()
            <= CERTIFICATE_MAX
    );
}

#[test]
fn every_bit_and_every_length_counts() {
    let bytes = issue(|_| ());
    for bit in 0..bytes.len() * 8 {
        let mut forged = bytes.clone();
        forged[bit / 8] ^= 1 << (bit % 8);
        assert!(verify(&forged).is_err(), "bit {bit}");
    }
    for length in 0..bytes.len() {
        assert!(Certificate::parse(&bytes[..length]).is_err(), "{length} bytes");
    }
    let longer = [&bytes[..], &[0]].concat();
    assert_eq!(Certificate::parse(&longer), Err(CertError::Malformed("trailing bytes")));
    let huge = vec![1; CERTIFICATE_MAX + 1];
    assert_eq!(Certificate::parse(&huge), Err(CertError::Malformed("too long")));
}

#[test]
fn content_that_is_never_allowed() {
    type Change = fn(&mut Certificate);
    let cases: [(&str, Change); 13] = [
        ("nine groups", |c| c.commits = vec![[0; 6]; 9]),
        ("four prefixes", |c| c.prefixes = vec![prefix("10.0.0.0", 8); 4]),
        ("three names", |c| c.name_hashes = vec![[0; 8]; 3]),
        ("a host with a prefix", |c| c.role = CertRole::Host),
        ("a relay with a prefix", |c| c.role = CertRole::Relay),
        ("everything, IPv4", |c| c.prefixes = vec![prefix("0.0.0.0", 0)]),
        ("everything, IPv6", |c| c.prefixes = vec![prefix("::", 0)]),
        ("an IPv4 prefix of 33", |c| c.prefixes = vec![prefix("10.0.0.1", 33)]),
        ("an IPv6 prefix of 129", |c| c.prefixes = vec![prefix("2001:db8::1", 129)]),
        ("host bits, IPv4", |c| c.prefixes = vec![prefix("10.0.0.1", 31)]),
        ("host bits, IPv6", |c| c.prefixes = vec![prefix("2001:db8::1", 64)]),
        ("a low-order key", |c| c.noise_key = LOW_ORDER[3]),
        ("never valid", |c| c.not_after = c.not_before),
    ];
    for (what, change) in cases {
        let read = Certificate::parse(&issue(change));
        assert!(matches!(read, Err(CertError::Malformed(_))), "{what}: {read:?}");
    }
    assert!(Certificate::parse(&issue(|c| c.prefixes = vec![prefix("10.0.0.1", 32)])).is_ok());
    assert!(Certificate::parse(&issue(|c| c.prefixes = vec![prefix("2001:db8::1", 128)])).is_ok());
}

#[test]
fn other_encodings_of_the_same_content() {
    let bytes = issue(|_| ());
    let with = |at: usize, value: u8| {
        let mut forged = bytes.clone();
        forged[at] = value;
        Certificate::parse(&forged)
    };
    assert_eq!(with(0, 2), Err(CertError::Version(2)));
    assert_eq!(with(41, 0), Err(CertError::Malformed("unknown role")));
    assert_eq!(with(41, 5), Err(CertError::Malformed("unknown role")));
    assert_eq!(with(42, 3), Err(CertError::Malformed("unknown flag")));
    // The IPv4 prefix follows 131 fixed bytes, two commitments and two counts.
    let at = 131 + 1 + 12 + 1;
    assert_eq!(bytes[at..at + 4], [4, 16, 10, 1]);
    assert_eq!(with(at, 5), Err(CertError::Malformed("unreadable prefix")));
    assert_eq!(with(at + 17, 1), Err(CertError::Malformed("unreadable prefix")));
}

#[test]
fn who_issued_it_and_when() {
    let domain = Domain::new(1);
    let bytes = issue(|_| ());
    let issuer = domain.issuer();
    let check = |issuers: &[Issuer], unix| {
        Certificate::verify(&bytes, issuers, domain.id, UnixTime(unix)).err()
    };
    let begin = NOW.0 - 3600;
    let end = NOW.0 + DAY;
    let cases = [
        (begin - 121, Some(CertError::NotYetValid)),
        (begin - 120, None),
        (end + 119, None),
        (end + 120, Some(CertError::Expired)),
    ];
    for (unix, expected) in cases {
        assert_eq!(check(&[issuer], unix), expected, "{unix}");
    }
    let unknown = Some(CertError::Issuer);
    assert_eq!(check(&[], NOW.0), unknown);
    assert_eq!(check(&[Domain::new(2).issuer()], NOW.0), unknown);
    let over = Issuer { not_after: UnixTime(NOW.0 - 200), ..issuer };
    assert_eq!(check(&[over], NOW.0), unknown);
    let imposter = Issuer { key: Domain::new(2).issuer().key, ..issuer };
    assert_eq!(check(&[imposter], NOW.0), Some(CertError::Signature));
    let other = Certificate::verify(&bytes, &[issuer], Domain::new(2).id, NOW);
    assert_eq!(other, Err(CertError::Domain));
}

#[test]
fn commitments_prove_a_group_to_its_members_only() {
    let domain = Domain::new(1);
    let certificate = verify(&issue(|_| ())).unwrap();
    assert!(certificate.is_member(&domain.group(1).commit_key));
    assert!(certificate.is_member(&domain.group(2).commit_key));
    assert!(!certificate.is_member(&domain.group(3).commit_key));
    assert!(!certificate.is_member(&Secret32([0; 32])));
    let key = domain.group(1).commit_key;
    assert_eq!(commit(&key, &certificate.serial), certificate.commits[0]);
}

#[test]
fn a_router_may_stand_for_its_prefixes() {
    let certificate = verify(&issue(|_| ())).unwrap();
    let cases =
        [("10.1.2.3", true), ("10.2.0.1", false), ("2001:db8:5::1", true), ("2001:db9::1", false)];
    for (address, inside) in cases {
        assert_eq!(certificate.may_stand_for(address.parse().unwrap()), inside, "{address}");
    }
}
