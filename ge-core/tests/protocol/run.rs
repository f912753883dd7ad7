//! Runs a negotiation step by step, and puts forged messages right where a forger could.

use crate::domain::{Domain, Member, NOW, parameters, proposal, rng};
use ge_core::UnixTime;
use ge_core::addr::WireAddr;
use ge_core::crypto::x25519::KeyPair;
use ge_core::crypto::{Rng, kdf};
use ge_core::dprp::{
    Agreement, Binding, Initiator, Proposal, Reject, Responder, SessionParameters, Word,
    consume_dde,
};
use ge_core::id::Epoch;
use ge_core::keyring::Keyring;
use ge_core::wire::dprp::MAC_LEN;

/// Two agents and the state of their negotiation.
pub struct Run {
    pub i: Keyring,
    pub r: Keyring,
    pub rng: Rng,
    pub unix: UnixTime,
    pub proposal: Proposal,
    pub binding: Binding,
    /// The responder speaks for another machine.
    pub answers_as_router: bool,
}

/// The four messages and what both ends agreed on.
pub struct Finished {
    pub dde: Vec<u8>,
    pub rgi: Vec<u8>,
    pub mpit: Vec<u8>,
    pub cdn: Vec<u8>,
    pub initiator: Initiator,
    pub agreed_i: Agreement,
    pub agreed_r: Agreement,
}

impl Run {
    pub fn new(i: &Member, r: &Member) -> Self {
        Self {
            i: i.keyring(),
            r: r.keyring(),
            rng: rng(1),
            unix: NOW,
            proposal: proposal(),
            binding: Binding::Fresh,
            answers_as_router: false,
        }
    }

    /// Two members of group 1.
    pub fn pair() -> Self {
        let domain = Domain::new(1);
        Self::new(&domain.member(1, &[1]), &domain.member(2, &[1]))
    }

    pub fn dde(&mut self) -> (Initiator, Vec<u8>) {
        let wire = WireAddr(self.proposal.pair.local.0);
        let Self { i, rng, unix, proposal, binding, .. } = self;
        let parameters = SessionParameters { wire, ..parameters(11) };
        let ephemeral = KeyPair::generate(rng);
        Initiator::create_dde(i, proposal, *binding, parameters, ephemeral, rng, *unix).unwrap()
    }

    pub fn rgi(&mut self, dde: &[u8]) -> Result<(Responder, Vec<u8>), Reject> {
        let received = consume_dde(&self.r, dde, self.binding, self.unix)?;
        let wire = WireAddr(self.proposal.pair.remote.0);
        let parameters = SessionParameters { wire, ..parameters(22) };
        let Self { r, rng, answers_as_router: router, .. } = self;
        let ephemeral = KeyPair::generate(rng);
        received.answer(r, *router, parameters, ephemeral, rng, self.unix)
    }

    pub fn mpit(
        &mut self,
        initiator: &mut Initiator,
        rgi: &[u8],
    ) -> Result<(Agreement, Vec<u8>), Reject> {
        initiator.consume_rgi(&self.i, rgi, &mut self.rng, self.unix)
    }

    pub fn cdn(
        &mut self,
        responder: &mut Responder,
        mpit: &[u8],
    ) -> Result<(Agreement, Vec<u8>), Reject> {
        responder.consume_mpit(&self.r, mpit, &mut self.rng, self.unix)
    }

    /// The whole negotiation; the first refusal ends it.
    pub fn finish(&mut self) -> Result<Finished, Reject> {
        let (mut initiator, dde) = self.dde();
        let (mut responder, rgi) = self.rgi(&dde)?;
        let (agreed_i, mpit) = self.mpit(&mut initiator, &rgi)?;
        let (agreed_r, cdn) = self.cdn(&mut responder, &mpit)?;
        initiator.consume_cdn(&self.i, &cdn, self.unix)?;
        Ok(Finished { dde, rgi, mpit, cdn, initiator, agreed_i, agreed_r })
    }

    /// The NOMATCH of the responder, and the initiator that waits.
    pub fn nomatch(&mut self) -> (Initiator, Vec<u8>) {
        let (initiator, dde) = self.dde();
        let received = consume_dde(&self.r, &dde, self.binding, self.unix).unwrap();
        let nomatch = received
            .refuse(&self.r, self.answers_as_router, Word::Own, &mut self.rng, self.unix)
            .unwrap();
        (initiator, nomatch)
    }
}

/// Where `mac1` of a DDE begins, seen from its end.
pub const DDE_TAIL: usize = 2 * MAC_LEN;

/// Gives a changed message its right length and `mac1`, as any agent of domain 1 could.
pub fn remac(message: &mut [u8], tail: usize) {
    let member = Domain::new(1).member(1, &[1]);
    let keys = &member.membership.domain_keys;
    let key = keys.iter().find(|key| key.epoch == Epoch(5)).unwrap();
    let mac1_key =
        kdf::domain_prk(member.membership.domain, key.epoch, &key.key).expand("mac1", &[]);
    let length = message.len() as u16;
    message[6..8].copy_from_slice(&length.to_be_bytes());
    let at = message.len() - tail;
    let mac1: [u8; MAC_LEN] = kdf::short_hmac(&mac1_key, &[&message[..at]]);
    message[at..at + MAC_LEN].copy_from_slice(&mac1);
}
