//! One figure of several runs.

use serde::{Deserialize, Serialize};
use std::fmt;

/// Median, least and most of some values.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub(super) struct Spread {
    pub(super) median: f64,
    pub(super) least: f64,
    pub(super) most: f64,
}

impl Spread {
    /// Of at least one value; `None` of none. Of an even number, the median lies between the two in
    /// the middle.
    pub(super) fn of(values: &[f64]) -> Option<Self> {
        let mut sorted = values.to_vec();
        sorted.sort_by(f64::total_cmp);
        let (least, most) = (*sorted.first()?, *sorted.last()?);
        let upper = sorted.get(sorted.len() / 2)?;
        let lower = sorted.get((sorted.len() - 1) / 2)?;
        Some(Self { median: f64::midpoint(*lower, *upper), least, most })
    }

    /// True if every value is above every value of the other.
    pub(super) fn is_above(&self, other: &Self) -> bool {
        self.least > other.most
    }
}

/// `6.93 (6.80–7.01)`; a single value without the rest.
impl fmt::Display for Spread {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { median, least, most } = self;
        let text = if least == most {
            number(*median)
        } else {
            format!("{} ({}–{})", number(*median), number(*least), number(*most))
        };
        f.pad(&text)
    }
}

/// Three digits that say something, or all before the point.
pub(super) fn number(value: f64) -> String {
    let digits = match value.abs() {
        100.0.. => 0,
        10.0.. => 1,
        1.0.. => 2,
        _ => 3,
    };
    format!("{value:.digits$}")
}

#[cfg(test)]
mod tests {
    use super::Spread;

    #[test]
    fn the_median_is_in_the_middle_and_the_rest_is_shown() {
        assert_eq!(Spread::of(&[]), None);
        let odd = Spread::of(&[3.0, 1.0, 2.0]).unwrap();
        assert_eq!((odd.median, odd.least, odd.most), (2.0, 1.0, 3.0));
        assert_eq!(Spread::of(&[4.0, 1.0, 2.0, 3.0]).unwrap().median, 2.5);
        assert_eq!(odd.to_string(), "2.00 (1.00–3.00)");
        assert_eq!(Spread::of(&[0.5]).unwrap().to_string(), "0.500");
        assert_eq!(Spread::of(&[1234.5]).unwrap().to_string(), "1234");
    }
}
