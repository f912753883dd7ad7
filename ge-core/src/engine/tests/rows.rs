//! Tables that local programs fill, interfaces that go, keys that are not in force.

use super::*;
use crate::cert::CertRole;
use crate::dprp::domain::DAY;
use crate::engine::row::{Plain, Protected, RowState};
use crate::flow::FlowKey;
use crate::io::NegotiationResult;
use crate::limits::{PIT_ROWS_HOST, PIT_ROWS_ROUTER};
use crate::{GeId, SessionIndex, UnixTime};

pub(super) fn clear(used: u64) -> Row {
    let (until, ask_again) = (at(900).mono, at(900).mono);
    let plain = Plain {
        reason: NegotiationResult::NoAnswer,
        until,
        age_at: until,
        ask_again,
        patience: Duration::from_secs(60),
        background: None,
    };
    Row::new(RowState::Clear(plain), ETH0, at(used).mono)
}

pub(super) fn protected() -> Row {
    let state = Protected::new(GeId([9; 16]), Mode::Closed, SessionIndex(77), Duration::ZERO);
    Row::new(RowState::Protected(state), ETH0, at(0).mono)
}

#[test]
fn full_table_gives_up_the_plain_row_that_was_longest_not_used() {
    let mut engine = engine();
    for n in 0..8 {
        let row = if n == 0 { protected() } else { clear(10 - u64::from(n)) };
        assert!(engine.insert_row(pair(n), row).is_ok());
    }
    assert_eq!(send(&mut engine, pair(100), at(20)), Outgoing::Consumed);
    assert!(matches!(engine.pit.get(pair(100)).unwrap().state, RowState::Pending(_)));
    assert!(engine.pit.get(pair(7)).is_none(), "used at 3 s, before all others");
    assert!(engine.pit.get(pair(0)).is_some());
    assert_eq!(engine.pit.len(), 8);
}

#[test]
fn full_table_of_protected_rows_gives_up_none() {
    let mut engine = engine();
    for n in 0..8 {
        assert!(engine.pit.insert(FlowKey::host_pair(pair(n)), protected()).is_ok());
    }
    assert_eq!(engine.insert_row(pair(8), clear(1)), Err(DropReason::TableFull));
    assert!(engine.insert_row(pair(3), clear(1)).is_ok(), "a row may change in a full table");
    assert_eq!(engine.pit.len(), 8);
}

#[test]
fn destinations_out_of_scope_leave_room() {
    let mut engine = engine();
    for n in 0..20 {
        let to = HostPair::new(local(), [203, 0, 113, n].into());
        assert_eq!(send(&mut engine, to, at(1)), Outgoing::PutBack);
    }
    assert_eq!(engine.pit.len(), 6);
}

/// A router has the rows of a router, a host those of a host: counted by what gets one.
#[test]
fn a_router_has_more_rows_than_a_host() {
    let router = Role::Router { prefixes: Vec::new() };
    for (role, rows) in [(Role::Host, PIT_ROWS_HOST), (router, PIT_ROWS_ROUTER)] {
        let domain = Domain::new(1);
        let mut member = domain.member(1, &[1]);
        if role != Role::Host {
            domain.issue(&mut member, |certificate| certificate.role = CertRole::Router);
        }
        member.membership.role = role;
        let mut engine = Engine::new(member.identity.clone(), [1; 32]);
        engine.set_interfaces(vec![interface(ETH0)], &[local()]);
        engine.install(member.membership, at(0)).unwrap();
        let entry = |n: usize| pair(n.try_into().unwrap());
        for n in 0..rows {
            assert_eq!(engine.insert_row(entry(n), protected()), Ok(()), "row {n}");
        }
        assert_eq!(engine.insert_row(entry(rows), protected()), Err(DropReason::TableFull));
        assert_eq!(engine.pit.len(), rows);
        assert!(engine.pit.get(entry(rows - 1)).is_some());
    }
}

#[test]
fn row_whose_session_is_gone_asks_anew() {
    let mut engine = engine();
    assert!(engine.insert_row(pair(0), protected()).is_ok());
    assert_eq!(send(&mut engine, pair(0), at(1)), Outgoing::Consumed);
    assert!(matches!(engine.pit.get(pair(0)).unwrap().state, RowState::Pending(_)));
}

#[test]
fn rows_move_to_the_interface_that_has_their_address() {
    let mut engine = engine();
    assert!(engine.insert_row(pair(0), protected()).is_ok());
    engine.set_interfaces(vec![interface(Interface(5))], &[local()]);
    assert_eq!(engine.pit.get(pair(0)).unwrap().interface, Interface(5));
}

#[test]
fn agent_whose_certificate_is_not_in_force_passes_or_refuses_and_says_so() {
    let mut engine = engine();
    let wrong = Now { unix: UnixTime(NOW.0 - 400 * DAY), ..at(1) };
    assert_eq!(send(&mut engine, pair(0), wrong), Outgoing::PutBack);
    assert_eq!(engine.pit.len(), 0, "the next packet may be asked about");
    engine.sticky.remember(pair(1), at(1).mono);
    assert_eq!(send(&mut engine, pair(1), wrong), Outgoing::Consumed);
    engine.mode = Mode::Closed;
    assert_eq!(send(&mut engine, pair(0), wrong), Outgoing::Consumed);
    assert_eq!(engine.counters().dropped_out[DropReason::CannotAsk as usize], 2);
    let told = engine.outputs.iter().filter(|output| matches!(output, Output::Deliver(_))).count();
    assert_eq!(told, 2, "administratively prohibited");
}

#[test]
fn row_that_is_put_off_has_one_deadline() {
    let mut engine = engine();
    assert!(engine.insert_row(pair(0), clear(1)).is_ok());
    for _ in 0..10 {
        engine.timers.set(at(900).mono, crate::timer::Timer::RowAge(pair(0)));
    }
    if let RowState::Clear(plain) = &mut engine.pit.get_mut(pair(0)).unwrap().state {
        plain.until = at(1000).mono;
    }
    engine.tick(at(900));
    assert_eq!(engine.timers.len(), 1);
    engine.tick(at(1000));
    assert!(engine.pit.get(pair(0)).is_none() && engine.timers.is_empty());
}
