//! Passed and failed: what every check adds up to.

use std::fmt;
use std::ops::AddAssign;
use std::process::ExitCode;

/// How many checks held and how many did not.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Counts {
    pub(crate) passed: u64,
    pub(crate) failed: u64,
}

impl Counts {
    /// One check.
    pub(crate) fn one(held: bool) -> Self {
        Self { passed: u64::from(held), failed: u64::from(!held) }
    }

    /// Success only if something held and nothing failed: a check that checks nothing is broken.
    pub(crate) fn is_good(self) -> bool {
        self.failed == 0 && self.passed > 0
    }

    pub(crate) fn exit(self) -> ExitCode {
        if self.is_good() { ExitCode::SUCCESS } else { ExitCode::FAILURE }
    }

    /// Reads `… N passed; M failed …` or `N passed, M failed` from a line of a test program.
    pub(crate) fn parse(line: &str) -> Option<Self> {
        let words: Vec<&str> = line.split(|c: char| !c.is_alphanumeric()).collect();
        let before = |word: &str| {
            let at = words.iter().position(|found| *found == word)?;
            let numbers = words[..at].iter().rev().find(|found| !found.is_empty())?;
            numbers.parse().ok()
        };
        Some(Self { passed: before("passed")?, failed: before("failed")? })
    }
}

impl AddAssign for Counts {
    fn add_assign(&mut self, other: Self) {
        self.passed += other.passed;
        self.failed += other.failed;
    }
}

impl fmt::Display for Counts {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} passed, {} failed", self.passed, self.failed)
    }
}

#[cfg(test)]
mod tests {
    use super::Counts;

    #[test]
    fn reads_both_spellings() {
        let cases = [
            ("test result: ok. 12 passed; 0 failed; 3 ignored", Some((12, 0))),
            ("test result: FAILED. 1 passed; 2 failed; 0 ignored", Some((1, 2))),
            ("500 passed, 1 failed", Some((500, 1))),
            ("nothing passed here", None),
            ("", None),
        ];
        for (line, expected) in cases {
            let expected = expected.map(|(passed, failed)| Counts { passed, failed });
            assert_eq!(Counts::parse(line), expected, "{line}");
        }
    }
}
