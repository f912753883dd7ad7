//! A whole negotiation, the share of each end and of an agent between.

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
    let [one, other, third] = [NodeId(0), NodeId(1), NodeId(2)]
        .map(|node| (node, mgmt.add_member(node, Admission::host(Mode::Closed, &[group]))));
    // A new keyring has met nobody.
    let keyring = |(node, identity): &(NodeId, Identity)| -> Result<Keyring> {
        let membership = mgmt.membership(*node, START).context("no membership")?;
        Ok(Keyring::new(identity, &membership)?)
    };
    let strangers = (0..RUNS)
        .map(|_| run(&[keyring(&one)?, keyring(&other)?, keyring(&third)?], &mut rng))
        .collect::<Result<Vec<Times>>>()?;
    let agents = [keyring(&one)?, keyring(&other)?, keyring(&third)?];
    let samples = (0..RUNS).map(|_| run(&agents, &mut rng)).collect::<Result<Vec<Times>>>()?;
    let figure_of = |name: &str, samples: &[Times], time: fn(&Times) -> Duration| {
        Figure::median(name.to_owned(), samples.iter().map(time).collect(), 1)
    };
    let figure = |name: &str, time| figure_of(name, &samples, time);
    Ok(vec![
        figure_of("negotiation of strangers, initiator", &strangers, Times::initiator).with_rate(),
        figure_of("negotiation of strangers, responder", &strangers, Times::responder).with_rate(),
        figure_of("negotiation of strangers, transit", &strangers, Times::transit).with_rate(),
        figure("negotiation, DDE made", |times| times.ask),
        figure("negotiation, DDE read and RGI made", |times| times.answer),
        figure("negotiation, RGI read and MPIT made", |times| times.agree),
        figure("negotiation, MPIT read and CDN made", |times| times.confirm),
        figure("negotiation, CDN read", |times| times.end),
        figure("negotiation, initiator", Times::initiator).with_rate(),
        figure("negotiation, responder", Times::responder).with_rate(),
        figure("negotiation, DDE seen by a transit", |times| times.seen),
        figure("negotiation, RGI with a transit's record", |times| times.recorded),
        figure("negotiation, MPIT read by a transit", |times| times.tentative),
        figure("negotiation, CDN read by a transit", |times| times.committed),
        figure("negotiation, transit", Times::transit).with_rate(),
    ])
}

/// What each step of one negotiation took.
struct Times {
    ask: Duration,
    answer: Duration,
    agree: Duration,
    confirm: Duration,
    end: Duration,
    seen: Duration,
    recorded: Duration,
    tentative: Duration,
    committed: Duration,
}

impl Times {
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
fn run([one, other, between]: &[Keyring; 3], rng: &mut Rng) -> Result<Times> {
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
    let (recorded, rgi) = time(|| witness.add_record(&rgi, rng, START));
    let (rgi, _) = rgi?;
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
    Ok(Times { ask, answer, agree, confirm, end, seen, recorded, tentative, committed })
}
