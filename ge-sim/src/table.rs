//! The mode matrix for people.

use ge_sim::matrix::Found;
use ge_sim::matrix::case::{Case, Relation};
use ge_sim::matrix::oracle::Verdict;
use std::fmt::Write as _;

/// A line for each path, a column for each way groups are shared. Agents in path order:
/// `p`rotect, `b`ypass, `d`iscard; a `!` where that is not what the rule says.
pub(crate) fn table(found: &[Found]) -> String {
    let mut text = format!("{:<14}{:<5}{:<14}", "source", "via", "destination");
    for relation in Relation::ALL {
        let _infallible = write!(text, "{:<7}", relation.as_str());
    }
    for path in found.chunk_by(|one, other| same_path(one.case, other.case)) {
        let Some(Found { case, .. }) = path.first() else { continue };
        let between = case.between.as_str();
        let (source, destination) = (case.source.as_str(), case.destination.as_str());
        let _infallible = write!(text, "\n{source:<14}{between:<5}{destination:<14}");
        for relation in Relation::ALL {
            let cell = path.iter().find(|found| found.case.relation == relation).map(cell);
            let _infallible = write!(text, "{:<7}", cell.unwrap_or_default());
        }
    }
    text.lines().map(str::trim_end).collect::<Vec<_>>().join("\n")
}

fn same_path(one: Case, other: Case) -> bool {
    (one.source, one.between, one.destination) == (other.source, other.between, other.destination)
}

fn cell(found: &Found) -> String {
    let letter = |verdict: &Verdict| match verdict {
        Verdict::Protect => 'p',
        Verdict::Bypass => 'b',
        Verdict::Discard => 'd',
    };
    let mut cell: String = found.verdicts.iter().map(letter).collect();
    if found.expected.is_empty() {
        cell.push('-');
    }
    if !found.agrees() {
        cell.push('!');
    }
    cell
}
