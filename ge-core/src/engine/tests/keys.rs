//! When keys are replaced: by count, and after a new policy.

use super::ends::{End, Ends, protected};
use super::*;
use crate::dprp::domain::Member;
use crate::limits::OLD_KEYS_GRACE;
use crate::membership::KeyEpoch;
use crate::{Epoch, UnixTime};
use std::collections::BTreeSet;

#[test]
fn keys_are_replaced_after_so_many_packets() {
    let mut world = Ends::agreed();
    let before = protected(&world.a, pair(0)).current;
    let sent = |world: &Ends| {
        let index = protected(&world.a, pair(0)).current;
        world.a.sessions.get(index).unwrap().sealer.sent()
    };
    let limit = sent(&world) + 10;
    world.a.key_limits.rekey_after_messages = limit;
    while sent(&world) + 1 < limit {
        assert_eq!(world.send(0), Outgoing::Sealed);
        world.carry();
    }
    world.run(1000);
    assert_eq!(protected(&world.a, pair(0)).current, before, "one packet below the limit");
    assert_eq!(world.send(0), Outgoing::Sealed);
    world.run(1000);
    let after = protected(&world.a, pair(0)).current;
    assert_ne!(after, before);
    assert_eq!((world.a.counters.rekeys, world.b.counters.rekeys), (1, 1));
    assert!(sent(&world) < 10, "counted from the start under the new keys");
    assert_eq!(world.send(0), Outgoing::Sealed);
    world.run(OLD_KEYS_GRACE.as_millis() as u64 + 1000);
    assert!(world.a.sessions.get(before).is_none());
    assert_eq!(protected(&world.a, pair(0)).current, after);
}

/// The present epoch ends in ten minutes, a newer one is already in use.
fn rotated(member: &Member, unix: UnixTime) -> Membership {
    let mut membership = member.membership.clone();
    membership.version += 1;
    let rotate = |keys: &mut Vec<KeyEpoch>| {
        keys.retain(|key| key.epoch <= Epoch(6));
        for key in keys {
            match key.epoch {
                Epoch(5) => key.not_after = unix.plus(600),
                Epoch(6) => key.not_before = unix,
                _ => {}
            }
        }
    };
    rotate(&mut membership.domain_keys);
    membership.groups.iter_mut().for_each(|group| rotate(&mut group.keys));
    membership
}

#[test]
fn idle_sessions_leave_an_epoch_each_at_a_moment_of_its_own() {
    const FLOWS: u32 = 20;
    let domain = Domain::new(1);
    let (a, b) = (domain.member(1, &[1]), domain.member(2, &[1]));
    let mut world = Ends::of(&a, &b);
    (0..FLOWS).for_each(|n| world.agree(n));
    world.run(10_000); // nobody is in use any more
    let now = world.now();
    world.a.install(rotated(&a, now.unix), now).unwrap();
    world.b.install(rotated(&b, now.unix), now).unwrap();
    let mut moments = Vec::new();
    for _ in 0..700 {
        let rest = world.run(100);
        let rekeyed = |(end, output): &&(End, Output)| {
            *end == End::A
                && matches!(output, Output::Event(Event::Rekeyed { epoch: Epoch(6), .. }))
        };
        moments.extend(rest.iter().filter(rekeyed).map(|_| world.millis - 10_000));
    }
    assert_eq!(moments.len(), FLOWS as usize, "all, and each once: {moments:?}");
    assert!(moments.last().unwrap() <= &62_000, "within a minute: {moments:?}");
    let seconds: BTreeSet<u64> = moments.iter().map(|millis| millis / 1000).collect();
    assert!(seconds.len() > FLOWS as usize / 2, "spread: {moments:?}");
}

#[test]
fn session_in_use_leaves_an_epoch_at_once() {
    let domain = Domain::new(1);
    let (a, b) = (domain.member(1, &[1]), domain.member(2, &[1]));
    let mut world = Ends::of(&a, &b);
    world.agree(0);
    let now = world.now();
    world.a.install(rotated(&a, now.unix), now).unwrap();
    world.b.install(rotated(&b, now.unix), now).unwrap();
    world.run(600);
    assert_eq!(world.a.current_session(pair(0)).unwrap().epoch, Epoch(6));
}
