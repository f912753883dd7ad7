//! Answers that wait. An agent nearer to the source asked, and somebody further on gave it a NOMATCH:
//! it will let its packets go in clear, or give up. This router stands for the source as well, so that
//! it is the next to ask. It does so at once, and lets the answer pass when it knows its own verdict:
//! whoever asked before must discard too if the flow is refused to this router. A closed refuser's own
//! message goes on in that case: who decided says so itself.
//!
//! ```text
//! inner agent -- DDE --------------------------------->
//!             |        router <-- NOMATCH open --------
//!             |           |------ DDE (its own) ------>
//!             |           |<----- RGI ... CDN, or a refusal
//!             <- NOMATCH -|      open: go on, I protect the rest; or: refused for good
//! ```
//! Source: DESIGN.md section 5, rules 2 and 4.

use super::Engine;
use super::incoming::Arrival;
use super::passing::Passage;
use super::questions::Question;
use super::row::{Row, RowState};
use crate::dprp::{Answered, Binding, SeenDde, Word, consume_dde};
use crate::flow::{HostPair, Ports};
use crate::io::NegotiationResult;
use crate::limits::PASSING;
use crate::wire::dprp::Place;
use crate::{DropReason, Mode, Now};

/// A NOMATCH on its way to an inner agent.
pub(super) struct Withheld {
    message: Vec<u8>,
    dde: SeenDde,
    /// Said by an open agent: the inner one may let its packets go.
    open: bool,
    /// Said by another router of the source's side: it stands unless this one finds an end.
    stands: bool,
    arrival: Arrival,
}

/// What this router knows of its own part.
enum Known {
    Protected,
    Clear,
    Dropped,
    Asking,
    Others,
    Nothing,
}

impl Engine {
    /// A NOMATCH for an agent behind this router, which stands for the source as well. `None`: it is
    /// none of this router's business.
    pub(super) fn withhold(
        &mut self,
        message: &[u8],
        answered: &Answered,
        arrival: Arrival,
        now: Now,
    ) -> Result<Option<Passage>, DropReason> {
        let open = answered.mode == Mode::Open;
        // A closed agent that is no end gives up, and so nobody after it is to protect anything.
        let (pair, remote) = (arrival.pair, arrival.pair.remote.0);
        if arrival.leaving || !self.in_scope(remote) {
            return Ok(None);
        }
        // The flow is the other side's, which this router protects it with: that a machine inside
        // could not be protected itself is no news to it, but it need not wait for an answer.
        if !open && self.pit.get(pair).and_then(Row::protected).is_some_and(|own| own.theirs) {
            return self.keep_from(answered, arrival, now).map(Some);
        }
        if answered.is_final && !answered.shares {
            // Who asked comes first, and so what this router asked for itself is refused as well.
            if self.passing.questions.get(pair, answered.dde.id, now.mono).is_some() {
                self.unfounded(pair, now);
            }
            return Ok(None);
        }
        // A closed agent that this router shares a group with is its end, and no reason to give up.
        let pass = if open { Passage::On } else { Passage::Stop };
        let waits = self.passing.withheld.get(&pair);
        if waits.is_some_and(|withheld| withheld.dde.id == answered.dde.id) {
            return Ok(Some(Passage::Stop));
        }
        // Only an answer to a question heard lately makes this router ask.
        let Some(question) = self.passing.questions.get(pair, answered.dde.id, now.mono) else {
            return Ok(answered.shares.then_some(pass));
        };
        // A closed agent that is no end gives up, and so nobody after it is to protect anything.
        if question.closed {
            self.unfounded(pair, now);
            return Ok(None);
        }
        self.passing.questions.forget(pair, answered.dde.id, now.mono);
        match self.known(pair) {
            Known::Protected if !open => {
                return self
                    .refuse_passing(&answered.dde, Place::Source, Word::AsOpen, arrival, now)
                    .map(Some);
            }
            Known::Clear if answered.is_source_side => return Ok(None),
            Known::Protected => return Ok(Some(pass)),
            Known::Clear if open => return Ok(Some(pass)),
            Known::Others => return Ok(answered.shares.then_some(pass)),
            Known::Dropped => {
                return self
                    .refuse_passing(&answered.dde, Place::Source, Word::ForGood, arrival, now)
                    .map(Some);
            }
            Known::Asking => {}
            Known::Clear | Known::Nothing => {
                // A survey's, or one that lets pass what somebody refuses since.
                self.forget_row(pair);
                if !self.start_pending(pair, Ports::default(), arrival.interface, now) {
                    return Ok(answered.shares.then_some(pass));
                }
            }
        }
        self.keep_until_known(message, answered, arrival)?;
        Ok(Some(Passage::Stop))
    }

    /// The answer waits until this router's own question is answered.
    fn keep_until_known(
        &mut self,
        message: &[u8],
        answered: &Answered,
        arrival: Arrival,
    ) -> Result<(), DropReason> {
        let pair = arrival.pair;
        let open = answered.mode == Mode::Open;
        let full = self.passing.withheld.len() >= PASSING;
        if full && !self.passing.withheld.contains_key(&pair) {
            return Err(DropReason::TableFull);
        }
        let (message, dde, stands) = (message.to_vec(), answered.dde, answered.is_source_side);
        self.passing.withheld.insert(pair, Withheld { message, dde, open, stands, arrival });
        Ok(())
    }

    /// The refusal of a flow that this router protects: who asked need not hear it, nor wait for it.
    fn keep_from(
        &mut self,
        answered: &Answered,
        arrival: Arrival,
        now: Now,
    ) -> Result<Passage, DropReason> {
        let asked = self.passing.questions.get(arrival.pair, answered.dde.id, now.mono);
        let waits = asked.is_some_and(|asked| !asked.closed);
        if waits {
            self.refuse_passing(&answered.dde, Place::Source, Word::AsOpen, arrival, now)
        } else {
            Ok(Passage::Stop)
        }
    }

    /// Remembers the question of an inner agent.
    pub(super) fn note_question(&mut self, message: &[u8], arrival: Arrival, now: Now) {
        let Some(keyring) = self.keyring.as_ref() else { return };
        let questions = &mut self.passing.questions;
        let Ok(seen) = SeenDde::read(keyring, message, now.unix) else { return };
        if questions.get(arrival.pair, seen.id, now.mono).is_some() {
            return;
        }
        let Ok(dde) = consume_dde(keyring, message, Binding::Fresh, now.unix) else { return };
        // Whoever heard it can send it again between any two others. The source may be another than it
        // says, by a NAT further in.
        if dde.proposal.pair.remote != arrival.flow().remote {
            return;
        }
        let back = Arrival { request: false, leaving: !arrival.leaving, ..arrival };
        let closed = dde.proposal.mode == Mode::Closed;
        let question = Question { dde: seen, back, closed, answered: false, since: now.mono };
        questions.put(arrival.pair, question, now.mono);
    }

    /// This router protects a flow from now on. If an inner agent asked for it meanwhile, the other
    /// end must know that the flow may change hands.
    fn yield_to_question(&mut self, pair: HostPair, now: Now) {
        let recent = self.passing.questions.has(pair, now.mono);
        let current = self.pit.get(pair).and_then(Row::protected).map(|own| own.current);
        if let (true, Some(index)) = (recent, current) {
            self.send_yield(index, now);
        }
    }

    /// This router drops the flow. Inner agents whose questions nobody has answered hear of it.
    pub(super) fn tell_inner(&mut self, pair: HostPair, now: Now) {
        let unanswered = self.passing.questions.take_all(pair, now.mono);
        for Question { dde, back, .. } in unanswered.into_iter().filter(|asked| !asked.answered) {
            let told = self.refuse_passing(&dde, Place::Source, Word::ForGood, back, now);
            if let Err(reason) = told {
                self.dropped_in(reason);
            }
        }
    }

    fn known(&self, pair: HostPair) -> Known {
        match self.pit.get(pair).map(|row| &row.state) {
            Some(RowState::Protected(_)) => Known::Protected,
            Some(RowState::Clear(plain)) if plain.reason == NegotiationResult::Unasked => {
                Known::Nothing
            }
            Some(RowState::Clear(_)) => Known::Clear,
            Some(RowState::Dropped(_)) => Known::Dropped,
            Some(RowState::Pending(_)) => Known::Asking,
            Some(RowState::Transit(_)) => Known::Others,
            None => Known::Nothing,
        }
    }

    /// This router's own question is answered: so is that of the inner agent.
    pub(super) fn release_withheld(&mut self, pair: HostPair, now: Now) {
        let Some(withheld) = self.passing.withheld.remove(&pair) else {
            match self.known(pair) {
                Known::Dropped => self.tell_inner(pair, now),
                Known::Protected => self.yield_to_question(pair, now),
                _ => {}
            }
            return;
        };
        let Withheld { message, dde, open, stands, arrival } = withheld;
        let word = match self.known(pair) {
            Known::Protected if open => return self.send_along(arrival, &message),
            Known::Clear if open || stands => {
                return self.send_along(arrival, &message);
            }
            // Whoever refused says so itself: the one who asked learns its name.
            Known::Dropped if !open && !stands => return self.send_along(arrival, &message),
            Known::Protected => Word::AsOpen,
            Known::Dropped => Word::ForGood,
            _ => return,
        };
        if let Err(reason) = self.refuse_passing(&dde, Place::Source, word, arrival, now) {
            self.dropped_in(reason);
        }
    }
}
