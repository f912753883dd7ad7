//! What a scenario is, and the list of all of them.

use crate::programs::{installed, no_tun};
use crate::scenarios;
use anyhow::Result;

/// One thing to be shown on the real kernel. Runs as first process of a nest of its own and makes
/// its own lab; succeeds or says what is wrong.
#[derive(Clone, Copy)]
pub struct Scenario {
    /// Name on the command line.
    pub name: &'static str,
    /// What it shows, in a few words.
    pub shows: &'static str,
    /// Programs of the system it needs beside `ip`; `root` stands for the administrator.
    pub needs: &'static [&'static str],
    /// The work.
    pub run: fn() -> Result<()>,
}

impl Scenario {
    /// The first thing it needs and the machine has not. To be asked outside of a nest.
    #[must_use]
    pub fn missing(&self) -> Option<&'static str> {
        let lacks = |name: &str| match name {
            "root" => !nix::unistd::geteuid().is_root(),
            program => installed(program).is_none(),
        };
        let missing = self.needs.iter().copied().find(|name| lacks(name));
        missing.or_else(|| if self.has_agents() { no_tun() } else { None })
    }

    /// The lab's own scenarios run without agents.
    fn has_agents(&self) -> bool {
        !self.name.starts_with("lab_")
    }
}

/// Shorthand of the scenario files.
pub(crate) const fn scenario(
    name: &'static str,
    shows: &'static str,
    needs: &'static [&'static str],
    run: fn() -> Result<()>,
) -> Scenario {
    Scenario { name, shows, needs, run }
}

/// All scenarios in the order they are listed.
#[must_use]
pub fn all() -> Vec<Scenario> {
    [
        scenarios::lab::LIST,
        scenarios::traffic::LIST,
        scenarios::offloads::LIST,
        scenarios::merging::LIST,
        scenarios::programs::LIST,
        scenarios::mtu::LIST,
        scenarios::outsider::LIST,
        scenarios::kill::LIST,
        scenarios::lifecycle::LIST,
        scenarios::server::LIST,
        scenarios::refusal::LIST,
        scenarios::keys::LIST,
        scenarios::interface::LIST,
        scenarios::report::LIST,
        scenarios::router::LIST,
        scenarios::explain::LIST,
        scenarios::paths::LIST,
        scenarios::groups::LIST,
        scenarios::moving::LIST,
        scenarios::path_change::LIST,
        scenarios::policy::LIST,
        scenarios::carrier::LIST,
        scenarios::matrix::LIST,
    ]
    .concat()
}

/// The scenario called `name`.
#[must_use]
pub fn find(name: &str) -> Option<Scenario> {
    all().into_iter().find(|scenario| scenario.name == name)
}

#[cfg(test)]
mod tests {
    use super::all;
    use std::collections::BTreeSet;

    #[test]
    fn names_are_unique_and_fit_a_command_line() {
        let names: Vec<_> = all().iter().map(|scenario| scenario.name).collect();
        let distinct: BTreeSet<_> = names.iter().collect();
        assert_eq!(distinct.len(), names.len());
        assert!(names.len() >= 30, "{} scenarios", names.len());
        for name in names {
            assert!(name.chars().all(|c| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '_'));
        }
    }
}
