//! Rows that others cause: a share for each source.

use super::rows::{clear, protected};
use super::*;
use crate::limits::PIT_ROWS_PER_SOURCE;
use crate::origin::Source;
use core::net::Ipv4Addr;

const GREEDY: IpAddr = IpAddr::V4(Ipv4Addr::new(198, 51, 100, 1));
const OTHER: IpAddr = IpAddr::V4(Ipv4Addr::new(198, 51, 100, 2));

/// The pair of one source with the `n`th machine inside.
fn inside(source: IpAddr, n: usize) -> HostPair {
    HostPair::new(Ipv4Addr::from(0x0a10_0000 + n as u32).into(), source)
}

/// An agent in whose table `GREEDY` has its share of rows made by `row`.
fn shared_out(row: impl Fn(usize) -> Row) -> Engine {
    let mut engine = engine();
    engine.pit = Pit::new(2 * PIT_ROWS_PER_SOURCE, [1, 2, 3, 4]);
    for n in 0..PIT_ROWS_PER_SOURCE {
        assert!(engine.insert_row(inside(GREEDY, n), row(n).caused_by(GREEDY)).is_ok());
    }
    engine
}

#[test]
fn who_has_its_share_of_protected_rows_gets_no_more_and_others_do() {
    let mut engine = shared_out(|_| protected());
    let next = inside(GREEDY, PIT_ROWS_PER_SOURCE);
    let refused = engine.insert_row(next, protected().caused_by(GREEDY));
    assert_eq!(refused, Err(DropReason::TooMany));
    assert!(engine.insert_row(inside(OTHER, 0), protected().caused_by(OTHER)).is_ok());
    assert!(engine.insert_row(pair(0), protected()).is_ok(), "what we want ourselves");
    engine.forget_row(inside(GREEDY, 0));
    assert!(engine.insert_row(next, protected().caused_by(GREEDY)).is_ok(), "one is free again");
}

#[test]
fn who_has_its_share_of_plain_rows_makes_room_among_its_own() {
    let mut engine = shared_out(|n| clear(n as u64));
    assert!(engine.insert_row(inside(OTHER, 0), clear(0).caused_by(OTHER)).is_ok());
    for n in PIT_ROWS_PER_SOURCE..2 * PIT_ROWS_PER_SOURCE {
        assert!(engine.insert_row(inside(GREEDY, n), clear(9).caused_by(GREEDY)).is_ok());
    }
    assert_eq!(engine.pit.len(), PIT_ROWS_PER_SOURCE + 1);
    assert!(engine.pit.get(inside(OTHER, 0)).is_some(), "the oldest row, of another source");
    assert!(engine.shares.is_full(Source::of(GREEDY), PIT_ROWS_PER_SOURCE));
}
