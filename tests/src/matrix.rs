//! The mode matrix on the real kernel: cases of the simulator's matrix with the real programs, judged
//! by the same rule. THREATS.md T-4.
//!
//! | file | |
//! |---|---|
//! | `case.rs` | the cases and which are chosen |
//! | `stage.rs` | the path, its agents, its taps |
//! | `play.rs` | one case |

pub mod case;
pub mod play;
pub mod stage;

use anyhow::Result;
use case::Case;
use play::{Found, leaks, play};
use stage::Stage;

/// Plays `cases` one after the other on one stage and tells each to `each` when it is done.
///
/// # Errors
/// If the stage fails.
pub fn run(cases: &[Case], mut each: impl FnMut(&Found)) -> Result<Vec<Found>> {
    let mut stage = Stage::new(u16::try_from(cases.len())?)?;
    let mut all = Vec::new();
    for (n, case) in (1..).zip(cases) {
        let found = play(&mut stage, case, n)?;
        each(&found);
        all.push(found);
    }
    let seen = stage.seen()?;
    for (n, found) in (1..).zip(&mut all) {
        let leaks = leaks(&found.case, n, &seen);
        if !leaks.is_empty() {
            found.odd.extend(leaks);
            each(found);
        }
    }
    Ok(all)
}
