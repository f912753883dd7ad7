//! A whole negotiation, the share of each end and of an agent between.

use crate::figure::{Figure, time};
use anyhow::{Context, Result};
use ge_core::addr::WireAddr;
use ge_core::crypto::Rng;
use ge_core::crypto::x25519::KeyPair;
use ge_core::dprp::{
    Binding, Initiator, Proposal, Purpose, SeenDde, SessionParameters, Witness, Word, consume_dde,
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
    let samples = Samples::take()?;
    let strangers = |name, time| samples.strangers(name, time).with_rate();
    let figure = |name, time| samples.known(name, time);
    Ok(vec![
        strangers("negotiation of strangers, initiator", Run::initiator),
        strangers("negotiation of strangers, responder", Run::responder),
        strangers("negotiation of strangers, transit", Run::transit),
        figure("negotiation, DDE made", |run| run.ask),
        figure("negotiation, DDE read and RGI made", |run| run.answer),
        figure("negotiation, RGI read and MPIT made", |run| run.agree),
        figure("negotiation, MPIT read and CDN made", |run| run.confirm),
        figure("negotiation, CDN read", |run| run.end),
        figure("negotiation, initiator", Run::initiator).with_rate(),
        figure("negotiation, responder", Run::responder).with_rate(),
        figure("negotiation, DDE seen by a transit", |run| run.seen),
        figure("negotiation, RGI with a transit's record", |run| run.recorded),
        figure("negotiation, MPIT read by a transit", |run| run.tentative),
        figure("negotiation, CDN read by a transit", |run| run.committed),
        figure("negotiation, transit", Run::transit).with_rate(),
    ])
}

/// The responder's share with strangers and with known agents, and that of a router between.
pub(crate) fn shares() -> Result<[Figure; 3]> {
    let samples = Samples::take()?;
    Ok([
        samples.strangers("responder, strangers", Run::responder),
        samples.known("responder", Run::responder),
        samples.known("transit", Run::transit),
    ])
}

/// Lengths of DDE, RGI without records, MPIT, CDN and NOMATCH.
pub(crate) fn lengths() -> Result<[usize; 5]> {
    let agents = Scene::new()?.keyrings()?;
    Ok(run(&agents, &mut Rng::seed_from_u64(4))?.lengths)
}

/// A DDE, and an RGI with the record of one agent between.
pub(crate) fn messages() -> Result<[Vec<u8>; 2]> {
    let agents = Scene::new()?.keyrings()?;
    Ok(run(&agents, &mut Rng::seed_from_u64(4))?.messages)
}

/// Negotiations of agents that never met, and of the same ones again and again.
struct Samples {
    strangers: Vec<Run>,
    known: Vec<Run>,
}

impl Samples {
    fn take() -> Result<Self> {
        let mut rng = Rng::seed_from_u64(2);
        let scene = Scene::new()?;
        // A new keyring has met nobody.
        let strangers: Result<_> = (0..RUNS).map(|_| run(&scene.keyrings()?, &mut rng)).collect();
        let agents = scene.keyrings()?;
        let known: Result<_> = (0..RUNS).map(|_| run(&agents, &mut rng)).collect();
        Ok(Self { strangers: strangers?, known: known? })
    }

    fn strangers(&self, name: &str, time: fn(&Run) -> Duration) -> Figure {
        Figure::median(name.to_owned(), self.strangers.iter().map(time).collect(), 1)
    }

    fn known(&self, name: &str, time: fn(&Run) -> Duration) -> Figure {
        Figure::median(name.to_owned(), self.known.iter().map(time).collect(), 1)
    }
}

/// Three members of one group.
struct Scene {
    mgmt: Mgmt,
    members: [(NodeId, Identity); 3],
}

impl Scene {
    fn new() -> Result<Self> {
        let mut mgmt = Mgmt::new(Rng::seed_from_u64(3), START);
        let group = mgmt.add_group(START);
        let admission = || Admission::host(Mode::Closed, &[group]);
        let members =
            [0, 1, 2].map(|node| (NodeId(node), mgmt.add_member(NodeId(node), admission())));
        Ok(Self { mgmt, members })
    }

    fn keyrings(&self) -> Result<[Keyring; 3]> {
        let keyring = |(node, identity): &(NodeId, Identity)| -> Result<Keyring> {
            let membership = self.mgmt.membership(*node, START).context("no membership")?;
            Ok(Keyring::new(identity, &membership)?)
        };
        let [one, other, between] = &self.members;
        Ok([keyring(one)?, keyring(other)?, keyring(between)?])
    }
}

/// What each step of one negotiation took, and how long its messages are.
struct Run {
    ask: Duration,
    answer: Duration,
    agree: Duration,
    confirm: Duration,
    end: Duration,
    seen: Duration,
    recorded: Duration,
    tentative: Duration,
    committed: Duration,
    lengths: [usize; 5],
    /// The DDE, and the RGI as it arrives.
    messages: [Vec<u8>; 2],
}

impl Run {
    fn initiator(&self) -> Duration {
        self.ask + self.agree + self.end
    }

    fn responder(&self) -> Duration {
        self.answer + self.confirm
    }

    fn transit(&self) -> Duration {
        self.seen + self.recorded + self.tentative + self.committed
    }
}

/// One negotiation of the first two, with the third between them.
fn run([one, other, between]: &[Keyring; 3], rng: &mut Rng) -> Result<Run> {
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
    let secret = Secret32([9; 32]);
    let witness = Witness { keyring: between, secret: &secret, place: Place::Between };
    let (seen, dde_seen) = time(|| SeenDde::read(between, &dde, START));
    dde_seen?;
    let (answer, answered) = time(|| {
        let read = consume_dde(other, &dde, Binding::Fresh, START)?;
        read.answer(other, false, parameters(2), KeyPair::generate(rng), rng, START)
    });
    let (mut responder, rgi) = answered?;
    let shortest = rgi.len();
    let nomatch = consume_dde(other, &dde, Binding::Fresh, START)?.refuse(
        other,
        false,
        Word::Own,
        rng,
        START,
    );
    let nomatch = nomatch.context("no NOMATCH")?;
    let (recorded, rgi) = time(|| witness.add_record(&rgi, rng, START));
    let rgi = rgi?.message;
    let (agree, agreed) = time(|| initiator.consume_rgi(one, &rgi, rng, START));
    let (agreement, mpit) = agreed?;
    let (tentative, passed) = time(|| witness.consume_mpit(&mpit, pair, START));
    let passed = passed?;
    let (confirm, confirmed) = time(|| responder.consume_mpit(other, &mpit, rng, START));
    let (confirmation, cdn) = confirmed?;
    let (committed, session) = time(|| passed.consume_cdn(between, &cdn, START));
    session?;
    let (end, ended) = time(|| initiator.consume_cdn(one, &cdn, START));
    ended?;
    anyhow::ensure!(agreement.handshake_hash == confirmation.handshake_hash, "ends disagree");
    let lengths = [dde.len(), shortest, mpit.len(), cdn.len(), nomatch.len()];
    let messages = [dde, rgi];
    Ok(Run {
        ask,
        answer,
        agree,
        confirm,
        end,
        seen,
        recorded,
        tentative,
        committed,
        lengths,
        messages,
    })
}
