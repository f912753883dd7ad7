//! One path, one flow: what the agents came to, read from what they show and from what became of
//! the packets. The oracle has no part in it.

use super::oracle::Verdict;
use crate::chain::{Chain, Plan};
use crate::check::{Track, Violation};
use crate::packet::{NodeId, Parcel};
use crate::sim::{Manner, Sim};
use ge_core::limits::ASK_AGAIN_LAST;
use ge_core::{GroupId, Mode};
use std::time::Duration;

/// How long an application tries before its flow is judged.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Patience {
    /// Longer than the longest ladder, and than the time a refused destination is left alone.
    Short,
    /// Until an open agent that let the flow go in clear has asked again.
    Long,
}

impl Patience {
    const fn settle(self) -> Duration {
        match self {
            Self::Short => Duration::from_secs(6),
            Self::Long => Duration::from_secs(14).saturating_add(ASK_AGAIN_LAST),
        }
    }
}

/// It tries this often.
const EVERY: Duration = Duration::from_millis(250);
/// Packets by which the verdict is judged.
const PROOFS: u32 = 3;
/// What they may take: there and back over the longest path, and a row that ends meanwhile.
const PROVEN: Duration = Duration::from_millis(700);
/// A refused flow is asked about again and again; somewhere between it is decided.
const TRIES: u32 = 12;
/// Bytes of a packet.
const SIZE: usize = 200;

/// What agents on a path did with a flow.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Observed {
    /// What each agent did, in path order.
    pub verdicts: Vec<Verdict>,
    /// What in the packets' fate does not fit these verdicts, for people.
    pub odd: Vec<String>,
}

/// Lets the source machine talk to the destination machine until the agents have decided.
///
/// # Errors
/// The first violation of an invariant.
pub fn observe(sim: &mut Sim, chain: &Chain, patience: Patience) -> Result<Observed, Violation> {
    let (source, destination) = (chain.source(), chain.destination());
    let begin = sim.now();
    while sim.now() - begin < patience.settle().as_micros() as u64 {
        sim.send(source, destination, SIZE);
        sim.run_for(EVERY)?;
    }
    let mut there = Vec::new();
    for _ in 0..TRIES {
        there = prove(sim, source, destination)?;
        if !is_pending(sim, chain) {
            break;
        }
    }
    let verdicts = verdicts(sim, chain, &there);
    let mut odd = Vec::new();
    if is_pending(sim, chain) {
        odd.push("a row is pending for ever".to_owned());
    }
    let segment = segment(&verdicts);
    let passes = !verdicts.contains(&Verdict::Discard);
    fate(chain, segment, passes, &there, false, &mut odd);
    ends(sim, chain, &verdicts, &mut odd);
    if passes {
        let back = prove(sim, destination, source)?;
        fate(chain, segment, passes, &back, true, &mut odd);
    }
    Ok(Observed { verdicts, odd })
}

/// Makes the world of a plan and starts its agents.
#[must_use]
pub fn world(seed: u64, v4: bool, groups: usize, plan: &Plan) -> (Sim, Chain) {
    world_of(seed, v4, groups, plan, Manner::default())
}

/// [`world`], its agents run in this manner.
#[must_use]
pub fn world_of(seed: u64, v4: bool, groups: usize, plan: &Plan, manner: Manner) -> (Sim, Chain) {
    let mut sim = Sim::with_family(seed, v4);
    sim.mgmt.observe = manner.observe;
    let _groups: Vec<GroupId> = (0..groups).map(|_| sim.group()).collect();
    let chain = Chain::build(&mut sim, plan);
    if manner.threads {
        sim.spread_all();
    }
    sim.start();
    (sim, chain)
}

fn prove(sim: &mut Sim, from: NodeId, to: NodeId) -> Result<Vec<Track>, Violation> {
    let parcels: Vec<Parcel> = (0..PROOFS).map(|_| sim.send(from, to, SIZE)).collect();
    sim.run_for(PROVEN)?;
    Ok(parcels.into_iter().map(|parcel| sim.check.track(parcel)).collect())
}

fn is_pending(sim: &Sim, chain: &Chain) -> bool {
    (0..chain.agents.len()).any(|at| chain.row(sim, at).is_some_and(|row| row.verdict == "pending"))
}

/// From the rows; where there is none, from whether packets get past the agent.
fn verdicts(sim: &Sim, chain: &Chain, proofs: &[Track]) -> Vec<Verdict> {
    let mut verdicts: Vec<Verdict> = Vec::new();
    for (at, (node, _)) in chain.agents.iter().enumerate() {
        let row = chain.row(sim, at);
        let reached = proofs.iter().any(|track| track.shown.contains(node));
        // What arrived got past everybody, also where nobody but the two ends can read it.
        let passed = proofs.iter().any(|track| track.arrived > 0 || got_past(chain, *node, track));
        // "Drops them, or never sees one because an agent before it does" (oracle): an agent that
        // no packet reaches, and nobody asks, keeps a session of before until it is idle.
        let cut_off = verdicts.contains(&Verdict::Discard)
            && !reached
            && proofs.iter().all(|track| track.arrived == 0);
        let verdict = match row.map(|row| row.verdict) {
            Some("protected") if cut_off => Verdict::Discard,
            Some("protected") => Verdict::Protect,
            // Nothing comes by any more: its word from before does not count.
            Some("clear" | "transit") if verdicts.contains(&Verdict::Discard) && !reached => {
                Verdict::Discard
            }
            Some("clear" | "transit") => Verdict::Bypass,
            None if passed && sim.node(*node).mode() == Mode::Open => Verdict::Bypass,
            Some(_) | None => Verdict::Discard,
        };
        verdicts.push(verdict);
    }
    verdicts
}

/// Whether a packet can be read behind a machine of the path.
fn got_past(chain: &Chain, node: NodeId, track: &Track) -> bool {
    let next = chain.path.windows(2).find(|link| link[0] == node);
    next.map_or(track.arrived > 0, |link| track.readable.contains(&(link[0], link[1])))
}

/// Places, among the agents, of the two that protect.
fn segment(verdicts: &[Verdict]) -> Option<(usize, usize)> {
    let mut ends = (0..verdicts.len()).filter(|at| verdicts[*at] == Verdict::Protect);
    Some((ends.next()?, ends.next_back()?))
}

/// Packets arrive if nobody discards, and can be read on all links but those between the two that
/// protect.
fn fate(
    chain: &Chain,
    segment: Option<(usize, usize)>,
    passes: bool,
    proofs: &[Track],
    back: bool,
    odd: &mut Vec<String>,
) {
    let way = if back { "back" } else { "there" };
    let place = |at: usize| chain.path.iter().position(|node| *node == chain.agents[at].0);
    let sealed = segment.and_then(|(first, last)| Some(place(first)?..place(last)?));
    for track in proofs {
        if track.arrived != u32::from(passes) {
            odd.push(format!("{way}: arrived {} times", track.arrived));
        }
        if !passes {
            continue;
        }
        for (at, link) in chain.path.windows(2).enumerate() {
            let link = if back { (link[1], link[0]) } else { (link[0], link[1]) };
            let readable = track.readable.contains(&link);
            let within = sealed.as_ref().is_some_and(|sealed| sealed.contains(&at));
            if readable == within {
                let how = if readable { "readable" } else { "not readable" };
                odd.push(format!("{way}: {how} on link {at}"));
            }
        }
    }
}

/// Who protects, protects with the other one.
fn ends(sim: &Sim, chain: &Chain, verdicts: &[Verdict], odd: &mut Vec<String>) {
    let protecting: Vec<usize> =
        (0..verdicts.len()).filter(|at| verdicts[*at] == Verdict::Protect).collect();
    let peer = |at: usize| chain.row(sim, at)?.peer;
    match protecting[..] {
        [] => {}
        [first, last] => {
            for (at, other) in [(first, last), (last, first)] {
                let met = peer(at).and_then(|peer| sim.mgmt.node(peer.agent));
                if met != Some(chain.agents[other].0) {
                    odd.push(format!("agent {at} protects with {met:?}"));
                }
            }
            if peer(first).map(|peer| peer.group) != peer(last).map(|peer| peer.group) {
                odd.push("the two protect with different groups".to_owned());
            }
        }
        _ => odd.push(format!("agents {protecting:?} protect")),
    }
}
