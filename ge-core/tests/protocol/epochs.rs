//! Time: epochs of keys, time stamps, clocks that differ.

use crate::domain::{DAY, Domain, Member, NOW, OVERLAP};
use crate::run::Run;
use ge_core::dprp::{Binding, Reject, consume_dde};
use ge_core::id::{Epoch, GroupId};
use ge_core::{DropReason, Mode, UnixTime};

const GROUP: GroupId = GroupId(1);

/// A member that holds only these epochs of its group key.
fn member_with(number: u8, epochs: &[u32]) -> Member {
    let mut member = Domain::new(1).member(number, &[1]);
    let keys = &mut member.membership.groups[0].keys;
    keys.retain(|key| epochs.contains(&key.epoch.0));
    member
}

#[test]
fn the_epoch_before_is_accepted_the_one_before_that_is_not() {
    // The initiator was not told of newer keys; at NOW epoch 4 is in its overlap, epoch 3 is over.
    let all = [3, 4, 5, 6];
    let behind = Run::new(&member_with(1, &[3, 4]), &member_with(2, &all)).finish().unwrap();
    assert_eq!((behind.agreed_i.epoch, behind.agreed_r.epoch), (Epoch(4), Epoch(4)));
    let ahead = Run::new(&member_with(1, &all), &member_with(2, &[5, 6])).finish().unwrap();
    assert_eq!(ahead.agreed_r.epoch, Epoch(5));

    let keep = |member: &mut Member, epoch: u32| {
        // The agent itself believes that its key is in force for ever.
        for key in &mut member.membership.groups[0].keys {
            assert_eq!(key.epoch, Epoch(epoch));
            key.not_after = NOW.plus(DAY);
        }
    };
    let mut old = member_with(1, &[3]);
    keep(&mut old, 3);
    let mut run = Run::new(&old, &member_with(2, &all));
    assert_eq!(run.finish().err(), Some(Reject::NoCommonGroup));
    // Even if the server had let it live on: two behind the sending epoch is over.
    let mut lenient = member_with(2, &all);
    for key in &mut lenient.membership.groups[0].keys {
        key.not_after = NOW.plus(DAY);
    }
    let keyring = lenient.keyring();
    let accepted = [3, 4, 5, 6].map(|epoch| keyring.accepts(GROUP, Epoch(epoch), NOW));
    assert_eq!(accepted, [false, true, true, false]);
}

#[test]
fn a_closed_member_refuses_only_with_the_key_it_was_asked_under() {
    let closed = |epochs: &[u32]| {
        let mut member = member_with(2, epochs);
        member.membership.mode = Mode::Closed;
        member
    };
    // It has an older key alone, which the initiator still accepts.
    let mut run = Run::new(&member_with(1, &[4, 5]), &closed(&[4]));
    let (initiator, nomatch) = run.nomatch();
    let read = initiator.consume_nomatch(&run.i, &nomatch, NOW);
    assert_eq!(read.err(), Some(Reject::OtherEpoch(GROUP, Mode::Closed)));
    // It has the key itself, and refuses for somebody else.
    let mut run = Run::new(&member_with(1, &[4, 5]), &closed(&[4, 5]));
    let (initiator, nomatch) = run.nomatch();
    let said = initiator.consume_nomatch(&run.i, &nomatch, NOW).unwrap();
    assert_eq!((said.mode, said.shares_group), (Mode::Closed, true));
}

#[test]
fn epochs_by_the_clock() {
    let keyring = member_with(1, &[3, 4, 5, 6]).keyring();
    let start = |epoch: u64| NOW.0 - OVERLAP / 2 + epoch * DAY - 5 * DAY;
    let five = start(5);
    let six = start(6);
    let cases = [
        // time, sending, accepted of 3..=6
        (five - 121, Some(4), [false, true, false, false]),
        (five - 120, Some(4), [false, true, true, false]),
        (five - 1, Some(4), [false, true, true, false]),
        (five, Some(5), [false, true, true, false]),
        (five + OVERLAP - 1, Some(5), [false, true, true, false]),
        (five + OVERLAP, Some(5), [false, false, true, false]),
        (six - 120, Some(5), [false, false, true, true]),
        (six, Some(6), [false, false, true, true]),
        (six + OVERLAP, Some(6), [false, false, false, true]),
        (six + DAY + OVERLAP - 1, Some(6), [false, false, false, true]),
        (six + DAY + OVERLAP, None, [false; 4]),
    ];
    for (time, sending, accepted) in cases {
        let unix = UnixTime(time);
        let epoch = keyring.sending_epoch(GROUP, unix).map(|(epoch, _)| epoch.0);
        assert_eq!(epoch, sending, "{}", time as i64 - five as i64);
        let now = [3, 4, 5, 6].map(|epoch| keyring.accepts(GROUP, Epoch(epoch), unix));
        assert_eq!(now, accepted, "{}", time as i64 - five as i64);
    }
    let (_, until) = keyring.sending_epoch(GROUP, NOW).unwrap();
    assert_eq!(until, UnixTime(five + DAY + OVERLAP));
    assert!(!keyring.accepts(GroupId(2), Epoch(5), NOW));
}

#[test]
fn a_key_that_ends_in_the_middle_ends_the_negotiation() {
    let end = NOW.plus(OVERLAP / 2);
    let mut run = Run::new(&member_with(1, &[4]), &member_with(2, &[4]));
    run.unix = UnixTime(end.0 - 1);
    let (mut initiator, dde) = run.dde();
    let (mut responder, rgi) = run.rgi(&dde).unwrap();
    let (_, mpit) = run.mpit(&mut initiator, &rgi).unwrap();
    run.unix = end;
    assert_eq!(run.cdn(&mut responder, &mpit).err(), Some(Reject::Stale));
    run.unix = UnixTime(end.0 - 1);
    assert!(run.cdn(&mut responder, &mpit).is_ok());
}

#[test]
fn time_stamps() {
    let mut run = Run::pair();
    let (_, dde) = run.dde();
    for (offset, fresh) in [(-121, false), (-120, true), (0, true), (120, true), (121, false)] {
        let unix = UnixTime(NOW.0.saturating_add_signed(offset));
        let read = consume_dde(&run.r, &dde, Binding::Fresh, unix).err();
        assert_eq!(read, (!fresh).then_some(Reject::Stale), "{offset} s");
    }
    assert_eq!(Reject::Stale.drop_reason(), DropReason::Stale);
}

#[test]
fn domain_keys_rotate_like_group_keys() {
    let with = |number, epochs: &[u32]| {
        let mut member = Domain::new(1).member(number, &[1]);
        member.membership.domain_keys.retain(|key| epochs.contains(&key.epoch.0));
        member
    };
    assert!(Run::new(&with(1, &[4]), &with(2, &[4, 5])).finish().is_ok());
    assert!(Run::new(&with(1, &[4, 5]), &with(2, &[5, 6])).finish().is_ok());
    let refused = Run::new(&with(1, &[4, 5]), &with(2, &[4])).finish().err();
    assert_eq!(refused, Some(Reject::BadMac));
}
