//! A whole negotiation, the share of each end.

use crate::figure::{Figure, time};
use anyhow::{Context, Result};
use ge_core::addr::WireAddr;
use ge_core::crypto::Rng;
use ge_core::dprp::{Binding, Initiator, Proposal, Purpose, SessionParameters, consume_dde};
use ge_core::flow::{HostPair, Ports};
use ge_core::keyring::Keyring;
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
    let mut keyring = |node| -> Result<Keyring> {
        let identity = mgmt.add_member(node, Admission::host(Mode::Closed, &[group]));
        let membership = mgmt.membership(node, START).context("no membership")?;
        Ok(Keyring::new(&identity, &membership)?)
    };
    let ends = (keyring(NodeId(0))?, keyring(NodeId(1))?);
    let samples = (0..RUNS).map(|_| run(&ends, &mut rng)).collect::<Result<Vec<_>>>()?;
    let (initiator, responder) = samples.into_iter().unzip();
    Ok(vec![
        Figure::median("negotiation, initiator".to_owned(), initiator, 1),
        Figure::median("negotiation, responder".to_owned(), responder, 1),
    ])
}

/// Time of the initiator and of the responder in one negotiation.
fn run((one, other): &(Keyring, Keyring), rng: &mut Rng) -> Result<(Duration, Duration)> {
    let pair = HostPair::new(Ipv4Addr::new(10, 0, 0, 1).into(), Ipv4Addr::new(10, 0, 0, 2).into());
    let proposal = Proposal {
        pair,
        ports: Ports::default(),
        mode: Mode::Closed,
        router: false,
        purpose: Purpose::Protect,
    };
    let parameters = |index| {
        let wire = WireAddr(Ipv4Addr::new(10, 0, 0, index as u8).into());
        SessionParameters { index: SessionIndex(index), data_port: 5865, wire }
    };
    let (dde_time, created) =
        time(|| Initiator::create_dde(one, &proposal, Binding::Fresh, parameters(1), rng, START));
    let (mut initiator, dde) = created?;
    let (rgi_time, answered) = time(|| {
        consume_dde(other, &dde, Binding::Fresh, START)?.answer(
            other,
            false,
            parameters(2),
            rng,
            START,
        )
    });
    let (mut responder, rgi) = answered?;
    let (mpit_time, agreed) = time(|| initiator.consume_rgi(one, &rgi, rng, START));
    let (agreement, mpit) = agreed?;
    let (cdn_time, confirmed) = time(|| responder.consume_mpit(other, &mpit, rng, START));
    let (confirmation, cdn) = confirmed?;
    let (end_time, ended) = time(|| initiator.consume_cdn(one, &cdn, START));
    ended?;
    anyhow::ensure!(agreement.handshake_hash == confirmation.handshake_hash, "ends disagree");
    Ok((dde_time + mpit_time + end_time, rgi_time + cdn_time))
}
