//! Why a flow is treated as it is: what agents said, kept beside the row for people.
//!
//! Nothing here decides; a verdict never depends on it.

use super::Engine;
use super::row::{Row, RowState};
use super::snapshot::agents;
use crate::Now;
use crate::cert::{CertRole, Certificate};
use crate::dprp::{NoMatch, RefusedPath, reference};
use crate::flow::{HostPair, Ports};
use crate::id::Interface;
use crate::io::{Denial, NegotiationResult, Outlook, PathAgent, Speaker};
use crate::wire::dprp::{Consent, Place, Standing};

impl Engine {
    /// What is known about a pair before anybody is asked.
    #[must_use]
    pub fn outlook(&self, pair: HostPair, now: Now) -> Outlook {
        let (local, remote) = (pair.local.0, pair.remote.0);
        Outlook {
            own: self.is_local(local),
            stands_for: self.stands_for(local),
            in_scope: self.in_scope(remote),
            must_protect: self.must_protect(remote),
            remembered: self.sticky.contains(remote, now.mono),
            can_ask: self.keyring.as_ref().is_some_and(|keyring| keyring.can_ask(now.unix)),
            mode: self.mode(),
            transit: self.membership.as_ref().map(|own| own.transit).unwrap_or_default(),
            certificate: self.membership.as_ref().map(|own| reference(&own.certificate)),
        }
    }

    /// Asks about a pair as a first packet would, for `ges trace`: a row that has an answer keeps
    /// it until it is due to be asked about again; one that only let a stranger in is none.
    pub fn trace(&mut self, pair: HostPair, interface: Interface, now: Now) {
        let unasked = |row: &Row| match &row.state {
            RowState::Clear(plain) => plain.reason == NegotiationResult::Unasked,
            _ => false,
        };
        if self.pit.get(pair).is_some_and(unasked) {
            self.forget_row(pair);
        }
        if !self.stands_for(pair.local.0) || !self.in_scope(pair.remote.0) {
            return;
        }
        if self.pit.get(pair).is_none() {
            self.start_pending(pair, Ports::default(), interface, now);
        } else {
            self.ask_again(pair, now);
        }
    }

    /// Keeps what a NOMATCH said.
    pub(super) fn note_nomatch(&mut self, pair: HostPair, said: &NoMatch) {
        let by = Speaker {
            place: said.place,
            shares_group: said.shares_group,
            relays: said.mode != said.standing.mode,
            ..end(&said.peer, said.certificate, said.standing)
        };
        self.note(pair, Denial { by, end: None, path: Vec::new() });
    }

    /// Keeps who was on the path of an RGI that somebody between vetoed.
    pub(super) fn note_refused(&mut self, pair: HostPair, said: RefusedPath) {
        let path = agents(&said.records);
        let Some(by) = path.iter().find(|agent| agent.certificate == said.by) else { return };
        let end = end(&said.peer, said.certificate, said.standing);
        self.note(pair, Denial { by: Speaker::from(by), end: Some(end), path });
    }

    fn note(&mut self, pair: HostPair, denial: Denial) {
        if let Some(row) = self.pit.get_mut(pair) {
            row.denial = Some(Box::new(denial));
        }
    }
}

impl From<&PathAgent> for Speaker {
    fn from(agent: &PathAgent) -> Self {
        Self {
            agent: None,
            certificate: agent.certificate,
            router: None,
            speaks_for: agent.place != Place::Between,
            mode: agent.consent.mode(),
            transit: match agent.consent {
                Consent::Open => None,
                Consent::Closed(transit) => Some(transit),
            },
            place: agent.place,
            shares_group: agent.shares_group,
            relays: false,
        }
    }
}

/// The other end of a negotiation, by its certificate, as one that would protect the flow.
fn end(peer: &Certificate, certificate: [u8; 8], standing: Standing) -> Speaker {
    Speaker {
        agent: Some(peer.agent),
        certificate,
        router: Some(peer.role == CertRole::Router),
        speaks_for: standing.router,
        mode: standing.mode,
        transit: None,
        place: Place::Destination,
        shares_group: true,
        relays: false,
    }
}
