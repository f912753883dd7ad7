//! Micro benches: figures of single functions, the median of many runs, one line each.
//!
//! `cargo run --release -p benches` prints a table, with `--json` one object. Nothing is asserted:
//! figures depend on the machine, and say something only next to figures of the same machine.

mod crypto;
mod figure;
mod look_up;
mod negotiation;
mod traffic;

use anyhow::{Result, bail};
use figure::Figure;
use serde_json::json;

fn main() -> Result<()> {
    let as_json = match std::env::args().skip(1).collect::<Vec<_>>().as_slice() {
        [] => false,
        [option] if option == "--json" => true,
        _ => bail!("usage: benches [--json]"),
    };
    let figures =
        [look_up::figures(), traffic::figures()?, crypto::figures()?, negotiation::figures()?]
            .concat();
    if as_json {
        let rows: Vec<_> = figures.iter().map(Figure::to_json).collect();
        println!("{}", json!({ "schema": "benches/1", "figures": rows }));
    } else {
        figures.iter().for_each(|figure| println!("{figure}"));
    }
    Ok(())
}
