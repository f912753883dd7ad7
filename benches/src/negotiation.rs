//! A whole negotiation, the share of each end.

use crate::figure::{Figure, time};
use anyhow::{Context, Result};
use ge_core::addr::WireAddr;
use ge_core::crypto::Rng;
use ge_core::crypto::x25519::KeyPair;
use ge_core::dprp::{
    Binding, Initiator, Proposal, Purpose, SeenDde, SessionParameters, Witness, consume_dde,
};
use ge_core::flow::{HostPair, Ports};
use ge_core::keyring::Keyring;
use ge_core::membership::{Identity, Secret32};
use ge_core::wire::dprp::Place;
use ge_core::{Mode, SessionIndex};
use ge_sim::NodeId;
use ge_sim::mgmt::{Admission, Mgmt};
use ge_sim::node::START;
use rand_core::SeedableRng as _;
use std::net::Ipv4Addr;
use std::time::Duration;

const RUNS: usize = 1_000;

pub(crate) fn figures() -> Result<Vec<Figure>> {
    let mut rng = Rng::seed_from_u64(2);
    let mut mgmt = Mgmt::new(Rng::seed_from_u64(3), START);
    let group = mgmt.add_group(START);
    let [one, other] = [NodeId(0), NodeId(1)]
        .map(|node| (node, mgmt.add_member(node, Admission::host(Mode::Closed, &[group]))));
    // A new keyring has met nobody.
    let keyring = |(node, identity): &(NodeId, Identity)| -> Result<Keyring> {
        let membership = mgmt.membership(*node, START).context("no membership")?;
        Ok(Keyring::new(identity, &membership)?)
    };
    let strangers = (0..RUNS)
        .map(|_| run(&(keyring(&one)?, keyring(&other)?), &mut rng))
        .collect::<Result<Vec<Times>>>()?;
    let ends = (keyring(&one)?, keyring(&other)?);
    let samples = (0..RUNS).map(|_| run(&ends, &mut rng)).collect::<Result<Vec<Times>>>()?;
    let figure_of = |name: &str, samples: &[Times], time: fn(&Times) -> Duration| {
        Figure::median(name.to_owned(), samples.iter().map(time).collect(), 1)
    };
    let figure = |name: &str, time| figure_of(name, &samples, time);
    Ok(vec![
        figure_of("negotiation of strangers, initiator", &strangers, Times::initiator),
        figure_of("negotiation of strangers, responder", &strangers, Times::responder),
        figure("negotiation, DDE made", |times| times.ask),
        figure("negotiation, DDE read and RGI made", |times| times.answer),
        figure("negotiation, RGI read and MPIT made", |times| times.agree),
        figure("negotiation, MPIT read and CDN made", |times| times.confirm),
        figure("negotiation, CDN read", |times| times.end),
        figure("negotiation, initiator", Times::initiator),
        figure("negotiation, responder", Times::responder),
    ])
}

/// The responder's share with strangers and with known agents, and that of a router between.
pub(crate) fn shares() -> Result<[Figure; 3]> {
    let mut rng = Rng::seed_from_u64(4);
    let scene = Scene::new()?;
    let strangers = (0..RUNS)
        .map(|_| run(&(scene.keyring(0)?, scene.keyring(1)?), &mut rng))
        .collect::<Result<Vec<Times>>>()?;
    let ends = (scene.keyring(0)?, scene.keyring(1)?);
    let known = (0..RUNS).map(|_| run(&ends, &mut rng)).collect::<Result<Vec<Times>>>()?;
    let between = scene.keyring(2)?;
    let transit = (0..RUNS)
        .map(|_| Ok(messages(&ends, Some(&between), &mut rng)?.1))
        .collect::<Result<Vec<Duration>>>()?;
    let responder = |times: &[Times]| {
        Figure::median(String::new(), times.iter().map(Times::responder).collect(), 1)
    };
    Ok([responder(&strangers), responder(&known), Figure::median(String::new(), transit, 1)])
}

/// Lengths of DDE, RGI, MPIT, CDN and NOMATCH.
pub(crate) fn lengths() -> Result<[usize; 5]> {
    let scene = Scene::new()?;
    let ends = (scene.keyring(0)?, scene.keyring(1)?);
    Ok(messages(&ends, None, &mut Rng::seed_from_u64(4))?.0)
}

/// Two members, and a router of another group.
struct Scene {
    mgmt: Mgmt,
    members: [(NodeId, Identity); 3],
}

impl Scene {
    fn new() -> Result<Self> {
        let mut mgmt = Mgmt::new(Rng::seed_from_u64(3), START);
        let groups = [mgmt.add_group(START), mgmt.add_group(START)];
        let members = [(0, 0), (1, 0), (2, 1)].map(|(node, group)| {
            let admission = Admission::host(Mode::Open, &[groups[group]]);
            (NodeId(node), mgmt.add_member(NodeId(node), admission))
        });
        Ok(Self { mgmt, members })
    }

    fn keyring(&self, member: usize) -> Result<Keyring> {
        let (node, identity) = &self.members[member];
        let membership = self.mgmt.membership(*node, START).context("no membership")?;
        Ok(Keyring::new(identity, &membership)?)
    }
}

/// One negotiation past a router, if there is one: lengths of the messages, and what it took there.
fn messages(
    (one, other): &(Keyring, Keyring),
    between: Option<&Keyring>,
    rng: &mut Rng,
) -> Result<([usize; 5], Duration)> {
    let secret = Secret32([3; 32]);
    let pair = HostPair::new(Ipv4Addr::new(10, 0, 0, 1).into(), Ipv4Addr::new(10, 0, 0, 2).into());
    let (ports, purpose, mode) = (Ports::default(), Purpose::Protect, Mode::Open);
    let proposal = Proposal { pair, ports, mode, router: false, purpose };
    let parameters = |index| {
        let wire = WireAddr(Ipv4Addr::new(10, 0, 0, index as u8).into());
        SessionParameters { index: SessionIndex(index), data_port: 5865, wire }
    };
    let ephemeral = KeyPair::generate(rng);
    let binding = Binding::Fresh;
    let (mut initiator, dde) =
        Initiator::create_dde(one, &proposal, binding, parameters(1), ephemeral, rng, START)?;
    let read = consume_dde(other, &dde, binding, START)?;
    let nomatch = read.refuse(other, false, rng, START).context("no NOMATCH")?;
    let ephemeral = KeyPair::generate(rng);
    let (mut responder, mut rgi) =
        read.answer(other, false, parameters(2), ephemeral, rng, START)?;
    let shortest = rgi.len();
    let witness =
        between.map(|keyring| Witness { keyring, secret: &secret, place: Place::Between });
    let mut took = Duration::default();
    if let Some(witness) = &witness {
        let (seen, longer) = time(|| {
            SeenDde::read(witness.keyring, &dde, START)?;
            witness.add_record(&rgi, rng, START)
        });
        (took, rgi) = (took + seen, longer?);
    }
    let (_, mpit) = initiator.consume_rgi(one, &rgi, rng, START)?;
    let (_, cdn) = responder.consume_mpit(other, &mpit, rng, START)?;
    if let Some(witness) = &witness {
        let (seen, committed) = time(|| {
            let tentative = witness.consume_mpit(&mpit, pair, START)?;
            tentative.consume_cdn(witness.keyring, &cdn, START)
        });
        committed?;
        took += seen;
    }
    Ok(([dde.len(), shortest, mpit.len(), cdn.len(), nomatch.len()], took))
}

/// What each step of one negotiation took.
struct Times {
    ask: Duration,
    answer: Duration,
    agree: Duration,
    confirm: Duration,
    end: Duration,
}

impl Times {
    fn initiator(&self) -> Duration {
        self.ask + self.agree + self.end
    }

    fn responder(&self) -> Duration {
        self.answer + self.confirm
    }
}

/// One negotiation.
fn run((one, other): &(Keyring, Keyring), rng: &mut Rng) -> Result<Times> {
    let pair = HostPair::new(Ipv4Addr::new(10, 0, 0, 1).into(), Ipv4Addr::new(10, 0, 0, 2).into());
    let (ports, purpose) = (Ports::default(), Purpose::Protect);
    let proposal = Proposal { pair, ports, mode: Mode::Closed, router: false, purpose };
    let parameters = |index| {
        let wire = WireAddr(Ipv4Addr::new(10, 0, 0, index as u8).into());
        SessionParameters { index: SessionIndex(index), data_port: 5865, wire }
    };
    let (ask, created) = time(|| {
        let ephemeral = KeyPair::generate(rng);
        Initiator::create_dde(one, &proposal, Binding::Fresh, parameters(1), ephemeral, rng, START)
    });
    let (mut initiator, dde) = created?;
    let (answer, answered) = time(|| {
        let read = consume_dde(other, &dde, Binding::Fresh, START)?;
        read.answer(other, false, parameters(2), KeyPair::generate(rng), rng, START)
    });
    let (mut responder, rgi) = answered?;
    let (agree, agreed) = time(|| initiator.consume_rgi(one, &rgi, rng, START));
    let (agreement, mpit) = agreed?;
    let (confirm, confirmed) = time(|| responder.consume_mpit(other, &mpit, rng, START));
    let (confirmation, cdn) = confirmed?;
    let (end, ended) = time(|| initiator.consume_cdn(one, &cdn, START));
    ended?;
    anyhow::ensure!(agreement.handshake_hash == confirmation.handshake_hash, "ends disagree");
    Ok(Times { ask, answer, agree, confirm, end })
}
