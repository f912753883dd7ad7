//! The command line, read by hand: a parser crate would bring terminal I/O into a crate that a
//! check keeps free of it.

use ge_core::Transit;
use ge_sim::matrix::Settings;
use ge_sim::scenario::World;
use std::fmt::Display;
use std::str::FromStr;

/// How the program is called.
pub(crate) const USAGE: &str = "\
usage: ge-sim run [--world mesh|path|siege|threads|all] [--seeds N] [--from S] [--jobs J]
                  [--keep-going] [--safety]
       ge-sim run --world mesh|path|siege|threads --seed S [--trace]
       ge-sim matrix --rule [--transit strict|vouched|any] [--case CASE]
       ge-sim matrix [--json] [--transit strict|vouched|any] [--case CASE] [--seed S]
                     [--ipv6] [--trace]

  --world W      machines that reach each other directly, in a row, in a row with intruders
                 between them, either of the first two with several threads in each agent, or all of
                 these in turn (mesh)
  --seeds N      how many worlds (1000)
  --from S       the first seed (0)
  --jobs J       threads (2)
  --keep-going   do not stop at the first failure
  --safety       only what must never happen: a path may settle on another verdict than the rule's
  --seed S       only this seed
  --trace        print what happens
  --json         a line for each case
  --rule         run nothing; a line of JSON for each case with its agents and what the rule says
  --transit T    what closed agents ask of others' sessions (vouched)
  --case CASE    SOURCE,DESTINATION,TRANSIT,RELATION, each of which may be *
  --ipv6         IPv6 addresses";

/// What to run.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Options {
    /// One seed.
    One {
        /// Its world.
        world: World,
        /// The seed.
        seed: u64,
        /// Print what happens.
        trace: bool,
    },
    /// Many.
    Many(Many),
    /// The mode matrix.
    Matrix(Matrix),
}

/// Many seeds.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Many {
    pub(crate) worlds: Vec<World>,
    pub(crate) seeds: u64,
    pub(crate) from: u64,
    pub(crate) jobs: u64,
    pub(crate) keep_going: bool,
    pub(crate) safety: bool,
}

/// Cases of the mode matrix.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Matrix {
    pub(crate) json: bool,
    /// Only what the rule says.
    pub(crate) rule: bool,
    pub(crate) cases: String,
    pub(crate) settings: Settings,
}

/// Reads the arguments behind the program's name.
pub(crate) fn parse(arguments: impl IntoIterator<Item = String>) -> Result<Options, String> {
    let mut arguments = arguments.into_iter();
    match arguments.next().as_deref() {
        Some("run") => run(arguments),
        Some("matrix") => matrix(arguments),
        _ => Err("the commands are `run` and `matrix`".to_owned()),
    }
}

fn run(mut arguments: impl Iterator<Item = String>) -> Result<Options, String> {
    let mut many = Many {
        worlds: vec![World::Mesh],
        seeds: 1000,
        from: 0,
        jobs: 2,
        keep_going: false,
        safety: false,
    };
    let (mut seed, mut trace) = (None, false);
    while let Some(name) = arguments.next() {
        match name.as_str() {
            "--world" => many.worlds = worlds(&value::<String>(&name, &mut arguments)?)?,
            "--seeds" => many.seeds = value(&name, &mut arguments)?,
            "--from" => many.from = value(&name, &mut arguments)?,
            "--jobs" => many.jobs = value(&name, &mut arguments)?,
            "--seed" => seed = Some(value(&name, &mut arguments)?),
            "--keep-going" => many.keep_going = true,
            "--safety" => many.safety = true,
            "--trace" => trace = true,
            _ => return Err(format!("unknown option {name}")),
        }
    }
    match (seed, many.worlds.as_slice()) {
        (Some(seed), &[world]) => Ok(Options::One { world, seed, trace }),
        (Some(_), _) => Err("--seed needs one --world".to_owned()),
        (None, _) if trace => Err("--trace needs --seed".to_owned()),
        (None, _) => Ok(Options::Many(many)),
    }
}

fn matrix(mut arguments: impl Iterator<Item = String>) -> Result<Options, String> {
    let mut settings = Settings { transit: Transit::default(), seed: 1, v4: true, trace: false };
    let (mut json, mut rule, mut cases) = (false, false, "*,*,*,*".to_owned());
    while let Some(name) = arguments.next() {
        match name.as_str() {
            "--json" => json = true,
            "--rule" => rule = true,
            "--ipv6" => settings.v4 = false,
            "--trace" => settings.trace = true,
            "--seed" => settings.seed = value(&name, &mut arguments)?,
            "--case" => cases = value(&name, &mut arguments)?,
            "--transit" => settings.transit = transit(&value::<String>(&name, &mut arguments)?)?,
            _ => return Err(format!("unknown option {name}")),
        }
    }
    Ok(Options::Matrix(Matrix { json, rule, cases, settings }))
}

fn value<T: FromStr<Err: Display>>(
    name: &str,
    arguments: &mut impl Iterator<Item = String>,
) -> Result<T, String> {
    let value = arguments.next().ok_or_else(|| format!("{name} needs a value"))?;
    value.parse().map_err(|why| format!("{name} {value}: {why}"))
}

fn worlds(text: &str) -> Result<Vec<World>, String> {
    match (text, World::named(text)) {
        ("all", _) => Ok(World::ALL.to_vec()),
        (_, Some(world)) => Ok(vec![world]),
        (_, None) => Err(format!("--world {text}: mesh, path, siege, threads or all")),
    }
}

fn transit(text: &str) -> Result<Transit, String> {
    [Transit::Strict, Transit::Vouched, Transit::Any]
        .into_iter()
        .find(|transit| transit.as_str() == text)
        .ok_or_else(|| format!("--transit {text}: strict, vouched or any"))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(line: &str) -> Result<Options, String> {
        parse(line.split_whitespace().map(str::to_owned))
    }

    #[test]
    fn options_truth_table() {
        let one = Options::One { world: World::Path, seed: 7, trace: true };
        assert_eq!(read("run --world path --seed 7 --trace"), Ok(one));
        let (worlds, jobs) = (World::ALL.to_vec(), 2);
        let many = Many { worlds, seeds: 5, from: 9, jobs, keep_going: true, safety: true };
        let line = "run --world all --seeds 5 --from 9 --keep-going --safety";
        assert_eq!(read(line), Ok(Options::Many(many)));
        for wrong in
            ["", "walk", "run --seeds", "run --seeds x", "run --trace", "run --world all --seed 1"]
        {
            assert!(read(wrong).is_err(), "{wrong}");
        }
        for wrong in ["matrix --transit all", "matrix --case", "matrix --seeds 3"] {
            assert!(read(wrong).is_err(), "{wrong}");
        }
        let settings = Settings { transit: Transit::Any, seed: 3, v4: false, trace: false };
        let matrix = Matrix { json: true, rule: false, cases: "none,*,o,R1".to_owned(), settings };
        let line = "matrix --json --transit any --seed 3 --ipv6 --case none,*,o,R1";
        assert_eq!(read(line), Ok(Options::Matrix(matrix)));
    }
}
