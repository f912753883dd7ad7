//! Sizes: downloads must complete whatever the links carry.
//!
//! ```text
//!   large   a ── switch, all links 9000 ── b
//!   tiny    ms, a ── r1 ══ 1280 or 576 ══ r2 ── b        (all other links 1500, tap on ══)
//! ```

use crate::lab::Lab;
use crate::pair::Pair;
use crate::scenario::{Scenario, scenario};
use crate::stream::transfer;
use crate::udp;
use anyhow::{Context, Result};

pub(crate) const LIST: &[Scenario] = &[
    scenario("large_mtu", "9000-byte links, both IP versions", &[], large),
    scenario("tiny_mtu_1280", "a 1280-byte link on the path, both IP versions", &[], || {
        tiny(1280, &[false, true])
    }),
    scenario("tiny_mtu_1400", "a 1400-byte link on the path, both IP versions", &[], || {
        tiny(1400, &[false, true])
    }),
    scenario("tiny_mtu_576", "a 576-byte link on the path, IPv4", &[], || tiny(576, &[false])),
];

const FILE: u64 = 4 << 20;

fn large() -> Result<()> {
    let pair = Pair::in_lab(Lab::switched(9000)?, "open")?;
    both_ways(&pair, &[false, true])?;
    let tap = pair.tap()?;
    udp::echo(&pair.lab.a, &pair.lab.b, pair.address_of_b(false), &[1472, 8000, 8972, 20_000])?;
    pair.ensure_protected(&tap.finish()?, false)
}

fn tiny(mtu: u32, versions: &[bool]) -> Result<()> {
    let pair = Pair::in_lab(Lab::routed(mtu)?, "open")?;
    both_ways(&pair, versions)
}

/// A download in each direction, for each IP version (`true` is IPv6).
fn both_ways(pair: &Pair, versions: &[bool]) -> Result<()> {
    for &v6 in versions {
        let tap = pair.tap()?;
        transfer(&pair.lab.a, pair.address_of_a(v6), &pair.lab.b, FILE)
            .with_context(|| format!("a to b, {}", version(v6)))?;
        transfer(&pair.lab.b, pair.address_of_b(v6), &pair.lab.a, FILE)
            .with_context(|| format!("b to a, {}", version(v6)))?;
        pair.ensure_protected(&tap.finish()?, v6)?;
    }
    Ok(())
}

fn version(v6: bool) -> &'static str {
    if v6 { "IPv6" } else { "IPv4" }
}
