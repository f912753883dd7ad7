//! Address ranges that all members go by.

use super::domain::bump_all;
use super::{Act, App, Error};
use crate::store::PolicyList;
use mgmt_api::{Prefix, limits};

impl App {
    /// The ranges of a list.
    ///
    /// # Errors
    /// The store cannot be read.
    pub fn policy(&self, list: PolicyList) -> Result<Vec<Prefix>, Error> {
        self.read(|tx| Ok(tx.policy(list)?))
    }

    /// Adds a range to a list, or takes it out, and pushes that to everybody.
    ///
    /// # Errors
    /// It is in already, or is not; or the list is full.
    pub fn change_policy(
        &self,
        act: Act<'_>,
        list: PolicyList,
        prefix: Prefix,
        present: bool,
    ) -> Result<(), Error> {
        self.write(|tx| {
            let mut ranges = tx.policy(list)?;
            let before = text(&ranges);
            match (ranges.iter().position(|known| *known == prefix), present) {
                (None, true) if ranges.len() >= limits::POLICY_PREFIXES => {
                    return Err(Error::unfit(format!(
                        "{} has {} ranges already; join some into larger ones first",
                        title(list),
                        limits::POLICY_PREFIXES
                    )));
                }
                (None, true) => ranges.push(prefix),
                (Some(place), false) => drop(ranges.remove(place)),
                (Some(_), true) => {
                    let what = title(list);
                    return Err(Error::unfit(format!("{prefix} is in {what} already")));
                }
                (None, false) => {
                    return Err(Error::unfit(format!(
                        "{prefix} is not in {}; `policy {} list` shows what is",
                        title(list),
                        list.as_str()
                    )));
                }
            }
            tx.put_policy(list, &ranges)?;
            bump_all(tx)?;
            let action = format!("policy.{}", list.as_str());
            act.note(tx, &action, &prefix.to_string(), before, text(&ranges))?;
            Ok(())
        })
    }
}

/// The list in a sentence.
#[must_use]
pub const fn title(list: PolicyList) -> &'static str {
    match list {
        PolicyList::SearchScope => "the search scope",
        PolicyList::MustProtect => "what must be protected",
    }
}

fn text(ranges: &[Prefix]) -> String {
    ranges.iter().map(ToString::to_string).collect::<Vec<_>>().join(" ")
}
