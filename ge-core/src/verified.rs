//! Certificates whose signature was right: the same bytes under the same issuing key need no second
//! look at it.
//!
//! Kept is the SHA-256 of the whole certificate, signature included, and of the issuing key, so that
//! nothing but what was verified can be found. Only the signature is remembered. Form, domain,
//! issuer, time and revocation are looked at every time, and a new membership makes a new keyring
//! and with it an empty memory.

use crate::cert::{self, CertError};
use crate::crypto::sha256;
use crate::limits::CERTIFICATES_VERIFIED;
use crate::membership::Issuer;
use core::cell::RefCell;
use std::collections::BTreeSet;

/// What was verified, in two generations: the older one is forgotten when the younger is full.
#[derive(Default)]
pub(crate) struct Verified(RefCell<Generations>);

#[derive(Default)]
struct Generations {
    young: BTreeSet<[u8; 32]>,
    old: BTreeSet<[u8; 32]>,
}

impl Verified {
    /// That the issuer signed these bytes, from memory or by a look at the signature.
    ///
    /// # Errors
    /// [`CertError`] of the signature. A refusal is not remembered: anybody can cause one.
    pub(crate) fn verify_signature(&self, bytes: &[u8], issuer: &Issuer) -> Result<(), CertError> {
        let name = sha256(&[&issuer.key, bytes]);
        let mut known = self.0.borrow_mut();
        if !known.contains(&name) {
            cert::verify_signature(bytes, issuer)?;
            known.insert(name);
        }
        Ok(())
    }
}

impl Generations {
    fn contains(&self, name: &[u8; 32]) -> bool {
        self.young.contains(name) || self.old.contains(name)
    }

    fn insert(&mut self, name: [u8; 32]) {
        if self.young.len() >= CERTIFICATES_VERIFIED / 2 {
            self.old = core::mem::take(&mut self.young);
        }
        self.young.insert(name);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::dprp::domain::{DAY, Domain, NOW};
    use crate::limits::CERTIFICATE_SKEW;

    #[test]
    fn what_is_known_is_not_looked_at_again() {
        let (domain, verified) = (Domain::new(1), Verified::default());
        let unsigned = [0; 256];
        let issuer = domain.issuer();
        assert_eq!(verified.verify_signature(&unsigned, &issuer), Err(CertError::Signature));
        assert_eq!(verified.verify_signature(&unsigned, &issuer), Err(CertError::Signature));
        verified.0.borrow_mut().insert(sha256(&[&issuer.key, &unsigned]));
        assert_eq!(verified.verify_signature(&unsigned, &issuer), Ok(()));
    }

    #[test]
    fn a_known_certificate_vouches_for_no_other() {
        let (domain, verified) = (Domain::new(1), Verified::default());
        let (issuer, certificate) =
            (domain.issuer(), domain.member(1, &[1]).membership.certificate);
        assert_eq!(verified.verify_signature(&certificate, &issuer), Ok(()));
        for bit in 0..certificate.len() * 8 {
            let mut forged = certificate.clone();
            forged[bit / 8] ^= 1 << (bit % 8);
            assert!(verified.verify_signature(&forged, &issuer).is_err(), "bit {bit}");
        }
        let other = Domain::new(2).issuer();
        assert!(verified.verify_signature(&certificate, &other).is_err());
        assert_eq!(verified.verify_signature(&certificate, &issuer), Ok(()));
    }

    /// A certificate that was believed ends all the same, and with it what its issuer may say.
    #[test]
    fn time_counts_for_what_is_known() {
        let domain = Domain::new(1);
        let keyring = domain.member(1, &[1]).keyring();
        let mut peer = domain.member(2, &[1]);
        let skew = CERTIFICATE_SKEW.as_secs();
        let mut verify = |not_after, now| {
            domain.issue(&mut peer, |certificate| certificate.not_after = not_after);
            keyring.verify(&peer.membership.certificate, now).err()
        };
        let end = NOW.plus(DAY);
        assert_eq!(verify(end, NOW), None);
        assert_eq!(verify(end, end.plus(skew)), Some(CertError::Expired));
        let issuer_end = NOW.plus(30 * DAY);
        assert_eq!(verify(NOW.plus(60 * DAY), NOW), None);
        assert_eq!(verify(NOW.plus(60 * DAY), issuer_end.plus(skew)), Some(CertError::Issuer));
    }

    #[test]
    fn memory_is_bounded_and_keeps_the_newest() {
        let mut known = Generations::default();
        let name = |number: usize| sha256(&[&number.to_be_bytes()]);
        for number in 0..3 * CERTIFICATES_VERIFIED {
            known.insert(name(number));
            assert!(known.contains(&name(number)));
            assert!(known.young.len() + known.old.len() <= CERTIFICATES_VERIFIED);
        }
        assert!(known.contains(&name(3 * CERTIFICATES_VERIFIED - CERTIFICATES_VERIFIED / 2)));
        assert!(!known.contains(&name(0)));
    }
}
