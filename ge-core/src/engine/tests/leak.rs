//! What must never leave or enter in clear, in open mode, once it was protected.

use super::ends::{End, Ends, b_engine, hand_over, is_forget, kinds};
use super::*;
use crate::io::KernelVerdict;
use crate::limits::OPEN_HOLD;
use crate::membership::Revocation;
use crate::mode::Prefix;
use crate::wire::dprp::Kind;
use crate::{DropReason, UnixTime};

/// A second address of ours.
fn other() -> HostPair {
    HostPair::new([10, 0, 0, 9].into(), pair(0).remote.0)
}

fn after_hold() -> u64 {
    OPEN_HOLD.as_millis() as u64
}

/// The agents' messages are lost for as long as open mode holds a packet: the pair is clear.
fn fall_back(world: &mut Ends) -> Vec<Output> {
    assert_eq!(world.send(0), Outgoing::Consumed);
    let lost = outputs(&mut world.a);
    world.millis += after_hold();
    world.a.tick(world.now());
    let passed = outputs(&mut world.a);
    assert!(passed.iter().any(|output| matches!(output, Output::PutBack(_))));
    lost
}

#[test]
fn pair_whose_address_is_not_listed_goes_on_protected() {
    let mut world = Ends::agreed();
    world.a.set_interfaces(vec![interface(ETH0)], &[]);
    assert_eq!(world.send(0), Outgoing::Sealed);
    let now = world.now();
    world.a.forget_row(pair(0));
    assert_eq!(world.send(0), Outgoing::Consumed, "asked anew, or nothing");
    world.a.forget_row(pair(0));
    world.a.keyring = None;
    assert_eq!(world.send(0), Outgoing::Consumed, "not even without keys");
    let forwarded = HostPair::new([192, 0, 2, 1].into(), pair(0).remote.0);
    assert_eq!(send(&mut world.a, forwarded, now), Outgoing::PutBack, "another machine's");
}

#[test]
fn clear_row_whose_address_is_not_listed_stays_a_row() {
    let mut world = Ends::new();
    fall_back(&mut world);
    world.a.set_interfaces(vec![interface(ETH0)], &[]);
    assert_eq!(world.send(0), Outgoing::PutBack);
    assert_eq!(world.a.pit.get(pair(0)).unwrap().packets_out, 1);
}

#[test]
fn host_once_protected_is_not_talked_to_in_clear_from_another_address() {
    let mut world = Ends::new();
    let both = [local(), other().local.0];
    world.a.set_interfaces(vec![interface(ETH0)], &both);
    let now = world.now();
    assert_eq!(send(&mut world.a, other(), now), Outgoing::Consumed);
    outputs(&mut world.a);
    world.agree(0);
    world.millis += after_hold();
    world.a.tick(world.now());
    let passed = outputs(&mut world.a);
    assert!(!passed.iter().any(|output| matches!(output, Output::PutBack(_))), "held before");
}

#[test]
fn clear_flow_from_another_address_ends_when_the_host_becomes_protected() {
    let mut world = Ends::new();
    world.a.set_interfaces(vec![interface(ETH0)], &[local(), other().local.0]);
    assert!(world.a.insert_row(other(), rows::clear(0)).is_ok());
    world.a.offload_bypass(other());
    outputs(&mut world.a);
    assert_eq!(world.send(0), Outgoing::Consumed);
    let told = world.carry();
    assert!(told.iter().any(|(end, output)| *end == End::A && is_forget(output, other())));
    let now = world.now();
    assert_eq!(send(&mut world.a, other(), now), Outgoing::Consumed);
    outputs(&mut world.a);
    assert_eq!(arrive_clear(&mut world.a, now), Incoming::Consumed);
}

/// The kernel of either end must let nothing more of a flow pass in clear before the other end is
/// told that it is protected.
#[test]
fn kernel_forgets_a_clear_flow_before_the_message_that_ends_it() {
    let mut world = Ends::new();
    let lost = fall_back(&mut world);
    let back = pair(0).reversed();
    assert!(world.b.insert_row(back, rows::clear(0)).is_ok());
    world.b.offload_bypass(back);
    let now = world.now();
    // The question arrives after all.
    let answers = world.answers(lost);
    for answer in answers {
        hand_over(&mut world.a, answer, now);
    }
    let first = outputs(&mut world.a);
    let forget = first.iter().position(|output| is_forget(output, pair(0)));
    let mpit = first.iter().position(|output| kinds(std::slice::from_ref(output)) == [Kind::Mpit]);
    assert!(forget.unwrap() < mpit.unwrap(), "the initiator");
    let second = world.answers(first);
    let forget = second.iter().position(|output| is_forget(output, back));
    let cdn = second.iter().position(|output| kinds(std::slice::from_ref(output)) == [Kind::Cdn]);
    assert!(forget.unwrap() < cdn.unwrap(), "the responder");
}

#[test]
fn removed_member_is_neither_answered_nor_heard_in_clear() {
    let mut world = Ends::agreed();
    let mut membership = world.a.membership.clone().unwrap();
    membership.version += 1;
    let removed = &world.a.current_session(pair(0)).unwrap().peer_certificate;
    membership.revocations = vec![Revocation {
        serial: removed.serial,
        agent: removed.agent,
        identity_key: removed.identity_key,
        noise_key: removed.noise_key,
    }];
    let now = world.now();
    world.a.install(membership, now).unwrap();
    world.a.tick(now);
    assert!(world.a.pit.get(pair(0)).is_none());
    outputs(&mut world.a);
    let mut states = Vec::new();
    for _ in 0..200 {
        let now = world.now();
        states.push(world.a.flow_snapshot(pair(0), now).map(|flow| flow.verdict));
        assert_eq!(arrive_clear(&mut world.a, now), Incoming::Consumed, "{states:?}");
        assert_eq!(send(&mut world.a, pair(0), now), Outgoing::Consumed, "{states:?}");
        world.millis += 100;
        world.a.tick(world.now());
        let clear = |output: &Output| {
            matches!(output, Output::PutBack(_) | Output::Kernel(KernelVerdict::Bypass { .. }))
        };
        assert!(!outputs(&mut world.a).iter().any(clear), "{states:?}");
    }
    for state in [None, Some("pending"), Some("dropped")] {
        assert!(states.contains(&state), "{state:?} was not met: {states:?}");
    }
}

#[test]
fn open_refusal_of_a_host_once_protected_does_not_make_it_clear() {
    let mut world = Ends::agreed();
    world.a.forget_row(pair(0));
    world.b = b_engine(&Domain::new(1).member(2, &[2]), 3);
    assert_eq!(world.send(0), Outgoing::Consumed);
    let told = world.carry();
    assert!(!told.iter().any(|(_, output)| matches!(output, Output::PutBack(_))));
    let now = world.now();
    let flow = world.a.flow_snapshot(pair(0), now).unwrap();
    assert_eq!((flow.verdict, flow.reason), ("dropped", "no-match"));
}

#[test]
fn agent_that_cannot_ask_does_not_pass_what_was_protected() {
    let mut world = Ends::agreed();
    world.a.forget_row(pair(0));
    let late = Now { unix: UnixTime(u64::MAX / 2), ..world.now() };
    assert_eq!(send(&mut world.a, pair(0), late), Outgoing::Consumed);
    assert_eq!(world.a.counters.dropped_out[DropReason::CannotAsk as usize], 1);
    assert_eq!(send(&mut world.a, pair(1), late), Outgoing::PutBack);
}

/// A datagram of a program at the remote host.
fn arrive_clear(engine: &mut Engine, now: Now) -> Incoming {
    let bytes = frame(pair(0).remote.0, local(), 17, &[0, 9, 0, 9, 0, 8, 0, 0]);
    arrive(engine, bytes, now)
}

#[test]
fn destination_the_policy_names_is_never_talked_to_in_clear() {
    let mut world = Ends::new();
    let remote = pair(0).remote.0;
    let range = Prefix { address: remote, length: 32 };
    world.a.membership.as_mut().unwrap().must_protect.push(range);
    let now = world.now();
    let sent = [9, 0, 9, 0, 8, 0, 0];
    let plain = |to: HostPair| frame(to.remote.0, to.local.0, 17, &sent);
    assert_eq!(arrive(&mut world.a, plain(pair(0)), now), Incoming::Consumed);
    assert_eq!(arrive(&mut world.a, plain(pair(1)), now), Incoming::Deliver, "another host's");
    assert_eq!(world.send(0), Outgoing::Consumed);
    outputs(&mut world.a);
    for _ in 0..40 {
        world.millis += 100;
        let now = world.now();
        world.a.tick(now);
        let out = outputs(&mut world.a);
        assert!(!out.iter().any(|output| matches!(output, Output::PutBack(_))), "the whole ladder");
        assert_ne!(world.send(0), Outgoing::PutBack);
    }
}
