//! Calling cargo, always with the one optimised profile.

use crate::count::Counts;
use anyhow::{Context, Result, ensure};
use std::io::{BufRead, BufReader};
use std::path::PathBuf;
use std::process::{Command, Stdio};

/// Root of the workspace.
pub(crate) fn root() -> PathBuf {
    let xtask = PathBuf::from(env!("CARGO_MANIFEST_DIR"));
    xtask.parent().map(PathBuf::from).unwrap_or(xtask)
}

/// `cargo ARGS` in the root, with the environment cargo gave us for ourselves taken out.
pub(crate) fn cargo(args: &[&str]) -> Command {
    let program = std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into());
    let mut command = Command::new(program);
    command.args(args).current_dir(root());
    for (name, _) in std::env::vars_os() {
        let text = name.to_string_lossy();
        if text.starts_with("CARGO_PKG_") || text == "CARGO_MANIFEST_DIR" {
            command.env_remove(&name);
        }
    }
    command
}

/// Builds packages; cargo's own progress is shown.
pub(crate) fn build(packages: &[&str]) -> Result<()> {
    let mut args = vec!["build", "--release"];
    args.extend(packages.iter().flat_map(|package| ["--package", package]));
    let status = cargo(&args).status().context("starting cargo")?;
    ensure!(status.success(), "`cargo {}` failed", args.join(" "));
    Ok(())
}

/// One check: does `cargo ARGS` exit with 0? What it prints is shown.
pub(crate) fn check(args: &[&str]) -> Result<Counts> {
    let status = cargo(args).status().context("starting cargo")?;
    Ok(Counts::one(status.success()))
}

/// Runs `cargo ARGS`, shows what it prints without lines that `hide` names, and adds up every
/// `N passed; M failed` in it. A run that fails without saying so counts as one failure.
pub(crate) fn count(args: &[&str], hide: fn(&str) -> bool) -> Result<Counts> {
    let mut child = cargo(args).stdout(Stdio::piped()).spawn().context("starting cargo")?;
    let stdout = child.stdout.take().context("a pipe from cargo")?;
    let mut counts = Counts::default();
    for line in BufReader::new(stdout).lines() {
        let line = line.context("reading from cargo")?;
        if let Some(found) = Counts::parse(&line) {
            counts += found;
        }
        if !hide(&line) {
            println!("{line}");
        }
    }
    let status = child.wait()?;
    if !status.success() && counts.failed == 0 {
        counts.failed = 1;
    }
    Ok(counts)
}
