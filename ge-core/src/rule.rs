//! The decision rule over a whole path, for who knows everybody on it: the management server.
//!
//! Agents come to the same by their messages: who answers decides the segment (`engine/passing.rs`),
//! and [`is_content`] is asked of every record of an RGI. Source: DESIGN.md section 5.

use crate::GroupId;
use crate::mode::{Mode, Transit};
use crate::wire::dprp::{Consent, Place};

/// An agent on a path, as far as the rule asks.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Party {
    /// Whose side of the flow it is on.
    pub place: Place,
    /// Its mode, and what it asks of sessions that pass.
    pub consent: Consent,
    /// Its groups.
    pub groups: Vec<GroupId>,
}

/// What becomes of a flow.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Judgement {
    /// These two, by their places in the path, protect it; all others let it pass.
    Protect {
        /// On the source's side.
        first: usize,
        /// On the destination's side.
        last: usize,
    },
    /// It goes in clear.
    Bypass,
    /// It is dropped, because this one is not content.
    Discard {
        /// The first of them in the direction of the flow.
        by: usize,
    },
}

/// What becomes of a flow on a path, given in the direction of the flow's first packet.
#[must_use]
pub fn judge(path: &[Party]) -> Judgement {
    let segment = segment(path);
    let content = |at: usize, party: &Party| match segment {
        Some((first, last)) if at == first || at == last => true,
        Some((first, last)) if first < at && at < last => {
            let vouched = [first, last].iter().any(|end| shares(party, &path[*end]));
            is_content(party.consent, vouched)
        }
        _ => party.consent.mode() == Mode::Open,
    };
    match (path.iter().enumerate().find(|(at, party)| !content(*at, party)), segment) {
        (Some((by, _)), _) => Judgement::Discard { by },
        (None, Some((first, last))) => Judgement::Protect { first, last },
        (None, None) => Judgement::Bypass,
    }
}

/// Whether an agent lets a session of two others pass; `vouched`: one of the two is a member of one
/// of its groups.
#[must_use]
pub const fn is_content(consent: Consent, vouched: bool) -> bool {
    match consent {
        Consent::Open | Consent::Closed(Transit::Any) => true,
        Consent::Closed(Transit::Strict) => false,
        Consent::Closed(Transit::Vouched) => vouched,
    }
}

/// The first agent of the source's side that shares a group with one of the destination's side
/// further on, and the farthest of those.
fn segment(path: &[Party]) -> Option<(usize, usize)> {
    let on_side = |place| path.iter().enumerate().filter(move |(_, party)| party.place == place);
    on_side(Place::Source).find_map(|(first, source)| {
        let mut shared = on_side(Place::Destination)
            .filter(|(last, other)| *last > first && shares(source, other));
        shared.next_back().map(|(last, _)| (first, last))
    })
}

fn shares(one: &Party, other: &Party) -> bool {
    one.groups.iter().any(|group| other.groups.contains(group))
}
