//! The command line, read by hand: a parser crate would bring terminal I/O into a crate that a
//! check keeps free of it.

/// How the program is called.
pub(crate) const USAGE: &str = "\
usage: ge-sim run [--seeds N] [--from S] [--jobs J] [--keep-going]
       ge-sim run --seed S [--trace]

  --seeds N      how many seeds (1000)
  --from S       the first seed (0)
  --jobs J       threads (2)
  --keep-going   do not stop at the first failure
  --seed S       only this seed
  --trace        print what happens";

/// What to run.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Options {
    /// One seed.
    One {
        /// The seed.
        seed: u64,
        /// Print what happens.
        trace: bool,
    },
    /// Many.
    Many(Many),
}

/// Many seeds.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Many {
    pub(crate) seeds: u64,
    pub(crate) from: u64,
    pub(crate) jobs: u64,
    pub(crate) keep_going: bool,
}

/// Reads the arguments behind the program's name.
pub(crate) fn parse(arguments: impl IntoIterator<Item = String>) -> Result<Options, String> {
    let mut arguments = arguments.into_iter();
    if arguments.next().as_deref() != Some("run") {
        return Err("the only command is `run`".to_owned());
    }
    let mut many = Many { seeds: 1000, from: 0, jobs: 2, keep_going: false };
    let (mut seed, mut trace) = (None, false);
    while let Some(name) = arguments.next() {
        let mut number = || {
            let value = arguments.next().ok_or_else(|| format!("{name} needs a number"))?;
            value.parse().map_err(|_| format!("{name}: `{value}` is not a number"))
        };
        match name.as_str() {
            "--seeds" => many.seeds = number()?,
            "--from" => many.from = number()?,
            "--jobs" => many.jobs = number()?,
            "--seed" => seed = Some(number()?),
            "--keep-going" => many.keep_going = true,
            "--trace" => trace = true,
            _ => return Err(format!("unknown option {name}")),
        }
    }
    match seed {
        Some(seed) => Ok(Options::One { seed, trace }),
        None if trace => Err("--trace needs --seed".to_owned()),
        None => Ok(Options::Many(many)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(line: &str) -> Result<Options, String> {
        parse(line.split_whitespace().map(str::to_owned))
    }

    #[test]
    fn options_truth_table() {
        assert_eq!(read("run --seed 7 --trace"), Ok(Options::One { seed: 7, trace: true }));
        let many = Many { seeds: 5, from: 9, jobs: 2, keep_going: true };
        assert_eq!(read("run --seeds 5 --from 9 --keep-going"), Ok(Options::Many(many)));
        for wrong in ["", "walk", "run --seeds", "run --seeds x", "run --trace", "run --speed 1"] {
            assert!(read(wrong).is_err(), "{wrong}");
        }
    }
}
