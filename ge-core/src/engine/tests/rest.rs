//! A session that nobody uses is let alone, and looked at as soon as somebody does.

use super::ends::{Ends, protected};
use super::threads::Threads;
use super::*;
use crate::limits::{KEEPALIVE_AFTER, REJECT_AFTER_TIME, REKEY_AFTER_TIME, WOKEN_AFTER};
use core::time::Duration;

/// Until the engine wants to be woken next. What else it wants is lost.
fn sleeps(engine: &mut Engine, now: Now) -> Duration {
    loop {
        if let Output::Idle { until, .. } = engine.poll_output() {
            return until.expect("it has a session").since(now.mono);
        }
    }
}

/// Two ends that have said nothing to each other for a while.
fn resting() -> Ends {
    let mut ends = Ends::agreed();
    ends.run(11_000); // what was answered is forgotten as well
    ends
}

#[test]
fn nobody_is_woken_for_a_session_at_rest_until_it_is_used() {
    let mut ends = resting();
    let now = ends.now();
    assert!(sleeps(&mut ends.a, now) > Duration::from_secs(5));
    assert!(sleeps(&mut ends.b, now) > Duration::from_secs(5));
    ends.send(0);
    ends.carry();
    for engine in [&mut ends.a, &mut ends.b] {
        let sleeps = sleeps(engine, now);
        assert!((KEEPALIVE_AFTER..=Duration::from_millis(500)).contains(&sleeps), "{sleeps:?}");
    }
}

#[test]
fn a_session_that_nobody_uses_ends_when_it_must() {
    let mut ends = resting();
    // New keys once more, since the peer was heard within their time; these nobody uses.
    ends.run(REKEY_AFTER_TIME.as_millis() as u64);
    let index = protected(&ends.a, pair(0)).current;
    let age = ends.now().mono.since(ends.a.sessions.get(index).unwrap().created);
    ends.run((REJECT_AFTER_TIME - age).as_millis() as u64 - 200);
    assert!(ends.a.sessions.get(index).is_some());
    ends.run(400);
    assert!(ends.a.sessions.get(index).is_none());
}

/// And not for every packet.
#[test]
fn another_thread_says_once_that_a_session_is_used_again() {
    let mut threads = Threads::agreed();
    threads.run(11_000);
    let now = threads.ends.now();
    let told = |threads: &mut Threads| {
        let (sent, now) = (threads.sealed(1), threads.ends.now());
        (sleeps(&mut threads.ends.a, now), sent)
    };
    assert!(sleeps(&mut threads.ends.a, now) > Duration::from_secs(5));
    let (soon, sent) = told(&mut threads);
    assert_eq!(soon, Duration::ZERO);
    threads.ends.a.tick(now);
    let (later, _) = told(&mut threads);
    assert_eq!(later, Duration::from_millis(500));
    // At the other end as well: it owes a keepalive.
    assert!(sleeps(&mut threads.ends.b, now) > Duration::from_secs(5));
    threads.open(&sent);
    assert_eq!(sleeps(&mut threads.ends.b, now), Duration::ZERO);
    threads.run(WOKEN_AFTER.as_millis() as u64);
    assert!(threads.a[0].take_woken().next().is_none());
}
