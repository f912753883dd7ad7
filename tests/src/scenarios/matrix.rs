//! The mode matrix on the real kernel; the path is drawn in `matrix/stage.rs`.

use crate::matrix::{case::Case, run};
use crate::scenario::{Scenario, scenario};
use anyhow::{Result, ensure};

pub(crate) const LIST: &[Scenario] = &[
    scenario("matrix_kernel_none", "chosen paths from an ordinary machine", &[], || chosen("none")),
    scenario("matrix_kernel_host", "chosen paths from a host with an agent", &[], || {
        chosen("host")
    }),
    scenario("matrix_kernel_router", "chosen paths from behind a router", &[], || chosen("router")),
];

/// The chosen cases with this kind of source, against the rule.
fn chosen(source: &str) -> Result<()> {
    let mut cases = Case::chosen()?;
    cases.retain(|case| case.source.starts_with(source));
    ensure!(cases.len() > 10, "only {} cases", cases.len());
    let found = run(&cases, |found| println!("{found}"))?;
    let wrong: Vec<String> =
        found.iter().filter(|found| !found.agrees()).map(ToString::to_string).collect();
    ensure!(wrong.is_empty(), "{} of {} differ:\n{}", wrong.len(), found.len(), wrong.join("\n"));
    Ok(())
}
