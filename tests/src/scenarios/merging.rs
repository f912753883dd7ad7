//! What comes packet by packet, each with a complete checksum, is written merged at the far end.
//!
//! ```text
//!   a ── left r1 right ════ left r2 right ── b
//!     │            └ ms                    │
//!     └─ no card here cuts, merges or sums ┘
//! ```

use super::router::{FILE, begin, exchange, router};
use crate::agent::Agent;
use crate::host::{DEV, Host};
use crate::row::address;
use crate::scenario::{Scenario, scenario};
use crate::stream::transfer;
use anyhow::{Context, Result, ensure};

pub(crate) const LIST: &[Scenario] = &[scenario(
    "merging_far_end",
    "packets that came one by one are written merged by the far router",
    &["ethtool"],
    far_end,
)];

/// Fewest packets in one write, over a whole transfer. Over twenty are usual; a packet that is not
/// merged is a write of its own.
const MERGED: u64 = 2;
/// Most data of one packet on a link of 1,500 bytes.
const PAYLOAD_MAX: u64 = 1460;

fn far_end() -> Result<()> {
    let (row, server) = begin(2)?;
    let (one, other) = (row.router(1)?, row.router(2)?);
    for (host, device) in
        [(&row.a, DEV), (&one.left, "left"), (&other.right, "right"), (&row.b, DEV)]
    {
        plain_card(host, device)?;
    }
    let (left, right) = (row.leftmost(), row.right_of(2)?);
    let r1 = Agent::enrol_router(&one.right, &server, router("open", "right", &left))?;
    let r2 = Agent::enrol_router(&other.left, &server, router("closed", "left", &right))?;
    exchange(&row.a, &row.b)?;
    for v6 in [false, true] {
        r1.wait_verdict(address(&row.b, v6), "protected")?;
        let to_b = || transfer(&row.a, address(&row.a, v6), &row.b, FILE).map(drop);
        merges((&r1, &r2), to_b).with_context(|| format!("a to b, IPv6 {v6}"))?;
        let to_a = || transfer(&row.b, address(&row.b, v6), &row.a, FILE).map(drop);
        merges((&r2, &r1), to_a).with_context(|| format!("b to a, IPv6 {v6}"))?;
    }
    Ok(())
}

/// A card that cuts nothing for its machine, merges nothing and knows nothing of checksums.
fn plain_card(host: &Host, device: &str) -> Result<()> {
    let off = ["tso", "gso", "gro", "tx", "rx"].map(|feature| [feature, "off"]).concat();
    host.run(&[&["ethtool", "-K", device], off.as_slice()].concat()).map(drop)
}

/// What an agent counted.
struct Counts {
    /// Packets read from its TUN, a super-packet once.
    read: u64,
    /// Datagrams opened.
    opened: u64,
    /// Packets written to its TUN, a merged one once.
    written: u64,
}

impl Counts {
    fn of(agent: &Agent) -> Result<Self> {
        let details = agent.details()?;
        let sum = |rows: &str, field: &str| -> Result<u64> {
            let list = details[rows].as_array().with_context(|| format!("no {rows}"))?;
            let values = list.iter().map(|row| row[field].as_u64());
            values.sum::<Option<u64>>().with_context(|| format!("no {field} in {rows}"))
        };
        Ok(Self {
            read: sum("tuns", "read")?,
            opened: sum("threads", "opened")?,
            written: sum("tuns", "written")?,
        })
    }
}

/// A file that `near` seals packet by packet is written by `far` with several of them at a time.
fn merges((near, far): (&Agent, &Agent), file: impl FnOnce() -> Result<()>) -> Result<()> {
    let before = (Counts::of(near)?, Counts::of(far)?);
    file()?;
    let after = (Counts::of(near)?, Counts::of(far)?);
    let read = after.0.read - before.0.read;
    ensure!(read >= FILE / PAYLOAD_MAX, "super-packets came: {read} reads of a whole file");
    let opened = after.1.opened - before.1.opened;
    let written = after.1.written - before.1.written;
    ensure!(opened >= FILE / PAYLOAD_MAX, "{opened} datagrams carried a whole file");
    ensure!(opened >= MERGED * written, "{opened} datagrams took {written} writes");
    Ok(())
}
