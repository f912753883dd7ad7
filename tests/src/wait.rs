//! Waiting for a condition instead of for a time.

use anyhow::{Result, bail};
use std::time::{Duration, Instant};

/// Pause between two looks. Short beside everything waited for, long beside one look.
const PAUSE: Duration = Duration::from_millis(10);

/// Looks until `check` gives a value, at most for `deadline`. `what` completes "waited for …".
///
/// # Errors
/// The first error of `check`, or one that names `what` when time is up.
pub fn wait_for<T>(
    what: &str,
    deadline: Duration,
    mut check: impl FnMut() -> Result<Option<T>>,
) -> Result<T> {
    let start = Instant::now();
    loop {
        if let Some(value) = check()? {
            return Ok(value);
        }
        if start.elapsed() >= deadline {
            bail!("waited {:.1} s for {what}", deadline.as_secs_f64());
        }
        std::thread::sleep(PAUSE);
    }
}

/// [`wait_for`] with a condition.
///
/// # Errors
/// As [`wait_for`].
pub fn wait_until(
    what: &str,
    deadline: Duration,
    mut check: impl FnMut() -> Result<bool>,
) -> Result<()> {
    wait_for(what, deadline, || Ok(check()?.then_some(())))
}
