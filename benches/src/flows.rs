//! Many TCP connections at once: one process at each end, non-blocking sockets, one `epoll`.
//!
//! ```text
//!   benches flows receive FLOWS PORT SECONDS       prints "ready"; a line of JSON in the end
//!   benches flows send FLOWS PORT SECONDS FIRST COUNT
//!                                                  prints "connected" when all are, "sent" at the end
//! ```
//! `send` spreads its connections over COUNT addresses from FIRST on, and writes to whichever takes
//! something. `receive` counts, after a moment in which windows open, for SECONDS.

mod poll;
mod receive;
mod send;

use anyhow::{Context, Result, bail, ensure};
use nix::sys::resource::{Resource, getrlimit, setrlimit};
use std::time::Duration;

/// Not counted at the beginning: windows open. Plain, ten thousand carry 0.66 of what one does when half a
/// second is left out, and 0.90 when two are.
const OMIT: Duration = Duration::from_secs(2);
/// Sent on beyond the counted time, so that the receiver, who starts later, is not cut short.
const OVERRUN: Duration = Duration::from_millis(200);
/// Bytes of one write.
const WRITE: usize = 64 * 1024;
/// Descriptors besides the connections.
const OTHERS: u64 = 32;

pub(crate) fn run(args: &[&str]) -> Result<()> {
    match args {
        ["receive", flows, port, seconds] => {
            receive::run(flows.parse()?, port.parse()?, time(seconds)?)
        }
        ["send", flows, port, seconds, first, count] => send::run(&send::Order {
            flows: flows.parse()?,
            port: port.parse()?,
            time: time(seconds)?,
            first: first.parse()?,
            addresses: count.parse()?,
        }),
        _ => {
            bail!(
                "usage: benches flows receive FLOWS PORT SECONDS | send FLOWS PORT SECONDS FIRST COUNT"
            )
        }
    }
}

fn time(seconds: &str) -> Result<Duration> {
    Ok(Duration::from_secs(seconds.parse()?))
}

/// As many descriptors as this user may have.
fn raise_descriptors(wanted: usize) -> Result<()> {
    let (_, most) = getrlimit(Resource::RLIMIT_NOFILE)?;
    setrlimit(Resource::RLIMIT_NOFILE, most, most).context("raising the limit of descriptors")?;
    let needed = wanted as u64 + OTHERS;
    ensure!(
        most >= needed,
        "{wanted} connections need {needed} descriptors and this user may have {most}; raise it \
         with `ulimit -Hn {needed}`"
    );
    Ok(())
}
