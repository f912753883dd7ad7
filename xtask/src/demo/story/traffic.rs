//! Claims about what a tap on the wire sees.

use super::{FILE, Story};
use crate::demo::table::Table;
use anyhow::{Result, ensure};
use e2e::stream::Report;

pub(super) fn readable_before(story: &mut Story, table: &mut Table) -> Result<String> {
    let tap = story.tap()?;
    let report = story.send_file(false, &story.lab.b, table)?;
    let tally = tap.finish()?;
    ensure!(tally.marker > 0, "the tap saw no marker");
    ensure!(tally.sealed(&story.lab.a, &story.lab.b) == 0, "sealed without agents");
    Ok(format!("marker in {} frames; {}", tally.marker, figures(&report)))
}

pub(super) fn sealed_after(story: &mut Story, table: &mut Table) -> Result<String> {
    sealed(story, table, false)
}

pub(super) fn sealed_after_v6(story: &mut Story, table: &mut Table) -> Result<String> {
    sealed(story, table, true)
}

fn sealed(story: &Story, table: &mut Table, v6: bool) -> Result<String> {
    story.a()?;
    let tap = story.tap()?;
    let report = story.send_file(v6, &story.lab.b, table)?;
    let tally = tap.finish()?;
    tally.ensure_no_clear(&story.lab.a, &story.lab.b)?;
    ensure!(tally.marker == 0, "the tap reads the marker in {} frames", tally.marker);
    let sealed = tally.sealed(&story.lab.a, &story.lab.b);
    ensure!(sealed > 0, "nothing sealed went over the wire");
    Ok(format!("marker in 0 of {sealed} sealed frames; {}", figures(&report)))
}

fn figures(report: &Report) -> String {
    let rate = report.bytes as f64 * 8.0 / report.took.as_secs_f64() / 1e9;
    format!("{} MiB, {rate:.1} Gbit/s, SHA-256 {}…", FILE >> 20, &report.received[..8])
}
