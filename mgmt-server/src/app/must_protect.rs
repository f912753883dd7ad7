//! Names of hosts that nobody may be talked to in clear, beside the ranges of `policy.rs`. Agents
//! find their addresses themselves: only their own resolver says what their programs will be told.

use super::domain::bump_all;
use super::{Act, App, Error};
use mgmt_api::{DnsName, limits};

impl App {
    /// The names.
    ///
    /// # Errors
    /// The store cannot be read.
    pub fn must_protect_names(&self) -> Result<Vec<DnsName>, Error> {
        self.read(|tx| Ok(tx.must_protect_names()?))
    }

    /// Adds a name, or takes it out, and pushes that to everybody.
    ///
    /// # Errors
    /// It is in already, or is not; or there are too many.
    pub fn change_must_protect_name(
        &self,
        act: Act<'_>,
        name: &DnsName,
        present: bool,
    ) -> Result<(), Error> {
        self.write(|tx| {
            let mut names = tx.must_protect_names()?;
            let before = text(&names);
            match (names.iter().position(|known| known == name), present) {
                (None, true) if names.len() >= limits::POLICY_NAMES => {
                    return Err(Error::unfit(format!(
                        "what must be protected has {} names already; use address ranges instead",
                        limits::POLICY_NAMES
                    )));
                }
                (None, true) => names.push(name.clone()),
                (Some(place), false) => drop(names.remove(place)),
                (Some(_), true) => {
                    return Err(Error::unfit(format!(
                        "{name} is in what must be protected already"
                    )));
                }
                (None, false) => {
                    return Err(Error::unfit(format!(
                        "{name} is not in what must be protected; `policy must-protect list` \
                         shows what is"
                    )));
                }
            }
            tx.put_must_protect_names(&names)?;
            bump_all(tx)?;
            act.note(tx, "policy.must-protect", name.as_str(), before, text(&names))?;
            Ok(())
        })
    }
}

fn text(names: &[DnsName]) -> String {
    names.iter().map(DnsName::as_str).collect::<Vec<_>>().join(" ")
}
