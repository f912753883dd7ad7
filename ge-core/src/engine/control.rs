//! Control messages inside a session: sealed, so that only the peer can have sent them.
//!
//! ```text
//! plaintext of a data packet of kind `control`:
//! | 1 | negotiation message (rekey)     |
//! | 2 |                                 |   keepalive
//! | 3 | mode 1 (0 open, 1 closed)       |   goodbye: I stop; in open mode I go on in clear
//! | 4 | or 4, 1                         |   yield: an agent nearer to the flow's end may take it over;
//!                                         with 1: ask again, one came up
//! | 5 |                                 |   prompt: say something, so that I know that you are there
//! ```

use super::Engine;
use super::row::{Row, Via};
use crate::batch::SealedBatch;
use crate::id::SessionIndex;
use crate::io::Event;
use crate::limits::YIELD_HEEDED_AFTER;
use crate::shim::{Kind, SHIM_LEN, TAG_LEN};
use crate::{DropReason, Mode, Now};

const NEGOTIATION: u8 = 1;
const KEEPALIVE: u8 = 2;
const GOODBYE: u8 = 3;
const YIELD: u8 = 4;
const PROMPT: u8 = 5;

/// What a goodbye says about the time after it.
const OPEN: u8 = 0;
const CLOSED: u8 = 1;

/// Goodbye is not acknowledged; it is said this often, since a lost one costs the peer seconds.
const GOODBYES: usize = 3;

impl Engine {
    pub(super) fn send_control_message(&mut self, index: SessionIndex, message: &[u8], now: Now) {
        self.send_control(index, NEGOTIATION, message, now);
    }

    pub(super) fn send_keepalive(&mut self, index: SessionIndex, now: Now) {
        self.send_control(index, KEEPALIVE, &[], now);
        if let Some(session) = self.sessions.get_mut(index) {
            session.kept_alive(now.mono);
        }
    }

    /// Asks the peer for a keepalive.
    pub(super) fn send_prompt(&mut self, index: SessionIndex, now: Now) {
        self.send_control(index, PROMPT, &[], now);
    }

    pub(super) fn send_yield(&mut self, index: SessionIndex, now: Now) {
        self.send_control(index, YIELD, &[], now);
    }

    /// Yields because an agent further in is news: the peer is to ask again.
    pub(super) fn send_news(&mut self, index: SessionIndex, now: Now) {
        self.send_control(index, YIELD, &[1], now);
    }

    /// Tells the peer that its session is no longer used, so that its row does not outlive ours.
    pub(super) fn send_end(&mut self, index: SessionIndex, now: Now) {
        self.send_control(index, GOODBYE, &[CLOSED], now);
    }

    fn send_control(&mut self, index: SessionIndex, kind: u8, body: &[u8], _now: Now) {
        let Some(interface) = self.session_interface(index) else { return };
        let Some(session) = self.sessions.get_mut(index) else { return };
        let heading = session.ends().heading(interface, 0);
        let mut batch = SealedBatch::default();
        let run = batch.run_for(heading, SHIM_LEN + 1 + body.len() + TAG_LEN);
        run.bytes.extend_from_slice(&[0; SHIM_LEN]);
        run.bytes.push(kind);
        run.bytes.extend_from_slice(body);
        run.bytes.extend_from_slice(&[0; TAG_LEN]);
        if session.sealer.seal(Kind::Control, false, &mut run.bytes).is_ok() {
            self.emit_batch(&mut batch);
        }
    }

    /// An opened control message.
    pub(super) fn consume_control(&mut self, index: SessionIndex, body: &[u8], now: Now) {
        match body.split_first() {
            Some((&NEGOTIATION, message)) => {
                self.consume_message(message, Via::Session(index), None, now);
            }
            Some((&KEEPALIVE, _)) => {}
            // As long as the prompt, so that nobody gets more out of it than he puts in.
            Some((&PROMPT, [])) => self.send_keepalive(index, now),
            Some((&YIELD, body)) => self.consume_yield(index, !body.is_empty(), now),
            Some((&GOODBYE, mode)) => self.consume_goodbye(index, mode, now),
            Some(_) | None => self.dropped_in(DropReason::BadMessage),
        }
    }

    /// Another agent may take the flow over from the peer. Who asked first for the flow asks again.
    /// `news`: or this end, if the peer says that it knows more than when the session was made.
    fn consume_yield(&mut self, index: SessionIndex, news: bool, now: Now) {
        let Some(session) = self.sessions.get_mut(index) else { return };
        session.yielded = true;
        let (pair, age) = (session.pair, now.mono.since(session.created));
        let ours = self.pit.get(pair).and_then(Row::protected).is_some_and(|own| !own.theirs);
        if (ours || news) && self.is_current(index, pair) && age >= YIELD_HEEDED_AFTER {
            let via = self.clear_via(pair.remote.0, now);
            self.renegotiate(pair, via, now);
        }
    }

    /// The peer stops. If it goes on in clear and we may too, its address is no longer one that
    /// must be protected: it said so itself.
    fn consume_goodbye(&mut self, index: SessionIndex, mode: &[u8], _now: Now) {
        let Some(pair) = self.sessions.get(index).map(|session| session.pair) else { return };
        if !self.is_current(index, pair) {
            // Late, or from whoever had the address before: it ends what it came in, no more.
            return self.end_session(index, pair, "goodbye");
        }
        if mode == [OPEN] {
            self.sticky.forget(pair.remote.0);
        }
        self.forget_row(pair);
        self.event(Event::PeerGone { pair, reason: "goodbye" });
    }

    /// Tells every peer that this agent stops. Drain the outputs afterwards.
    pub fn stop(&mut self, now: Now) {
        let mode = match self.mode() {
            Mode::Open => OPEN,
            Mode::Closed => CLOSED,
        };
        // Whichever of the two the peer sends under by now, it hears it there.
        let sending: Vec<SessionIndex> = self
            .pit
            .iter()
            .filter_map(|(_, row)| row.protected())
            .flat_map(|protected| [Some(protected.current), protected.next])
            .flatten()
            .collect();
        for index in sending {
            for _ in 0..GOODBYES {
                self.send_control(index, GOODBYE, &[mode], now);
            }
        }
    }
}
