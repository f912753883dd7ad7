//! A peer that says nothing is asked inside the session, and soon beside it.

use super::ends::{End, Ends, hand_over, kinds, protected};
use super::*;
use crate::io::DatagramRun;
use crate::limits::{LIVENESS, PROMPTS};
use crate::wire::dprp::Kind;

/// Time passes at `a` alone, in steps of 50 ms; gives what it wants done.
fn alone(world: &mut Ends, millis: u64) -> Vec<Output> {
    let mut sent = Vec::new();
    for _ in 0..millis / 50 {
        world.millis += 50;
        let now = world.now();
        world.a.tick(now);
        sent.extend(outputs(&mut world.a));
    }
    sent
}

fn copy(run: &DatagramRun) -> DatagramRun {
    DatagramRun { bytes: run.bytes.clone(), ..*run }
}

fn sealed(outputs: &[Output]) -> usize {
    outputs.iter().filter(|output| matches!(output, Output::Datagrams(_))).count()
}

#[test]
fn silent_peer_is_prompted_a_few_times_and_then_asked_for_new_keys() {
    let mut world = Ends::agreed();
    assert_eq!(world.send(0), Outgoing::Sealed);
    outputs(&mut world.a); // lost
    let before = alone(&mut world, LIVENESS.as_millis() as u64 - 50);
    assert_eq!((sealed(&before), kinds(&before)), (PROMPTS as usize, vec![]));
    let after = alone(&mut world, 100);
    assert_eq!((sealed(&after), kinds(&after)), (0, vec![Kind::Dde]));
}

#[test]
fn prompt_is_answered_by_as_many_bytes_once() {
    let mut world = Ends::agreed();
    assert_eq!(world.send(0), Outgoing::Sealed);
    outputs(&mut world.a);
    let (prompts, now) = (alone(&mut world, 650), world.now());
    assert_eq!(sealed(&prompts), 1);
    for time in 0..3 {
        for prompt in &prompts {
            let Output::Datagrams(run) = prompt else { continue };
            hand_over(&mut world.b, Output::Datagrams(copy(run)), now);
            let answers = outputs(&mut world.b);
            let bytes = |output: &Output| match output {
                Output::Datagrams(run) => run.bytes.len(),
                _ => 0,
            };
            let said: usize = answers.iter().map(bytes).sum();
            assert_eq!(said, if time == 0 { run.bytes.len() } else { 0 }, "time {time}");
        }
    }
}

/// One-way data without loss: the peer's keepalives suffice, and nothing else is said.
#[test]
fn living_peer_is_neither_prompted_nor_asked() {
    let mut world = Ends::agreed();
    let session = protected(&world.a, pair(0)).current;
    let mut from_a = 0;
    for _ in 0..100 {
        assert_eq!(world.send(0), Outgoing::Sealed);
        let rest = world.run(100);
        from_a += rest.iter().filter(|(end, _)| *end == End::A).count();
    }
    assert_eq!((protected(&world.a, pair(0)).current, from_a), (session, 0));
}
