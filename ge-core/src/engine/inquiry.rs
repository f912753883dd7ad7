//! What a router that is the end of a flow asks inwards: whether an agent came up there that must be
//! the end, or that refuses. Who is further in sees only plaintext of a stranger, to which it gives
//! no answer; and it may not be asked by the flow's packets for as long as the session lasts.
//!
//! ```text
//! S ===== >N ----- new agent
//!          |-- DDE (a survey: no group) -->
//!          <-- NOMATCH: I am here ---------|
//! <- YIELD |                                    in the session
//! --- DDE ---------------------------->        S asks again, and everybody on the path answers
//! ```
//! Source: DESIGN.md section 5, rule 2 ("the farthest").

use super::Engine;
use super::row::{Inner, Row, RowState, Via};
use crate::dprp::{NoMatch, Purpose};
use crate::flow::{HostPair, Ports};
use crate::limits::{INQUIRY_FIRST, INQUIRY_LAST, SURVEYS_PER_SECOND};
use crate::wire::dprp::Kind;
use crate::{Mode, NegotiationId, Now};

impl Engine {
    /// Asks inwards about a flow that this router opens for a machine behind it, if that is due.
    pub(super) fn inquire(&mut self, pair: HostPair, now: Now) {
        if !self.awaits_inquiry(pair) {
            return;
        }
        let Some(row) = self.pit.get(pair) else { return };
        let Some(own) = row.protected() else { return };
        let (inner, interface) = (&own.inner, row.interface);
        let due = now.mono.since(inner.asked_at) >= inner.patience;
        if !due || !self.surveys.take(SURVEYS_PER_SECOND, now.mono) {
            return;
        }
        let (ports, purpose) = (Ports::default(), Purpose::Survey);
        let Some(question) =
            self.create_negotiation(pair, ports, Via::Echo, purpose, interface, now)
        else {
            return;
        };
        let Some(own) = self.pit.get_mut(pair).and_then(Row::protected_mut) else { return };
        let asked = Box::new(question.initiator);
        self.negotiations.insert(asked.id(), pair);
        own.inner.asked_at = now.mono;
        own.inner.patience = (2 * own.inner.patience).min(INQUIRY_LAST);
        if let Some(before) = own.inner.asked.replace(asked) {
            self.negotiations.remove(&before.id());
        }
        self.send_survey(pair, (question.echo_id, 1), &question.message);
    }

    /// This router will ask inwards about the flow, which was used since it last did.
    pub(super) fn awaits_inquiry(&self, pair: HostPair) -> bool {
        let row = self.pit.get(pair).filter(|_| self.is_router() && !self.is_local(pair.local.0));
        row.and_then(|row| Some((row.last_used, row.protected()?)))
            .is_some_and(|(used, own)| used > own.inner.asked_at)
    }

    /// Whether a negotiation of ours is a question inwards about a protected flow.
    pub(super) fn is_inquiry(&self, pair: HostPair, id: NegotiationId) -> bool {
        let own = self.pit.get(pair).and_then(Row::protected);
        own.and_then(|own| own.inner.asked.as_ref()).is_some_and(|asked| asked.id() == id)
    }

    /// Somebody further in answered. News are told to the other end, which asks again.
    pub(super) fn consume_inquiry(&mut self, pair: HostPair, message: &[u8], kind: Kind, now: Now) {
        let Some(keyring) = self.keyring.as_ref() else { return };
        let Some(own) = self.pit.get_mut(pair).and_then(Row::protected_mut) else { return };
        let (current, inner) = (own.current, &mut own.inner);
        let Some(asked) = &inner.asked else { return };
        if kind != Kind::NoMatch {
            return self.dropped_in(crate::DropReason::BadMessage);
        }
        let id = asked.id();
        let answer = asked.consume_nomatch(keyring, message, now.unix);
        let NoMatch { mode, certificate: from, .. } = match answer {
            // It is of the other side, and was not asked.
            Ok(answer) if answer.protects_beyond() => return,
            Ok(answer) => answer,
            Err(reject) => return self.dropped_in(reject.drop_reason()),
        };
        // A closed agent in the part that is in clear is never content (rule 3): it becomes the
        // end, or the flow is refused.
        let news = inner.known != Some(from);
        inner.asked = None;
        self.negotiations.remove(&id);
        if mode == Mode::Closed {
            self.heard_refusal(pair, now);
        } else if news {
            self.send_news(current, now);
        }
    }

    /// What a flow's newest agreement, made as responder, leaves of what was known before.
    pub(super) fn inherit_inner(
        &mut self,
        pair: HostPair,
        before: Option<&RowState>,
        via: Via,
        beyond: Option<[u8; 8]>,
        now: Now,
    ) {
        let (theirs, known, patience) = match before {
            Some(RowState::Protected(old)) => (old.theirs, old.inner.known, old.inner.patience),
            Some(_) | None => (true, None, INQUIRY_FIRST),
        };
        // Inside the session nobody further in was asked.
        let known = if via.is_clear() { beyond.or(known) } else { known };
        if let Some(RowState::Protected(old)) = before
            && let Some(asked) = &old.inner.asked
        {
            self.negotiations.remove(&asked.id());
        }
        let Some(own) = self.pit.get_mut(pair).and_then(Row::protected_mut) else { return };
        own.theirs = theirs;
        own.inner = Inner { known, asked: None, asked_at: now.mono, patience };
    }
}
