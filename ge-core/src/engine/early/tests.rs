//! What waits for an MPIT, how much of it, and what becomes of it.

use super::*;
use crate::engine::two_agents::{address, agreed_by_one, at, carry, carry_data, meta, outputs};
use crate::limits::RESPONDER_LIFETIME;
use crate::wire::checksum::transport_is_valid;
use crate::wire::ip;

const INDEX: SessionIndex = SessionIndex(1);

#[test]
fn only_what_is_expected_waits_and_only_so_much() {
    let mut early = Early::default();
    assert!(!early.keep(INDEX, &[0; 100], &meta(1)), "nobody asked");
    early.expect(INDEX, address(1));
    assert!(!early.keep(INDEX, &[0; 100], &meta(2)), "somebody else");
    for _ in 0..EARLY_PER_ANSWER {
        assert!(early.keep(INDEX, &[0; 100], &meta(1)));
    }
    assert!(!early.keep(INDEX, &[0; 100], &meta(1)));
    assert_eq!(early.take(INDEX).len(), EARLY_PER_ANSWER);
    assert_eq!(early.bytes, 0);
    assert!(!early.keep(INDEX, &[0; 100], &meta(1)), "no longer expected");
}

#[test]
fn all_answers_together_keep_so_many_bytes() {
    let mut early = Early::default();
    let large = vec![0; 60_000];
    let mut kept = 0;
    for index in 1..1000 {
        early.expect(SessionIndex(index), address(1));
        kept += usize::from(early.keep(SessionIndex(index), &large, &meta(1)));
    }
    assert_eq!(kept, EARLY_BYTES / large.len());
    early.take(INDEX);
    assert!(early.keep(SessionIndex(900), &large, &meta(1)), "room again");
}

fn no_session(engine: &Engine) -> u64 {
    engine.counters().dropped_in[DropReason::NoSession as usize]
}

#[test]
fn data_that_overtakes_the_mpit_is_opened_behind_it() {
    let (_, mut engine, sent) = agreed_by_one();
    assert_eq!(carry_data(&sent, 1, &mut engine), 0);
    assert!(outputs(&mut engine).is_empty());
    let opened: Vec<_> = carry(&sent, (1, 2), &mut engine)
        .into_iter()
        .filter_map(|output| if let Output::Opened(packet) = output { Some(packet) } else { None })
        .collect();
    let [packet] = opened.as_slice() else { panic!("{} packets", opened.len()) };
    let view = ip::parse(packet).unwrap();
    assert_eq!((view.source, view.destination), (address(1), address(2)));
    assert!(packet.ends_with(b"word") && transport_is_valid(packet, &view));
    assert_eq!((no_session(&engine), engine.counters().opened.0), (0, 1));
}

#[test]
fn data_whose_mpit_never_comes_is_dropped_and_counted() {
    let (_, mut engine, sent) = agreed_by_one();
    assert_eq!(carry_data(&sent, 1, &mut engine), 0);
    assert_eq!(no_session(&engine), 0);
    engine.tick(at(3 + RESPONDER_LIFETIME.as_micros() as u64));
    assert_eq!((no_session(&engine), engine.answers.early.bytes), (1, 0));
    carry_data(&sent, 1, &mut engine);
    assert_eq!(no_session(&engine), 2, "no longer expected");
}
