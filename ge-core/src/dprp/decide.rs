//! The decision of a negotiation: what every agent on the path does, from the records alone, so
//! that every agent computes the same and none has to believe another's conclusion.
//!
//! The two ends protect. An agent between them bypasses what they seal, if it is content: open, or
//! closed and satisfied with who the ends are. One that is not content refuses for all. Source:
//! DESIGN.md section 5, rules 3 and 4; rules 1 and 2 are in who answers (`engine/passing.rs`).

use crate::action::Action;
use crate::mode::Transit;
use crate::wire::dprp::rgi::Record;
use crate::wire::dprp::{Consent, TableRow};

/// The rows of everybody on the path, in the direction of the flow's first packet.
///
/// # Errors
/// The reference of the first certificate, as the records come, whose agent is not content.
pub(super) fn decide(records: &[Record]) -> Result<Vec<TableRow>, [u8; 8]> {
    if let Some(refuses) = records.iter().find(|record| !is_content(record)) {
        return Err(refuses.certificate_ref);
    }
    let mut table = vec![TableRow(Action::Bypass); records.len() + 2];
    for end in [0, records.len() + 1] {
        table[end] = TableRow(Action::Protect);
    }
    Ok(table)
}

/// Whether the agent lets a session of the two ends pass.
pub(super) fn is_content(record: &Record) -> bool {
    match record.consent {
        Consent::Open | Consent::Closed(Transit::Any) => true,
        Consent::Closed(Transit::Strict) => false,
        Consent::Closed(Transit::Vouched) => record.matches != [0, 0],
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::wire::dprp::Place;

    fn record(consent: Consent, matches: [u8; 2]) -> Record {
        let place = Place::Between;
        Record { certificate_ref: [7; 8], consent, place, matches, time: 0, lmac: [0; 16] }
    }

    #[test]
    fn who_is_content() {
        use Consent::{Closed, Open};
        let cases = [
            (Open, [0, 0], true),
            (Closed(Transit::Any), [0, 0], true),
            (Closed(Transit::Vouched), [0, 0], false),
            (Closed(Transit::Vouched), [1, 0], true),
            (Closed(Transit::Vouched), [0, 8], true),
            (Closed(Transit::Strict), [1, 1], false),
        ];
        for (consent, matches, content) in cases {
            let between = record(consent, matches);
            assert_eq!(decide(&[record(Open, [0, 0]), between]).is_ok(), content, "{between:?}");
        }
    }

    #[test]
    fn the_ends_protect_and_all_others_bypass() {
        for between in 0..=7 {
            let table = decide(&vec![record(Consent::Open, [0, 0]); between]).unwrap();
            let actions: Vec<Action> = table.iter().map(|row| row.0).collect();
            let mut expected = vec![Action::Bypass; between + 2];
            expected[0] = Action::Protect;
            expected[between + 1] = Action::Protect;
            assert_eq!(actions, expected);
        }
    }
}
