//! Micro benches: figures of single functions, the median of many runs, one line each.
//!
//! `cargo run --release -p benches` prints a table, with `--json` one object; `benches flood [--json]`
//! what floods cost, `benches memory [--json]` what rows and sessions hold; `benches flows` is the two
//! ends of many connections, `benches native` one end of a tunnel (see [`native`]). Nothing is asserted:
//! figures depend on the machine, and say something only next to figures of the same machine.

mod crypto;
mod data_path;
mod figure;
mod flood;
mod flows;
mod look_up;
mod memory;
mod native;
mod negotiation;
mod parse;
mod scene;
mod stolen;
mod traffic;

use anyhow::{Result, bail};
use figure::Figure;
use serde_json::json;

fn main() -> Result<()> {
    let args: Vec<String> = std::env::args().skip(1).collect();
    let as_json = match args.iter().map(String::as_str).collect::<Vec<_>>().as_slice() {
        [] => false,
        ["--json"] => true,
        ["flood"] => return floods(false),
        ["flood", "--json"] => return floods(true),
        ["memory"] => return sizes(false),
        ["memory", "--json"] => return sizes(true),
        ["flows", order @ ..] => return flows::run(order),
        ["native", format, device, side] => return native::end(format, device, side),
        ["requests", state, to, count] => return stolen::write(state, to, count),
        _ => bail!(
            "usage: benches [flood|memory] [--json] | flows … | native FORMAT DEVICE SIDE | \
             requests STATE TO COUNT"
        ),
    };
    let figures = [
        look_up::figures(),
        parse::figures()?,
        traffic::figures()?,
        data_path::figures()?,
        crypto::figures()?,
        negotiation::figures()?,
    ]
    .concat();
    if as_json {
        let rows: Vec<_> = figures.iter().map(Figure::to_json).collect();
        println!("{}", json!({ "schema": "benches/1", "figures": rows }));
    } else {
        figures.iter().for_each(|figure| println!("{figure}"));
    }
    Ok(())
}

fn floods(as_json: bool) -> Result<()> {
    let lines = flood::lines()?;
    if as_json {
        let rows: Vec<_> = lines.iter().map(flood::Line::to_json).collect();
        println!("{}", json!({ "schema": "bench-flood/1", "figures": rows }));
    } else {
        lines.iter().for_each(|line| println!("{line}"));
    }
    Ok(())
}

fn sizes(as_json: bool) -> Result<()> {
    let sizes = memory::sizes()?;
    if as_json {
        let rows: Vec<_> = sizes.iter().map(memory::Size::to_json).collect();
        println!("{}", json!({ "schema": "bench-memory/1", "figures": rows }));
    } else {
        sizes.iter().for_each(|size| println!("{size}"));
    }
    Ok(())
}
