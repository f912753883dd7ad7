//! Every message, damaged in every way: refused, and the right one still accepted.
//!
//! Each damage is tried twice: as an outsider would send it, and with length and `mac1` put right,
//! as any agent of the domain on the path could.

use crate::domain::{Domain, NOW};
use crate::run::{DDE_TAIL, Run, remac};
use ge_core::DropReason;
use ge_core::crypto::x25519::LOW_ORDER;
use ge_core::dprp::{Binding, Fault, Reject, consume_dde};
use ge_core::wire::dprp::dde::DDE_LEN;
use ge_core::wire::dprp::{HEADER_LEN, MAC_LEN, peek};

/// All messages that differ from this one in one bit.
fn flips(message: &[u8]) -> impl Iterator<Item = Vec<u8>> {
    (0..message.len() * 8).map(|bit| {
        let mut forged = message.to_vec();
        forged[bit / 8] ^= 1 << (bit % 8);
        forged
    })
}

/// All messages that are this one cut short, or longer by one byte.
fn cuts(message: &[u8]) -> impl Iterator<Item = Vec<u8>> {
    (0..message.len()).map(|length| message[..length].to_vec()).chain([[message, &[0]].concat()])
}

/// Runs `refuse` over all damage. Of each outcome, counts the most precise reasons.
fn damage(message: &[u8], tail: usize, mut refuse: impl FnMut(&[u8]) -> Option<Reject>) {
    for forged in flips(message).chain(cuts(message)) {
        let reason = refuse(&forged).expect("an outsider's forgery is refused");
        assert_eq!(reason.fault(), Fault::Anybody, "{reason:?}");
        let mut inside = forged;
        if inside.len() < HEADER_LEN + tail {
            continue;
        }
        remac(&mut inside, tail);
        if inside != message {
            let reason = refuse(&inside);
            assert!(reason.is_some(), "a forgery from inside is refused");
            assert_ne!(reason, Some(Reject::BadMac), "its mac1 is right");
        }
    }
}

#[test]
fn dde() {
    let mut run = Run::pair();
    let (_, dde) = run.dde();
    let mac2_at = DDE_LEN - MAC_LEN;
    damage(&dde, DDE_TAIL, |forged| {
        // mac2 is for who is under load, and looked at before the message is read.
        let only_mac2 = forged.len() == DDE_LEN && forged[..mac2_at] == dde[..mac2_at];
        if only_mac2 && forged != dde {
            assert!(consume_dde(&run.r, forged, Binding::Fresh, NOW).is_ok());
            return Some(Reject::Unexpected);
        }
        consume_dde(&run.r, forged, Binding::Fresh, NOW).err()
    });
    assert!(run.rgi(&dde).is_ok());
}

#[test]
fn rgi() {
    let mut run = Run::pair();
    let (mut initiator, dde) = run.dde();
    let (_, rgi) = run.rgi(&dde).unwrap();
    damage(&rgi, MAC_LEN, |forged| run.mpit(&mut initiator, forged).err());
    assert!(run.mpit(&mut initiator, &rgi).is_ok());
}

#[test]
fn mpit() {
    let mut run = Run::pair();
    let (mut initiator, dde) = run.dde();
    let (mut responder, rgi) = run.rgi(&dde).unwrap();
    let (agreed_i, mpit) = run.mpit(&mut initiator, &rgi).unwrap();
    damage(&mpit, MAC_LEN, |forged| run.cdn(&mut responder, forged).err());
    let (agreed_r, _) = run.cdn(&mut responder, &mpit).unwrap();
    assert_eq!(agreed_i.send.0, agreed_r.receive.0);
}

#[test]
fn cdn() {
    let mut run = Run::pair();
    let done = run.finish().unwrap();
    damage(&done.cdn, MAC_LEN, |forged| done.initiator.consume_cdn(&run.i, forged, NOW).err());
    assert_eq!(done.initiator.consume_cdn(&run.i, &done.cdn, NOW), Ok(()));
}

#[test]
fn nomatch() {
    let domain = Domain::new(1);
    let mut run = Run::new(&domain.member(1, &[1]), &domain.member(2, &[2]));
    let (initiator, nomatch) = run.nomatch();
    damage(&nomatch, MAC_LEN, |forged| initiator.consume_nomatch(&run.i, forged, NOW).err());
    assert!(initiator.consume_nomatch(&run.i, &nomatch, NOW).is_ok());
}

#[test]
fn messages_in_the_wrong_place() {
    let mut run = Run::pair();
    let done = run.finish().unwrap();
    let (mut initiator, dde) = run.dde();
    let (mut responder, _) = run.rgi(&dde).unwrap();
    let others = [&done.dde, &done.rgi, &done.mpit, &done.cdn];
    for message in others {
        assert_eq!(run.mpit(&mut initiator, message).err(), Some(Reject::Unexpected));
        assert_eq!(run.cdn(&mut responder, message).err(), Some(Reject::Unexpected));
        let cdn = initiator.consume_cdn(&run.i, message, NOW);
        assert_eq!(cdn, Err(Reject::Unexpected));
        let nomatch = initiator.consume_nomatch(&run.i, message, NOW);
        assert_eq!(nomatch, Err(Reject::Unexpected));
    }
    for message in &others[1..] {
        let read = consume_dde(&run.r, message, Binding::Fresh, NOW).err();
        assert_eq!(read, Some(Reject::Unexpected));
    }
}

#[test]
fn messages_of_another_run_with_our_numbers() {
    // A member replays another negotiation's answer under this negotiation's number.
    let mut run = Run::pair();
    let (mut initiator, dde) = run.dde();
    let (mut responder, rgi) = run.rgi(&dde).unwrap();
    let other = run.finish().unwrap();
    let renumbered = |message: &[u8], ours: &[u8], tail| {
        let mut forged = message.to_vec();
        forged[8..24].copy_from_slice(&ours[8..24]);
        remac(&mut forged, tail);
        forged
    };
    let refused = run.mpit(&mut initiator, &renumbered(&other.rgi, &rgi, MAC_LEN)).err();
    assert_eq!(refused, Some(Reject::BadSeal("RGI path part")));
    let (_, mpit) = run.mpit(&mut initiator, &rgi).unwrap();
    let refused = run.cdn(&mut responder, &renumbered(&other.mpit, &mpit, MAC_LEN)).err();
    assert_eq!(refused, Some(Reject::BadSeal("MPIT path part")));
    let (_, cdn) = run.cdn(&mut responder, &mpit).unwrap();
    let forged = renumbered(&other.cdn, &cdn, MAC_LEN);
    assert_eq!(initiator.consume_cdn(&run.i, &forged, NOW), Err(Reject::BadSeal("CDN")));
    assert_eq!(initiator.consume_cdn(&run.i, &cdn, NOW), Ok(()));
}

#[test]
fn low_order_ephemeral_keys() {
    let mut run = Run::pair();
    let (mut initiator, dde) = run.dde();
    let (_, rgi) = run.rgi(&dde).unwrap();
    for point in LOW_ORDER {
        for top in [0, 0x80] {
            let put = |message: &[u8], tail| {
                let mut forged = message.to_vec();
                forged[HEADER_LEN..HEADER_LEN + 32].copy_from_slice(&point);
                forged[HEADER_LEN + 31] |= top;
                remac(&mut forged, tail);
                forged
            };
            let low = Some(Reject::Misbehaved("low-order ephemeral key"));
            let read = consume_dde(&run.r, &put(&dde, DDE_TAIL), Binding::Fresh, NOW);
            assert_eq!(read.err(), low);
            assert_eq!(run.mpit(&mut initiator, &put(&rgi, MAC_LEN)).err(), low);
        }
    }
    let mut reflected = rgi.clone();
    reflected[HEADER_LEN..HEADER_LEN + 32].copy_from_slice(&initiator.ephemeral());
    remac(&mut reflected, MAC_LEN);
    let own = run.mpit(&mut initiator, &reflected).err();
    assert_eq!(own, Some(Reject::Misbehaved("our own ephemeral key")));
    assert!(run.mpit(&mut initiator, &rgi).is_ok());
}

#[test]
fn a_nomatch_for_another_dde() {
    let domain = Domain::new(1);
    let mut run = Run::new(&domain.member(1, &[1]), &domain.member(2, &[2]));
    let (_, nomatch) = run.nomatch();
    let (initiator, _) = run.dde();
    assert_eq!(initiator.consume_nomatch(&run.i, &nomatch, NOW), Err(Reject::Unexpected));
    let mut forged = nomatch;
    forged[8..16].copy_from_slice(&initiator.id().0);
    remac(&mut forged, MAC_LEN);
    let read = initiator.consume_nomatch(&run.i, &forged, NOW);
    assert_eq!(read, Err(Reject::BadSeal("NOMATCH")));
}

#[test]
fn garbage_is_refused_by_its_header_or_its_mac() {
    let mut run = Run::pair();
    let (_, dde) = run.dde();
    for payload in [&[][..], b"GE", b"abcdefghijklmnopqrstuvwabcdefghi", &[0xff; 400]] {
        assert_eq!(peek(payload), None);
        let reason = consume_dde(&run.r, payload, Binding::Fresh, NOW).err().unwrap();
        assert_eq!(reason.drop_reason(), DropReason::Malformed);
    }
    let mut random = [0x5a; DDE_LEN];
    random[..24].copy_from_slice(&dde[..24]);
    let reason = consume_dde(&run.r, &random, Binding::Fresh, NOW).err().unwrap();
    assert_eq!((reason, reason.drop_reason()), (Reject::BadMac, DropReason::BadMac));
}
