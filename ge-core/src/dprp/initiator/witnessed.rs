//! Responders that lie in the part of a CDN that agents between read. Everything a member of the domain can
//! seal is sealed right here, so that only the check meant for it can find what is wrong.

use super::impaired::Passed;
use super::tests::keys;
use super::*;
use crate::addr::WireAddr;
use crate::dprp::between::{Committed, decision};
use crate::dprp::domain::{Domain, Member, NOW};
use crate::dprp::path::{Use, open, seal};
use crate::mode::Mode;
use crate::wire::dprp::cdn::{CONFIRMATION_LEN, CdnPath};
use crate::wire::dprp::mpit::{MpitParts, MpitPath};
use crate::wire::dprp::peek;

/// A flow between members 1 and 2 past router 7, up to the MPIT.
fn passed(change: impl FnOnce(&mut MpitPath)) -> Passed {
    Passed::new(change, true)
}

impl Passed {
    /// The CDN of whoever signs with the keys of `signer` and shows its certificate.
    fn cdn(&mut self, signer: &Keyring, change: impl FnOnce(&mut CdnPath)) -> Vec<u8> {
        let keys = keys(&self.scene.i);
        let header = peek(&self.mpit).unwrap();
        let sids = path::sids(&header);
        let sealed = MpitParts::parse(&self.mpit).unwrap().path;
        let opened = open(&keys.record, Use::Mpit, sids, sealed).unwrap();
        let mpit = MpitPath::parse(&header, &opened).unwrap();
        let mpit_hash = crypto::sha256(&[sealed]);
        let text = transcript::cdn_text(&decision(&self.scene.i, sids, &mpit), &mpit_hash);
        let signature = signer.identity().sign(&text);
        let certificate = signer.certificate().to_vec();
        let mut path = CdnPath { mpit_hash, certificate, signature };
        change(&mut path);
        let sealed = seal(&keys.record, Use::Cdn, sids, &path.emit(), &mut self.scene.rng);
        let mut cdn = assemble(Kind::Cdn, 0, sids, &[&[0; CONFIRMATION_LEN], &sealed], MAC_LEN);
        tags::append_mac1(&mut cdn, &keys.mac1);
        cdn
    }

    fn read_cdn(&self, cdn: &[u8]) -> Result<Committed, Reject> {
        self.read.as_ref().unwrap().consume_cdn(&self.router, cdn, NOW)
    }
}

fn member(number: u8) -> Member {
    Domain::new(1).member(number, &[1])
}

#[test]
fn an_honest_responder_is_believed() {
    let mut passed = passed(|_| ());
    let cdn = passed.cdn(&member(2).keyring(), |_| ());
    assert!(passed.read_cdn(&cdn).is_ok());
}

#[test]
fn the_responder_signs_this_decision_and_no_other() {
    let mut passed = passed(|_| ());
    let two = member(2).keyring();
    let unsigned = passed.cdn(&two, |path| path.signature[5] ^= 1);
    assert_eq!(passed.read_cdn(&unsigned).err(), Some(Reject::BadSignature));
    let other = passed.cdn(&two, |path| path.mpit_hash[0] ^= 1);
    let expected = Reject::Misbehaved("the CDN is for another MPIT");
    assert_eq!(passed.read_cdn(&other).err(), Some(expected));
}

#[test]
fn another_member_cannot_sign_in_its_place() {
    let mut passed = passed(|_| ());
    let cdn = passed.cdn(&member(5).keyring(), |_| ());
    let expected = Reject::Misbehaved("the CDN has another certificate");
    assert_eq!(passed.read_cdn(&cdn).err(), Some(expected));
}

#[test]
fn one_agent_cannot_be_both_ends() {
    let own = member(1).keyring();
    let mut passed = passed(|path| {
        path.responder_certificate_hash = crypto::sha256(&[own.certificate()]);
    });
    let cdn = passed.cdn(&own, |_| ());
    let expected = Reject::Misbehaved("one agent signed for both ends");
    assert_eq!(passed.read_cdn(&cdn).err(), Some(expected));
}

#[test]
fn a_responder_of_another_domain_is_nobody() {
    let stranger = Domain::new(2).member(2, &[1]).keyring();
    let certificate = stranger.certificate().to_vec();
    let mut passed = passed(|path| {
        path.responder_certificate_hash = crypto::sha256(&[&certificate]);
    });
    let cdn = passed.cdn(&stranger, |_| ());
    assert!(matches!(passed.read_cdn(&cdn).err(), Some(Reject::BadCertificate(_))));
}

#[test]
fn a_host_receives_at_its_flows_address() {
    let mut passed = passed(|path| {
        path.responder.wire = WireAddr([10, 9, 9, 9].into());
    });
    let cdn = passed.cdn(&member(2).keyring(), |_| ());
    assert!(matches!(passed.read_cdn(&cdn).err(), Some(Reject::Misbehaved(_))));
}

#[test]
fn a_router_that_became_stricter_meanwhile_says_nothing_for_what_it_was() {
    let mut passed = passed(|_| ());
    let cdn = passed.cdn(&member(2).keyring(), |_| ());
    let mut stricter = member(7);
    stricter.membership.mode = Mode::Closed;
    let read = passed.read.unwrap().consume_cdn(&stricter.keyring(), &cdn, NOW);
    assert_eq!(read.err(), Some(Reject::Stale));
}
