//! When the CDN leaves, and that nobody misses it.

use super::*;
use crate::engine::two_agents::{agreed_by_one, at, carry, carry_data, outputs, send};

fn messages(outputs: &[Output]) -> usize {
    outputs.iter().filter(|output| matches!(output, Output::Transmit(_))).count()
}

#[test]
fn cdn_lets_what_came_with_the_mpit_go_first() {
    let (mut one, mut other, sent) = agreed_by_one();
    let done = carry(&sent, (1, 2), &mut other);
    assert_eq!(messages(&done), 0);
    assert_eq!(carry_data(&sent, 1, &mut other), 1);
    other.tick(at(2));
    assert_eq!(messages(&outputs(&mut other)), 0, "the turn in which the MPIT came");
    other.tick(at(2 + CDN_WAIT.as_micros() as u64));
    let cdn = outputs(&mut other);
    assert_eq!(messages(&cdn), 1);
    assert_eq!(one.negotiations.len(), 1);
    carry(&cdn, (2, 1), &mut one);
    assert_eq!(one.negotiations.len(), 0, "confirmed");
    other.tick(at(1_000));
    assert_eq!(messages(&outputs(&mut other)), 0, "once");
}

#[test]
fn cdn_behind_data_is_no_drop() {
    let (mut one, mut other, sent) = agreed_by_one();
    carry(&sent, (1, 2), &mut other);
    let answer = send(&mut other, (2, 1));
    assert_eq!(carry_data(&answer, 2, &mut one), 1);
    assert_eq!(one.negotiations.len(), 0, "confirmed");
    other.tick(at(1_000));
    let cdn = outputs(&mut other);
    assert_eq!(messages(&cdn), 1);
    carry(&cdn, (2, 1), &mut one);
    assert_eq!(one.counters().dropped_in.iter().sum::<u64>(), 0);
}
