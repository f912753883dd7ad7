//! What the policy and the engine's memory of destinations say about plaintext.

use super::ends::is_forget;
use super::*;
use crate::ClearReason;
use crate::io::KernelVerdict;
use crate::limits::{NEGATIVE_LIFETIME, OPEN_HOLD, STICKY_ENTRIES, STICKY_LIFETIME};
use crate::mode::Prefix;

fn observing() -> Engine {
    let member = Domain::new(1).member(1, &[1]);
    let mut engine = Engine::new(member.identity.clone(), [1; 32]);
    engine.set_interfaces(vec![interface(ETH0)], &[local()]);
    let membership = Membership { observe: true, ..member.membership };
    engine.install(membership, at(0)).unwrap();
    engine
}

/// Every timer up to `millis`, as the runtime would.
fn run_to(engine: &mut Engine, millis: u64) -> Vec<Output> {
    let mut done = Vec::new();
    loop {
        match engine.poll_output() {
            Output::Idle { until: Some(until), .. } if until <= at_millis(millis).mono => {
                let micros = until.as_micros();
                let unix = NOW.plus(micros / 1_000_000);
                engine.tick(Now { mono: until, unix });
            }
            Output::Idle { .. } => return done,
            output => done.push(output),
        }
    }
}

fn would(engine: &Engine, reason: ClearReason) -> u64 {
    engine.counters().would_drop[reason as usize]
}

fn from_stranger(engine: &mut Engine, n: u32, now: Now) -> Incoming {
    let bytes = frame(pair(n).remote.0, local(), 17, &[0, 9, 0, 9, 0, 8, 0, 0]);
    arrive(engine, bytes, now)
}

#[test]
fn a_flow_is_judged_when_closed_mode_would_have_judged_it() {
    let mut engine = observing();
    assert_eq!(send(&mut engine, pair(1), at(0)), Outgoing::Consumed);
    run_to(&mut engine, 1_000);
    assert_eq!(engine.flow_snapshot(pair(1), at(1)).unwrap().verdict, "clear");
    assert_eq!(engine.would_drop_reason(pair(1)), None, "an agent may still answer");
    run_to(&mut engine, 2_500);
    assert_eq!(engine.would_drop_reason(pair(1)), Some(ClearReason::NoAnswer));
    // Asked again and again, and used again and again: one flow.
    for seconds in 3..200 {
        assert_eq!(send(&mut engine, pair(1), at(seconds)), Outgoing::PutBack);
        run_to(&mut engine, seconds * 1000);
    }
    assert_eq!(would(&engine, ClearReason::NoAnswer), 1);
}

#[test]
fn strangers_are_listed_without_a_row_and_once() {
    let mut engine = observing();
    for second in 0..100 {
        assert_eq!(from_stranger(&mut engine, 1, at(second)), Incoming::Deliver);
        assert_eq!(from_stranger(&mut engine, 2, at(second)), Incoming::Deliver);
    }
    assert_eq!(engine.pit.len(), 0, "observe mode keeps the rows that open mode keeps");
    assert_eq!(would(&engine, ClearReason::Unasked), 2);
    let listed = engine.snapshot(at(100)).flows;
    assert_eq!(listed.len(), 2);
    assert!(listed.iter().all(|flow| flow.would_drop == Some(ClearReason::Unasked)));
    // The answer to one of them is asked about; it stays one flow.
    send(&mut engine, pair(1), at(100));
    run_to(&mut engine, 103_000);
    let all: u64 = engine.counters().would_drop.iter().sum();
    assert_eq!(all, 2);
    assert_eq!(engine.would_drop_reason(pair(1)), Some(ClearReason::NoAnswer));
}

#[test]
fn observe_lists_nothing_in_open_mode_and_forgets_when_it_ends() {
    let mut open = engine();
    from_stranger(&mut open, 1, at(0));
    assert_eq!(open.counters().would_drop.iter().sum::<u64>(), 0);
    let mut engine = observing();
    from_stranger(&mut engine, 1, at(0));
    let mut own = engine.membership.clone().unwrap();
    own.observe = false;
    engine.install(own, at(1)).unwrap();
    assert!(engine.snapshot(at(1)).flows.is_empty());
}

#[test]
fn what_must_be_protected_is_dropped_in_observe_mode_too() {
    let mut engine = observing();
    let range = Prefix { address: pair(1).remote.0, length: 32 };
    engine.membership.as_mut().unwrap().must_protect.push(range);
    engine.sticky.remember(pair(2), at(0).mono);
    for n in [1, 2] {
        assert_eq!(from_stranger(&mut engine, n, at(0)), Incoming::Consumed);
        assert_eq!(send(&mut engine, pair(n), at(0)), Outgoing::Consumed);
    }
    let done = run_to(&mut engine, 5_000);
    assert!(!done.iter().any(|output| matches!(output, Output::PutBack(_))));
    assert_eq!(engine.counters().would_drop.iter().sum::<u64>(), 0, "it is dropped, not passed");
}

#[test]
fn a_name_gets_an_address_that_is_talked_to_in_clear() {
    let mut engine = engine();
    send(&mut engine, pair(1), at(0));
    let done = run_to(&mut engine, 400);
    let bypass = |output: &Output| matches!(output, Output::Kernel(KernelVerdict::Bypass { pair: p, .. }) if *p == pair(1));
    assert!(done.iter().any(bypass));
    engine.set_named([pair(1).remote.0].into());
    let taken_back = |output: &Output| is_forget(output, pair(1));
    assert!(outputs(&mut engine).iter().any(taken_back), "the kernel passes nothing more of it");
    assert_eq!(send(&mut engine, pair(1), at(1)), Outgoing::Consumed);
    let done = run_to(&mut engine, 5_000);
    assert!(!done.iter().any(|output| matches!(output, Output::PutBack(_))));
    // The name lost it: it is a plain destination again.
    engine.set_named(BTreeSet::new());
    run_to(&mut engine, 20_000);
    send(&mut engine, pair(1), at(20));
    assert!(run_to(&mut engine, 21_000).iter().any(|o| matches!(o, Output::PutBack(_))));
}

#[test]
fn memory_of_destinations_survives_as_wall_time() {
    let mut before = engine();
    before.sticky.remember(pair(1), at(0).mono);
    before.sticky.remember(pair(2), at(3600).mono);
    let kept = before.sticky(at(3600));
    let mut after = engine();
    // Another start: monotonic time begins anew, wall time goes on.
    let day = STICKY_LIFETIME.as_secs();
    let start = |wall: u64| Now { mono: Instant::from_micros(7), unix: NOW.plus(wall) };
    after.restore_sticky(&kept, start(day + 1));
    assert!(!after.sticky.contains(pair(1).remote.0, start(0).mono), "its day is over");
    assert!(after.sticky.contains(pair(2).remote.0, start(0).mono));
    assert_eq!(send(&mut after, pair(2), start(day + 1)), Outgoing::Consumed);
    // A clock that was set back must not make it count for ever.
    let mut back = engine();
    let early = Now { mono: Instant::from_micros(7), unix: crate::UnixTime(0) };
    back.restore_sticky(&kept, early);
    let later = early.mono + STICKY_LIFETIME;
    assert!(back.sticky.contains(pair(1).remote.0, early.mono));
    assert!(!back.sticky.contains(pair(1).remote.0, later));
}

#[test]
fn memory_of_destinations_is_written_when_it_changes_and_bounded_when_read() {
    let mut engine = engine();
    let before = engine.sticky_changes();
    engine.sticky.remember(pair(1), at(0).mono);
    let one = engine.sticky_changes();
    engine.sticky.remember(pair(1), at(9).mono);
    assert!(one > before && engine.sticky_changes() == one, "prolonging is no news");
    engine.sticky.forget(pair(1).remote.0);
    assert!(engine.sticky_changes() > one);
    let many: Vec<_> = (0..STICKY_ENTRIES as u32 + 9).map(|n| (pair(n), NOW.plus(60))).collect();
    engine.restore_sticky(&many, at(0));
    assert_eq!(engine.sticky.len(), STICKY_ENTRIES);
}

/// A plain destination stalls once: while it is in use it is asked in the background only; unused,
/// its verdict ends; and the table of verdicts is bounded.
#[test]
fn a_plain_destination_stalls_once() {
    let mut engine = engine();
    assert_eq!(send(&mut engine, pair(1), at(0)), Outgoing::Consumed, "held");
    run_to(&mut engine, OPEN_HOLD.as_millis() as u64);
    let lifetime = NEGATIVE_LIFETIME.as_secs();
    let mut asked = 0;
    for second in 1..4 * lifetime {
        assert_eq!(send(&mut engine, pair(1), at(second)), Outgoing::PutBack, "{second} s");
        let done = run_to(&mut engine, second * 1000);
        asked += done.iter().filter(|output| matches!(output, Output::Transmit(_))).count();
    }
    assert!(asked > 20, "it is asked again in the background: {asked}");
    assert!(asked < 120, "and not often: {asked}");
    assert_eq!(engine.counters().clear_fallbacks[ClearReason::NoAnswer as usize], 1);
    let last = 4 * lifetime - 1;
    run_to(&mut engine, (last + 2 * lifetime) * 1000);
    assert!(engine.pit.get(pair(1)).is_none(), "unused, the verdict ends");
    assert_eq!(send(&mut engine, pair(1), at(last + 2 * lifetime + 1)), Outgoing::Consumed);
    for n in 10..30 {
        send(&mut engine, pair(n), at(last + 2 * lifetime + 2));
        run_to(&mut engine, (last + 2 * lifetime + 3) * 1000);
    }
    assert!(engine.pit.len() <= 8, "{} rows", engine.pit.len());
}

#[test]
fn every_reason_is_counted() {
    let mut engine = engine();
    let count =
        |engine: &Engine, reason: ClearReason| engine.counters().clear_fallbacks[reason as usize];
    let wrong = Now { unix: crate::UnixTime(0), ..at(0) };
    assert_eq!(send(&mut engine, pair(1), wrong), Outgoing::PutBack);
    let far = HostPair::new(local(), [203, 0, 113, 1].into());
    let foreign = HostPair::new([192, 0, 2, 1].into(), pair(1).remote.0);
    let many = HostPair::new(local(), [224, 0, 0, 251].into());
    for to in [far, foreign, many] {
        assert_eq!(send(&mut engine, to, at(0)), Outgoing::PutBack);
    }
    from_stranger(&mut engine, 3, at(0));
    send(&mut engine, pair(4), at(0));
    run_to(&mut engine, 400);
    for reason in [
        ClearReason::CannotAsk,
        ClearReason::OutOfScope,
        ClearReason::Forwarded,
        ClearReason::Multicast,
        ClearReason::Unasked,
        ClearReason::NoAnswer,
    ] {
        assert_eq!(count(&engine, reason), 1, "{}", reason.as_str());
    }
}
