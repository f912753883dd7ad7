//! Sessions that end, and errors and farewells that are about others than the present one.

use super::ends::{Ends, hand_over, negotiation, protected};
use super::*;
use crate::engine::row::{Phase, Via};
use crate::icmp_error::{ErrorKind, build_error_for};
use crate::id::SessionIndex;
use crate::io::{DatagramRun, PACKET_AT};
use crate::limits::{DOUBT_HEEDED_EVERY, OLD_KEYS_GRACE};
use crate::shim::{Kind, Shim};
use crate::{DropReason, Lane};

fn current(engine: &Engine) -> SessionIndex {
    protected(engine, pair(0)).current
}

/// New keys that the other end does not know yet: the row's `next`.
fn next_keys(world: &mut Ends) -> SessionIndex {
    let (now, via) = (world.now(), Via::Session(current(&world.a)));
    world.a.renegotiate(pair(0), via, now);
    let question = outputs(&mut world.a);
    for answer in world.answers(question) {
        hand_over(&mut world.a, answer, now);
    }
    outputs(&mut world.a);
    assert_eq!(negotiation(&world.a, pair(0)).phase, Phase::ExpectCdn);
    protected(&world.a, pair(0)).next.expect("agreed, not confirmed")
}

#[test]
fn end_of_the_next_session_frees_the_row_for_another() {
    let mut world = Ends::agreed();
    let (before, next) = (current(&world.a), next_keys(&mut world));
    world.a.end_session(next, pair(0), "goodbye");
    let row = protected(&world.a, pair(0));
    assert_eq!((row.current, row.next), (before, None));
    assert!(row.rekey.is_none() && world.a.negotiations.is_empty());
    assert_eq!(world.send(0), Outgoing::Sealed);
    let now = world.now();
    world.a.renegotiate(pair(0), Via::Session(before), now);
    world.carry();
    assert_ne!(current(&world.a), before, "it got new keys after all");
}

#[test]
fn goodbye_in_a_retired_session_ends_no_more_than_that() {
    let mut world = Ends::agreed();
    let (old, now) = (current(&world.a), world.now());
    world.b.stop(now);
    let late = outputs(&mut world.b);
    assert!(!late.is_empty());
    world.a.renegotiate(pair(0), Via::Session(old), now);
    world.carry();
    assert_ne!(current(&world.a), old);
    for goodbye in late {
        hand_over(&mut world.a, goodbye, now);
    }
    assert!(world.a.sessions.get(old).is_none());
    assert!(world.a.sticky.contains(pair(0).remote.0, now.mono), "it still must be protected");
    assert_eq!(world.send(0), Outgoing::Sealed);
}

#[test]
fn goodbye_in_the_present_session_ends_the_flow() {
    let mut world = Ends::agreed();
    let now = world.now();
    world.b.stop(now);
    for goodbye in outputs(&mut world.b) {
        hand_over(&mut world.a, goodbye, now);
    }
    assert!(world.a.pit.get(pair(0)).is_none());
    assert!(!world.a.sticky.contains(pair(0).remote.0, now.mono));
}

/// What an agent looks up for an error must not grow with the number of its sessions.
#[test]
fn session_of_a_datagram_is_found_among_those_of_its_pair_only() {
    let mut world = Ends::new();
    for n in 0..20 {
        world.agree(n);
    }
    let sessions = &world.a.sessions;
    let sending = |n: u32| protected(&world.a, pair(n)).current;
    for n in 0..20 {
        assert_eq!(sessions.of_pair(pair(n)).collect::<Vec<_>>(), [sending(n)]);
        let session = sessions.get(sending(n)).unwrap();
        let (kind, lane, index) = (Kind::Transport, Lane::ENGINE, session.sealer.peer_index());
        let shim = Shim { kind, lane, partial_checksum: false, index, counter_low: 0 };
        assert_eq!(sessions.find_sending(session.wire, &shim), Some(sending(n)));
        let other = sessions.get(sending((n + 1) % 20)).unwrap().wire;
        assert_eq!(sessions.find_sending(other, &shim), None);
    }
    world.a.forget_row(pair(7));
    assert_eq!(world.a.sessions.of_pair(pair(7)).count(), 0);
}

/// The sealed datagrams among outputs, as whole packets without link headers.
fn packets(outputs: &[Output]) -> Vec<Vec<u8>> {
    let packet = |run: &DatagramRun| {
        let (from, (to, port)) = (run.from.unwrap(), run.to.unwrap());
        let len = (8 + run.bytes.len()) as u16;
        let udp = [port.to_be_bytes(), port.to_be_bytes(), len.to_be_bytes(), [0; 2]].concat();
        let whole = frame(from.0, to.0, 17, &[udp, run.bytes.clone()].concat());
        whole[PACKET_AT..].to_vec()
    };
    let runs = outputs.iter().filter_map(|output| match output {
        Output::Datagrams(run) => Some(run),
        _ => None,
    });
    runs.map(packet).collect()
}

/// Somebody says of a datagram just sent that nobody takes such.
fn say_port_is_closed(world: &mut Ends) {
    assert_eq!(world.send(0), Outgoing::Sealed);
    let sent = outputs(&mut world.a);
    let sealed = packets(&sent).remove(0);
    let closed = ErrorKind::Unreachable { code: 3 };
    let error = build_error_for(closed, pair(0).remote.0, &sealed).unwrap();
    let now = world.now();
    let link = [0; PACKET_AT];
    let arrived = arrive(&mut world.a, [link.as_slice(), &error].concat(), now);
    assert_eq!(arrived, Incoming::Consumed);
    assert!(outputs(&mut world.a).is_empty(), "no program knows our port");
    for output in sent {
        hand_over(&mut world.b, output, now);
    }
}

#[test]
fn closed_port_is_asked_about_as_often_as_silence_would_be_and_told_to_nobody() {
    let mut world = Ends::agreed();
    let mut asked = Vec::new();
    let keys = |world: &Ends| world.a.current_session(pair(0)).unwrap().created;
    let mut known = keys(&world);
    while world.millis < 3 * DOUBT_HEEDED_EVERY.as_millis() as u64 {
        say_port_is_closed(&mut world);
        let rest = world.run(100);
        let told = rest.iter().any(|(_, output)| matches!(output, Output::Deliver(_)));
        assert!(!told, "{} ms", world.millis);
        if keys(&world) != known {
            known = keys(&world);
            asked.push(world.millis);
        }
    }
    assert!(asked[0] <= 600, "at once: {asked:?}");
    // The peer's keepalives may put the doubt out before it is acted on.
    let often = asked.windows(2).any(|two| two[1] - two[0] < 4_500);
    assert!(!often, "once in {DOUBT_HEEDED_EVERY:?}: {asked:?}");
    assert_eq!(world.a.counters.dropped_in[DropReason::BadIcmp as usize], 0);
}

#[test]
fn old_keys_open_for_their_grace() {
    let mut world = Ends::agreed();
    let (old, now) = (current(&world.a), world.now());
    world.a.renegotiate(pair(0), Via::Session(old), now);
    world.carry();
    world.run(OLD_KEYS_GRACE.as_millis() as u64 - 100);
    assert!(world.a.sessions.get(old).is_some());
    world.run(600);
    assert!(world.a.sessions.get(old).is_none());
}
