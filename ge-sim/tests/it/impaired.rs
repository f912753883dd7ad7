//! Agents that do wrong themselves, as a bug or a thief of their keys would have them do: what they
//! say is changed on its way out, with their own keys. Who is honest refuses; where only something is
//! lost or late, the flow comes up. THREATS.md 4.11.
//!
//! What stands inside a seal between the two ends is impaired in `ge-core`: `initiator/impaired.rs`.

use crate::chains::chain;
use crate::{ms, s};
use ge_core::Mode::Closed;
use ge_core::crypto::x25519::KeyPair;
use ge_core::dprp::{Binding, Initiator, Proposal, Purpose, SessionParameters};
use ge_core::flow::{HostPair, Ports};
use ge_core::wire::dprp::{HEADER_LEN, Kind, MAC_LEN, peek};
use ge_core::wire::ip;
use ge_core::{DropReason, SessionIndex, addr::WireAddr};
use ge_sim::adversary::insider::{Insider, Opened};
use ge_sim::adversary::{Craft, Intruder, Origin, Position, carry};
use ge_sim::chain::Chain;
use ge_sim::fault::Fault;
use ge_sim::mgmt::Rotation;
use ge_sim::packet::{Class, ip_packet, message};
use ge_sim::{Fate, NodeId, Sim, Traffic};
use rand_core::SeedableRng as _;
use std::cell::{Cell, RefCell};
use std::rc::Rc;

/// Initiator, router between, responder.
const PATH: &str = "s1c T1c d1c";
const I: usize = 0;
const T: usize = 1;
const R: usize = 2;

fn rng() -> ge_core::crypto::Rng {
    ge_core::crypto::Rng::from_seed([5; 32])
}

/// Everything sent in the last three seconds but the very last arrives, sealed.
fn assert_up(sim: &mut Sim, path: &Chain, what: &str) {
    let since = sim.now();
    sim.run_for(s(3)).unwrap_or_else(|violation| panic!("{what}: {violation}"));
    let tally = sim.check.tally(path.source(), path.destination(), since, sim.now() - 300_000);
    assert!(tally.sealed > 20 && tally.lost + tally.clear == 0, "{what}: {tally:?}");
}

/// The n-th message that leaves one of the three meets this fate.
fn nth(at: usize, n: u32, fate: Fate) -> (Sim, Chain, Rc<Cell<u32>>) {
    let (mut sim, path) = chain(1, PATH);
    let culprit = path.path[at];
    let count = Rc::new(Cell::new(0));
    let counted = Rc::clone(&count);
    sim.tamper(move |passing| {
        if passing.from != culprit || !matches!(passing.class, Class::Message(..)) {
            return Fate::Carry;
        }
        counted.set(counted.get() + 1);
        if counted.get() == n { fate } else { Fate::Carry }
    });
    sim.flow(path.source(), path.destination(), Traffic::Datagrams(300), ms(100));
    (sim, path, count)
}

#[test]
fn drop_nth_dup_nth_and_delay_commit_are_made_up_for() {
    for at in [I, T, R] {
        // The ends send two messages each, the router hands on all four.
        for n in 1..=if at == T { 4 } else { 2 } {
            for fate in [Fate::Lose, Fate::Twice, Fate::Late(400_000), Fate::Late(1_500_000)] {
                let (mut sim, path, count) = nth(at, n, fate);
                let what = format!("machine {at}, message {n}: {fate:?}");
                sim.run_for(s(6)).unwrap_or_else(|violation| panic!("{what}: {violation}"));
                assert!(count.get() >= n, "{what}");
                assert_up(&mut sim, &path, &what);
            }
        }
    }
}

#[test]
fn corrupt_byte_n_is_refused_and_made_up_for() {
    for at in [I, T, R] {
        for seed in 0..10 {
            let (mut sim, path) = chain(seed, PATH);
            let links = [(path.path[at], path.path[(at + 1) % 3]), (path.path[at], path.path[1])];
            let flips = Intruder::new(Position::Outsider, None, links, &[Craft::Flip], 1000);
            let number = sim.intrude(flips.at_most(2));
            sim.flow(path.source(), path.destination(), Traffic::Datagrams(300), ms(100));
            sim.run_for(s(6)).unwrap();
            assert_eq!(sim.intruder(number).done().len(), 2);
            assert_up(&mut sim, &path, &format!("machine {at}, seed {seed}"));
        }
    }
}

/// The first message of a kind that leaves a machine, kept; nothing of the kind goes on.
fn catch(sim: &mut Sim, from: NodeId, kind: Kind) -> Rc<RefCell<Option<Vec<u8>>>> {
    let caught = Rc::new(RefCell::new(None));
    let seen = Rc::clone(&caught);
    sim.tamper(move |passing| match passing.class {
        Class::Message(found, _) if found == kind && passing.from == from => {
            seen.borrow_mut().get_or_insert_with(|| passing.packet.to_vec());
            Fate::Lose
        }
        _ => Fate::Carry,
    });
    caught
}

/// Catches a message of machine `at`, lets `change` change it with that machine's keys, hands it to
/// the next machine, and lets half a second pass.
fn impaired(
    at: usize,
    kind: Kind,
    to: usize,
    change: impl FnOnce(&Insider, &[u8]) -> Vec<u8>,
) -> (Sim, Chain) {
    let (mut sim, path) = chain(1, PATH);
    let culprit = path.path[at];
    let caught = catch(&mut sim, culprit, kind);
    sim.send(path.source(), path.destination(), 200);
    sim.run_for(ms(60)).unwrap();
    let packet = caught.borrow_mut().take().unwrap();
    let view = ip::parse(&packet).unwrap();
    let (_, text) = message(&packet, &view).unwrap();
    let changed = change(&sim.keys_of(culprit).unwrap(), text);
    let sending = carry(&packet, &view, &changed, false).unwrap();
    sim.inject_at(path.path[to], culprit, sending.packet, Origin::Insider);
    sim.run_for(ms(150)).unwrap();
    (sim, path)
}

/// What the agents think of the flow, in path order.
fn rows(sim: &Sim, path: &Chain) -> Vec<&'static str> {
    (0..3).map(|at| path.row(sim, at).map_or("none", |row| row.verdict)).collect()
}

/// The message as it is, only vouched for again: it must do what the changed one does not.
fn as_it_is(keys: &Insider, text: &[u8]) -> Vec<u8> {
    let mut same = text.to_vec();
    keys.vouch(&mut same);
    same
}

/// What the agents think if machine `at` says a message of this kind to `to` as `change` has it.
fn verdict_of(
    at: usize,
    kind: Kind,
    to: usize,
    change: impl FnOnce(&Insider, &[u8]) -> Vec<u8>,
) -> Vec<&'static str> {
    let (sim, path) = impaired(at, kind, to, change);
    rows(&sim, &path)
}

#[test]
fn zero_ephemeral_is_refused() {
    let zero = |keys: &Insider, text: &[u8]| {
        let mut zero = text.to_vec();
        zero[HEADER_LEN..HEADER_LEN + 32].fill(0);
        keys.vouch(&mut zero);
        zero
    };
    // A request reaches its responder, an answer its initiator, past the router.
    let answers = |change: &dyn Fn(&Insider, &[u8]) -> Vec<u8>| {
        let (mut sim, path) = chain(1, PATH);
        let responder = path.path[R];
        let heard = Rc::new(Cell::new(0));
        let count = Rc::clone(&heard);
        let caught = catch(&mut sim, path.path[I], Kind::Dde);
        sim.send(path.source(), path.destination(), 200);
        sim.run_for(ms(60)).unwrap();
        let packet = caught.borrow_mut().take().unwrap();
        sim.tamper(move |passing| {
            count.set(count.get() + u32::from(passing.from == responder));
            Fate::Carry
        });
        let view = ip::parse(&packet).unwrap();
        let (_, text) = message(&packet, &view).unwrap();
        let changed = change(&sim.keys_of(path.path[I]).unwrap(), text);
        let sending = carry(&packet, &view, &changed, false).unwrap();
        sim.inject_at(path.path[T], path.path[I], sending.packet, Origin::Insider);
        sim.run_for(ms(15)).unwrap();
        heard.get()
    };
    assert_eq!((answers(&as_it_is), answers(&zero)), (1, 0), "the responder answers");
    assert_eq!(verdict_of(R, Kind::Rgi, T, zero), ["pending", "none", "none"]);
    assert_ne!(verdict_of(R, Kind::Rgi, T, as_it_is)[1..], ["none", "none"]);
}

/// An initiator that asks twice with one key is heard once. That a responder does so, its initiator
/// cannot know; the initiator's own key makes the exchange another one.
#[test]
fn reused_ephemeral_is_answered_once() {
    let (mut sim, path) = chain(1, PATH);
    let (initiator, responder) = (path.path[I], path.path[R]);
    let answers = Rc::new(Cell::new(0));
    let count = Rc::clone(&answers);
    sim.tamper(move |passing| {
        let answer = matches!(passing.class, Class::Message(Kind::Rgi, _));
        count.set(count.get() + u32::from(answer && passing.from == responder));
        Fate::Carry
    });
    let keyring = sim.keys_of(initiator).unwrap().keyring().unwrap();
    let (from, to) = (sim.node(initiator).addr, sim.node(responder).addr);
    let proposal = Proposal {
        pair: HostPair::new(from, to),
        ports: Ports::default(),
        mode: Closed,
        router: false,
        purpose: Purpose::Protect,
    };
    let mut rng = rng();
    let pairs = [KeyPair::generate(&mut rng), KeyPair::generate(&mut rng)];
    for (ephemeral, answered) in [(0, 1), (0, 1), (1, 2)] {
        let parameters =
            SessionParameters { index: SessionIndex(9), data_port: 5865, wire: WireAddr(from) };
        let pair = pairs[ephemeral].clone();
        let unix = sim.unix();
        let (_, dde) = Initiator::create_dde(
            &keyring,
            &proposal,
            Binding::Fresh,
            parameters,
            pair,
            &mut rng,
            unix,
        )
        .unwrap();
        let icmp = ge_core::wire::icmp::emit_echo(true, 1, 1, &dde, from, to);
        let packet = ip_packet(from, to, ge_core::wire::protocol::ICMP, 0, &icmp);
        sim.inject_at(path.path[T], initiator, packet, Origin::Insider);
        sim.run_for(ms(100)).unwrap();
        assert_eq!(answers.get(), answered, "key {ephemeral}");
    }
}

#[test]
fn no_padding_is_refused() {
    let short = |keys: &Insider, text: &[u8]| {
        let end = text.len() - 2 * MAC_LEN;
        let mut short = [&text[..end - 132], &text[end..]].concat();
        keys.vouch(&mut short);
        short
    };
    assert_eq!(verdict_of(I, Kind::Dde, T, short), ["pending", "none", "none"]);
    assert_eq!(verdict_of(I, Kind::Dde, T, as_it_is), ["protected", "transit", "protected"]);
}

/// Without its signature, and with one over another table, by either end: the router commits nothing,
/// and neither does the other end.
#[test]
fn skip_sig_and_wrong_table_are_refused() {
    let mpit = |lie: Craft| {
        move |keys: &Insider, text: &[u8]| {
            let header = peek(text).unwrap();
            let Some(Opened::Mpit(mut path)) = keys.open(text) else { panic!("an MPIT") };
            match lie {
                Craft::NoSign => path.signature.fill(0),
                _ => {
                    path.table.reverse();
                    path.table.swap(0, 1);
                    keys.sign_mpit(&header, &mut path);
                }
            }
            keys.close(text, &Opened::Mpit(path), &mut rng()).unwrap()
        }
    };
    let refused = verdict_of(I, Kind::Mpit, T, mpit(Craft::NoSign));
    assert_eq!(refused[1..], ["none", "none"]);
    assert_eq!(verdict_of(I, Kind::Mpit, T, mpit(Craft::Table))[1..], ["none", "none"]);
    assert_eq!(verdict_of(I, Kind::Mpit, T, as_it_is), ["protected", "transit", "protected"]);

    let unsigned = |keys: &Insider, text: &[u8]| {
        let Some(Opened::Cdn(mut path)) = keys.open(text) else { panic!("a CDN") };
        path.signature.fill(0);
        keys.close(text, &Opened::Cdn(path), &mut rng()).unwrap()
    };
    assert_eq!(verdict_of(R, Kind::Cdn, T, unsigned)[..2], ["pending", "none"]);
    assert_eq!(verdict_of(R, Kind::Cdn, T, as_it_is)[..2], ["protected", "transit"]);
}

/// A router that leaves out its record, or says that it recognised what it did not, opens nothing,
/// itself least of all.
#[test]
fn omit_record_and_lie_bitmap_open_nothing() {
    for craft in [Craft::Omit, Craft::Bitmap] {
        for text in ["s1c T2c d1c", "s1c T1c d1c", "s1c T1o T2c d1c"] {
            let (mut sim, path) = chain(1, text);
            let culprit = path.path[1];
            let keys = sim.keys_of(culprit);
            let links = [(culprit, path.path[0])];
            sim.intrude(Intruder::new(Position::Transit, keys, links, &[craft], 1000));
            sim.flow(path.source(), path.destination(), Traffic::Datagrams(300), ms(100));
            sim.run_for(s(10)).unwrap_or_else(|violation| panic!("{text} {craft:?}: {violation}"));
            let tally = sim.check.tally(path.source(), path.destination(), 0, sim.now() - 300_000);
            assert_eq!((tally.sealed, tally.clear), (0, 0), "{text} {craft:?}");
        }
    }
}

/// An agent to whom no new key comes is heard no longer than the old one lasts, whether it asks or
/// answers. A router needs no group's key.
#[test]
fn stale_epoch_is_refused() {
    for at in [I, R] {
        let (mut sim, path) = chain(1, PATH);
        sim.deafen(path.path[at]);
        let other = path.path[if at == I { R } else { I }];
        sim.flow(path.path[at], other, Traffic::Datagrams(300), ms(100));
        sim.run_for(s(2)).unwrap();
        assert!(sim.check.opened(path.path[at], other) > 10);
        let group = sim.mgmt.groups()[0];
        sim.at(s(0), Fault::Rotate(group, Rotation::Hard));
        sim.run_for(s(8)).unwrap();
        let opened = sim.check.opened(path.path[at], other);
        sim.run_for(s(10)).unwrap();
        assert_eq!(sim.check.opened(path.path[at], other), opened, "machine {at}");
    }
}

/// Datagrams an agent has refused because it had opened them before.
fn replays(sim: &Sim, node: NodeId) -> u64 {
    let at = DropReason::ALL.iter().position(|reason| *reason == DropReason::Replay).unwrap();
    sim.node(node).engine().unwrap().counters().dropped_in[at]
}

/// Sealed datagrams come again: at once, by an end that does not count, or much later, by a router.
/// That each is opened once is I4; here it is seen that they did come again.
#[test]
fn ignore_window_and_replay_forward_are_refused() {
    for (at, craft) in [(I, Craft::Twice), (R, Craft::Twice), (T, Craft::Replay)] {
        let (mut sim, path) = chain(1, PATH);
        let from = path.path[at];
        let links = [path.path[0], path.path[1], path.path[2]].map(|to| (from, to));
        let number = sim.intrude(Intruder::new(Position::Transit, None, links, &[craft], 1000));
        sim.flow(path.source(), path.destination(), Traffic::Datagrams(300), ms(100));
        sim.flow(path.destination(), path.source(), Traffic::Datagrams(300), ms(100));
        sim.run_for(s(10)).unwrap();
        assert!(sim.intruder(number).done().len() > 80, "machine {at}");
        assert_up(&mut sim, &path, &format!("machine {at}"));
        let replays: u64 = [I, R].map(|end| replays(&sim, path.path[end])).iter().sum();
        assert!(replays > 10, "machine {at}: {replays}");
    }
}
