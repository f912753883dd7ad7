//! What a message may cost before its sender is known to receive what is sent to it.
//!
//! | step | at an end | at a router between |
//! |---|---|---|
//! | form | nothing is kept | nothing is kept |
//! | `mac1` | one HMAC per domain key in force | the same |
//! | share of the source | without proof: more are asked for it; with proof: more are dropped | more pass untouched (open) or are dropped (closed) |
//! | proof (`mac2`) | asked for under load | never asked for: requests pass untouched or are dropped |
//!
//! A message that fails the first two steps changes a counter and gets no answer. A request without
//! proof that is asked for it gets a COOKIE, which is smaller than the request. A spoofed flood in
//! an honest source's name empties its bucket for requests without proof, and so brings it one more
//! round trip, not silence: requests with proof have buckets of their own.
//! Source: PROTOCOL.md 2.3, 2.5; THREATS.md rows 19 and 57 to 61.

use super::Engine;
use super::carrier::{Carrier, Numbers};
use super::incoming::Arrival;
use super::outgoing::is_many;
use super::passing::Passage;
use super::row::Via;
use crate::bucket::{Buckets, Meter};
use crate::crypto::Rng;
use crate::dprp::{self, Cookie, CookieSecret, Questioned, create_cookie};
use crate::flow::HostPair;
use crate::id::NegotiationId;
use crate::limits::{
    COOKIE_LIFETIME, COOKIES_KEPT, LOAD_ANSWERS, LOAD_PASSING, LOAD_REQUESTS, LOAD_STICKY,
    NOMATCH_PER_SOURCE, PASSING, PASSING_PER_SOURCE, REQUESTS_PROVEN, REQUESTS_UNPROVEN,
    TENTATIVE_LIFETIME,
};
use crate::now::Instant;
use crate::origin::{Number, Origin, Source};
use crate::recent::Recent;
use crate::wire::dprp::dde::DdeParts;
use crate::wire::dprp::{Header, Kind, MAC_LEN};
use crate::{DropReason, Mode, Now};
use rand_core::Rng as _;

/// Who has had how much, and whether it is too much at this moment.
pub(super) struct Load {
    secret: CookieSecret,
    unproven: Buckets,
    proven: Buckets,
    passing: Buckets,
    nomatch: Buckets,
    requests: Meter,
    passed: Meter,
    busy: Busy,
    /// Requests that passed a closed router, which lets a COOKIE pass only as the answer to one of
    /// them.
    questions: Recent<NegotiationId, Questioned>,
    /// Cookies this agent was given, each for one pair of hosts. One forgotten costs a round trip.
    jar: Recent<HostPair, Known>,
}

impl Load {
    pub(super) fn new(rng: &mut Rng) -> Self {
        let mut buckets =
            |rate| Buckets::new(rate, std::array::from_fn::<u64, 4, _>(|_| rng.next_u64()));
        Self {
            unproven: buckets(REQUESTS_UNPROVEN),
            proven: buckets(REQUESTS_PROVEN),
            passing: buckets(PASSING_PER_SOURCE),
            nomatch: buckets(NOMATCH_PER_SOURCE),
            secret: CookieSecret::new(rng, Instant::default()),
            requests: Meter::new(LOAD_REQUESTS),
            passed: Meter::new(LOAD_PASSING),
            busy: Busy::default(),
            questions: Recent::new(PASSING, TENTATIVE_LIFETIME),
            jar: Recent::new(COOKIES_KEPT, COOKIE_LIFETIME),
        }
    }

    /// True while requests must prove where they come from.
    pub(super) fn is_under_load(&self, now: Instant) -> bool {
        self.busy.is(now)
    }

    /// The larger of its two tables.
    pub(super) fn len(&self) -> usize {
        self.jar.len().max(self.questions.len())
    }

    /// The cookie that this agent was given for a pair, if it counts in this carrier, and the echo
    /// identifier it counts for.
    pub(super) fn known_cookie(
        &self,
        pair: HostPair,
        carrier: Option<Carrier>,
        now: Instant,
    ) -> Option<(&Cookie, u16)> {
        let known = self.jar.get(&pair, now)?;
        (Some(known.carrier) == carrier).then_some((&known.cookie, known.echo_id))
    }

    pub(super) fn keep_cookie(
        &mut self,
        pair: HostPair,
        cookie: Cookie,
        (carrier, echo_id): (Carrier, u16),
        now: Instant,
    ) {
        self.jar.put(pair, Known { cookie, carrier, echo_id }, now);
    }
}

/// Sticky: once too much, too much for a while.
#[derive(Default)]
struct Busy {
    until: Instant,
}

impl Busy {
    fn note(&mut self, now: Instant) {
        self.until = now + LOAD_STICKY;
    }

    fn is(&self, now: Instant) -> bool {
        now < self.until
    }
}

/// A cookie, and the numbers it counts for.
struct Known {
    cookie: Cookie,
    carrier: Carrier,
    echo_id: u16,
}

impl Arrival {
    /// Who asks, as seen here: of a reflected request, the one who asked first.
    fn origin(&self) -> Origin {
        let number = match self.numbers {
            Numbers::Echo { id, .. } => Number::Echo(id),
            Numbers::Udp { local, remote } => {
                let ours = self.flow() == self.pair;
                Number::Udp(if ours { local } else { remote })
            }
        };
        Origin { address: self.flow().local.0, number }
    }
}

impl Engine {
    /// Looks at a request at this end until it is worth reading: form, `mac1`, share of its source
    /// and, where that is needed, proof that its sender receives what is sent to it. Says whether
    /// there was proof.
    pub(super) fn admit_question(
        &mut self,
        message: &[u8],
        via: Via,
        arrival: Option<Arrival>,
        now: Now,
    ) -> Result<bool, DropReason> {
        let arrival = match (via, arrival) {
            (Via::Session(index), _) => {
                // Sealed by the peer: proof enough of where it is.
                let session = self.sessions.get(index).ok_or(DropReason::NoSession)?;
                return self.take_proven(Source::of(session.pair.remote.0), now);
            }
            (Via::Echo | Via::Udp, arrival) => arrival.ok_or(DropReason::NoSession)?,
        };
        let (own, asker) = (arrival.pair.local.0, arrival.pair.remote.0);
        if !self.stands_for(own) || is_many(asker) {
            return Err(DropReason::BadMessage);
        }
        let keyring = self.keyring.as_ref().ok_or(DropReason::BadMac)?;
        dprp::authenticate(keyring, message, now.unix).map_err(|reject| reject.drop_reason())?;
        self.admit_authentic(message, arrival, now)
    }

    fn admit_authentic(
        &mut self,
        message: &[u8],
        arrival: Arrival,
        now: Now,
    ) -> Result<bool, DropReason> {
        let busy = self.count_question(now.mono);
        let (origin, mono) = (arrival.origin(), now.mono);
        let claims = DdeParts::parse(message).is_ok_and(|parts| *parts.mac2 != [0; MAC_LEN]);
        let Self { load, rng, .. } = self;
        if claims && load.secret.proves(message, &origin, rng, mono) {
            return self.take_proven(origin.source(), now);
        }
        if self.answers.is_proven(message, arrival.pair) {
            return Ok(true);
        }
        if !busy && self.load.unproven.take(origin.source(), mono) {
            return Ok(false);
        }
        self.send_cookie(message, arrival, now);
        Err(if claims { DropReason::BadCookie } else { DropReason::UnderLoad })
    }

    fn take_proven(&mut self, source: Source, now: Now) -> Result<bool, DropReason> {
        if self.load.proven.take(source, now.mono) { Ok(true) } else { Err(DropReason::TooMany) }
    }

    /// Counts a request with right `mac1` and says whether this agent is under load.
    fn count_question(&mut self, now: Instant) -> bool {
        let over = !self.load.requests.count(now);
        if over || self.answers.early.waiting() >= LOAD_ANSWERS {
            self.load.busy.note(now);
        }
        self.load.is_under_load(now)
    }

    /// Whether a router keeps a request that it may have to answer itself. Under load only one that
    /// comes with proof; who has none is asked for it at once, and the request goes on untouched.
    pub(super) fn may_keep(&mut self, dde: &[u8], arrival: Arrival, now: Now) -> bool {
        if self.passing.waiting() >= LOAD_ANSWERS {
            self.load.busy.note(now.mono);
        }
        let Self { load, rng, .. } = self;
        if !load.is_under_load(now.mono)
            || load.secret.proves(dde, &arrival.origin(), rng, now.mono)
        {
            return true;
        }
        self.send_cookie(dde, arrival, now);
        false
    }

    fn send_cookie(&mut self, dde: &[u8], arrival: Arrival, now: Now) {
        let Self { keyring, load, rng, .. } = self;
        let Some(keyring) = keyring else { return };
        let cookie = load.secret.cookie(&arrival.origin(), rng, now.mono);
        if let Ok(reply) = create_cookie(keyring, dde, &cookie, rng, now.unix) {
            self.send_reply(reply, arrival.via(), arrival.interface, Some(arrival));
        }
    }

    /// Takes one of the signed refusals of whoever asks: of a source so many a second, and none
    /// under load without proof, since a NOMATCH is longer than the request.
    pub(super) fn may_refuse(&mut self, asker: Source, now: Now) -> Result<(), DropReason> {
        if self.load.nomatch.take(asker, now.mono) { Ok(()) } else { Err(DropReason::TooMany) }
    }

    /// The same at an agent between, which asks nobody for proof.
    pub(super) fn may_refuse_passing(
        &mut self,
        arrival: Arrival,
        now: Now,
    ) -> Result<(), DropReason> {
        if self.count_question(now.mono) {
            return Err(DropReason::UnderLoad);
        }
        self.may_refuse(arrival.origin().source(), now)
    }

    /// Looks at a message of others until it is worth more than an HMAC.
    pub(super) fn admit_passing(
        &mut self,
        message: &[u8],
        header: &Header,
        arrival: Arrival,
        now: Now,
    ) -> Result<(), DropReason> {
        let closed = self.mode() == Mode::Closed;
        let Self { keyring, load, .. } = self;
        let keyring = keyring.as_ref().ok_or(DropReason::BadMac)?;
        if header.kind == Kind::Dde && arrival.request && closed {
            let question = Questioned::read(keyring, message, now.unix)
                .map_err(|reject| reject.drop_reason())?;
            load.questions.put(header.sid_i, question, now.mono);
        } else {
            dprp::authenticate(keyring, message, now.unix)
                .map_err(|reject| reject.drop_reason())?;
        }
        if header.kind == Kind::Dde && !load.passed.count(now.mono) {
            load.busy.note(now.mono);
            return Err(DropReason::UnderLoad);
        }
        let (source, _) = arrival.ends();
        if load.passing.take(Source::of(source), now.mono) {
            Ok(())
        } else {
            Err(DropReason::TooMany)
        }
    }

    /// A COOKIE passes an open router, and a closed one as the answer to a request that passed.
    pub(super) fn cookie_passes(
        &self,
        message: &[u8],
        header: &Header,
        now: Now,
    ) -> Result<Passage, DropReason> {
        let answers = |keyring| {
            let question = self.load.questions.get(&header.sid_i, now.mono);
            question.is_some_and(|question| question.is_answered(keyring, message, now.unix))
        };
        if self.mode() == Mode::Open || self.keyring.as_ref().is_some_and(answers) {
            return Ok(Passage::On);
        }
        Err(DropReason::BadCookie)
    }
}

#[cfg(test)]
mod tests;
