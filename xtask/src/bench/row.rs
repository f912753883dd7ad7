//! One line of the table, and how it compares with a stored one.

use super::spread::Spread;
use serde::{Deserialize, Serialize};

/// Medians closer than this are the same, whatever their ranges say.
const NOTICED: f64 = 0.05;

/// What was measured, with the agents and, where that means something, without.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub(super) struct Row {
    /// Part of the table.
    pub(super) part: String,
    /// What, unique within the part.
    pub(super) what: String,
    pub(super) unit: String,
    /// A larger value is a better one.
    pub(super) more_is_better: bool,
    pub(super) ours: Spread,
    /// The same without agents, measured in between.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub(super) plain: Option<Spread>,
    /// Ours divided by plain, run by run.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub(super) ratio: Option<Spread>,
    /// What the runs suffered: ours, plain.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub(super) trouble: Option<[Trouble; 2]>,
}

/// Counts of the worst run.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize, Deserialize)]
pub(super) struct Trouble {
    /// TCP segments sent again, both ends.
    pub(super) retransmitted: u64,
    /// TCP segments that came out of order, both ends (`TCPOFOQueue`).
    pub(super) out_of_order: u64,
    /// Packets dropped by interfaces, the kernel's backlog and UDP sockets, on all machines.
    pub(super) dropped: u64,
    /// Percent of the time in which another machine had these CPUs.
    pub(super) stolen_percent: f64,
    /// Percent of the time, at the least, that programs had which have nothing to do with it.
    pub(super) others_percent: f64,
}

/// Percent of the CPUs' time away that make a figure doubtful.
const DISTURBING: [f64; 2] = [0.5, 5.0];

impl Trouble {
    /// Too much of the time went to other machines or programs.
    pub(super) fn is_disturbed(&self) -> bool {
        let [stolen, others] = DISTURBING;
        self.stolen_percent > stolen || self.others_percent > others
    }

    /// The worse of both in everything.
    pub(super) fn worst(self, other: Self) -> Self {
        Self {
            retransmitted: self.retransmitted.max(other.retransmitted),
            out_of_order: self.out_of_order.max(other.out_of_order),
            dropped: self.dropped.max(other.dropped),
            stolen_percent: self.stolen_percent.max(other.stolen_percent),
            others_percent: self.others_percent.max(other.others_percent),
        }
    }
}

/// Now beside then.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) struct Change {
    /// Our value now, divided by our value then.
    pub(super) value: f64,
    /// The ratio to plain now, divided by the one then.
    pub(super) ratio: Option<f64>,
    pub(super) verdict: Verdict,
}

/// Whether ranges are apart, and on which side.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Verdict {
    Better,
    Worse,
    Same,
}

impl Verdict {
    pub(super) const fn as_str(self) -> &'static str {
        match self {
            Self::Better => "better",
            Self::Worse => "WORSE",
            Self::Same => "",
        }
    }
}

impl Row {
    /// Of single values, without anything to hold them against.
    pub(super) fn alone(part: &str, what: &str, unit: &str, ours: Spread) -> Self {
        let (part, what, unit) = (part.to_owned(), what.to_owned(), unit.to_owned());
        let more_is_better = false;
        Self { part, what, unit, more_is_better, ours, plain: None, ratio: None, trouble: None }
    }

    /// A run of it was disturbed.
    pub(super) fn is_disturbed(&self) -> bool {
        self.trouble.iter().flatten().any(Trouble::is_disturbed)
    }

    /// Both rows measure the same thing.
    pub(super) fn is_same(&self, other: &Self) -> bool {
        self.part == other.part && self.what == other.what && self.unit == other.unit
    }

    /// What became of `then`. Ratios to plain are compared where both have one, since they hardly
    /// depend on the moment; values otherwise, if both are of one machine.
    pub(super) fn change(&self, then: &Self, one_machine: bool) -> Change {
        let ratio = self.ratio.zip(then.ratio);
        let (now, before) = ratio.unwrap_or((self.ours, then.ours));
        let by = divided(now.median, before.median);
        let noticed = (by - 1.0).abs() > NOTICED
            && (ratio.is_some() || one_machine)
            && !self.is_disturbed()
            && !then.is_disturbed();
        let (rose, fell) = (now.is_above(&before), before.is_above(&now));
        let verdict = match (noticed, rose, fell) {
            (true, true, _) if self.more_is_better => Verdict::Better,
            (true, true, _) => Verdict::Worse,
            (true, _, true) if self.more_is_better => Verdict::Worse,
            (true, _, true) => Verdict::Better,
            _ => Verdict::Same,
        };
        let ratio = ratio.map(|(now, then)| divided(now.median, then.median));
        Change { value: divided(self.ours.median, then.ours.median), ratio, verdict }
    }
}

/// Nothing beside nothing is the same.
fn divided(now: f64, then: f64) -> f64 {
    if now.total_cmp(&then).is_eq() { 1.0 } else { now / then }
}

#[cfg(test)]
mod tests {
    use super::{Row, Spread, Verdict};

    fn row(values: &[f64], more_is_better: bool) -> Row {
        let row = Row::alone("part", "what", "unit", Spread::of(values).unwrap());
        Row { more_is_better, ..row }
    }

    #[test]
    fn only_ranges_apart_are_a_change_and_the_side_depends_on_what_is_better() {
        let verdict =
            |now: &[f64], then: &[f64], more| row(now, more).change(&row(then, more), true).verdict;
        assert_eq!(verdict(&[8.0, 9.0], &[10.0, 11.0], true), Verdict::Worse);
        assert_eq!(verdict(&[8.0, 9.0], &[10.0, 11.0], false), Verdict::Better);
        assert_eq!(verdict(&[12.0], &[10.0], true), Verdict::Better);
        assert_eq!(verdict(&[12.0], &[10.0], false), Verdict::Worse);
        // They overlap; they are apart by less than anybody notices.
        assert_eq!(verdict(&[8.0, 10.5], &[10.0, 11.0], true), Verdict::Same);
        assert_eq!(verdict(&[9.9], &[10.0], true), Verdict::Same);
        let nothing = row(&[0.0], false);
        assert_eq!(nothing.change(&nothing, true).value, 1.0);
    }

    #[test]
    fn ratios_go_before_values_and_values_of_other_machines_are_not_judged() {
        let (mut now, mut then) = (row(&[5.0], true), row(&[10.0], true));
        assert_eq!(now.change(&then, false).verdict, Verdict::Same);
        now.ratio = Spread::of(&[0.5]);
        then.ratio = Spread::of(&[0.5]);
        let change = now.change(&then, true);
        assert_eq!((change.value, change.ratio), (0.5, Some(1.0)));
        assert_eq!(change.verdict, Verdict::Same);
        then.ratio = Spread::of(&[0.7]);
        assert_eq!(now.change(&then, false).verdict, Verdict::Worse);
    }
}
