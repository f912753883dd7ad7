//! What a reader would object to and a compiler does not, over every file git tracks.

mod functions;
mod threats;

use crate::cargo::root;
use crate::count::Counts;
use anyhow::{Context, Result, ensure};
use std::path::{Path, PathBuf};
use std::process::Command;

/// Longest file in lines of code: beyond it, it is more than one noun.
const FILE_LINES: usize = 600;
/// Largest tracked file in bytes; corpora and golden files are far smaller.
const FILE_BYTES: u64 = 1 << 20;
/// Marks of unfinished work, in pieces so that this file does not contain them.
const UNFINISHED: [&str; 4] =
    [concat!("to", "do!"), concat!("unimpl", "emented!"), concat!("FIX", "ME"), concat!("XX", "X")];
/// Names of files that are never meant to be tracked.
const JUNK: [&str; 8] = [".orig", ".rej", ".swp", ".bak", ".log", ".tmp", "~", ".DS_Store"];

/// One tracked text file.
pub(crate) struct File {
    /// Path from the root.
    pub(crate) path: PathBuf,
    /// Its text.
    pub(crate) text: String,
}

impl File {
    fn is_rust(&self) -> bool {
        self.path.extension().is_some_and(|extension| extension == "rs")
    }
}

/// Checks every rule over all tracked files; prints each breach.
pub(crate) fn run() -> Result<Counts> {
    let paths = tracked()?;
    let files = read(&paths)?;
    let rust: Vec<&File> = files.iter().filter(|file| file.is_rust()).collect();
    ensure!(!rust.is_empty(), "git tracks no Rust file");
    let mut counts = Counts::default();
    for (rule, breaches) in [
        ("files too long", rust.iter().filter_map(|file| too_long(file)).collect()),
        ("functions too long", functions::too_long(&rust)),
        ("unfinished", files.iter().flat_map(unfinished).collect()),
        ("modules without `//!`", rust.iter().filter_map(|file| undocumented(file)).collect()),
        ("junk", paths.iter().filter_map(|path| junk(path)).collect()),
        ("threat rows without test", threats::unproven(&files)?),
    ] {
        for breach in &breaches {
            println!("tidy: {rule}: {breach}");
        }
        counts += Counts::one(breaches.is_empty());
    }
    Ok(counts)
}

fn tracked() -> Result<Vec<PathBuf>> {
    let output = Command::new("git")
        .args(["ls-files", "-z", "--cached", "--others", "--exclude-standard"])
        .current_dir(root())
        .output()
        .context("starting git")?;
    ensure!(output.status.success(), "git ls-files: {}", String::from_utf8_lossy(&output.stderr));
    let text = String::from_utf8(output.stdout).context("a file name that is not UTF-8")?;
    let paths = text.split('\0').filter(|path| !path.is_empty()).map(PathBuf::from);
    // A file that was removed and not yet committed is still listed.
    Ok(paths.filter(|path| root().join(path).is_file()).collect())
}

/// The text files among `paths`; corpora and pictures are not text.
fn read(paths: &[PathBuf]) -> Result<Vec<File>> {
    let mut files = Vec::new();
    for path in paths {
        let bytes = std::fs::read(root().join(path)).with_context(|| path.display().to_string())?;
        if let Ok(text) = String::from_utf8(bytes) {
            files.push(File { path: path.clone(), text });
        }
    }
    Ok(files)
}

fn too_long(file: &File) -> Option<String> {
    let is_code = |line: &&str| !line.trim().is_empty() && !line.trim_start().starts_with("//");
    let lines = file.text.lines().filter(is_code).count();
    (lines > FILE_LINES).then(|| format!("{}: {lines} lines of code", file.path.display()))
}

fn unfinished(file: &File) -> Vec<String> {
    let lines = file.text.lines().enumerate();
    let marked = lines.filter(|(_, line)| UNFINISHED.iter().any(|mark| line.contains(mark)));
    marked
        .map(|(at, line)| format!("{}:{}: {}", file.path.display(), at + 1, line.trim()))
        .collect()
}

fn undocumented(file: &File) -> Option<String> {
    // A fuzz target is one call of a documented function.
    if file.path.starts_with("fuzz/fuzz_targets") {
        return None;
    }
    let first = file
        .text
        .lines()
        .map(str::trim)
        .find(|line| !line.is_empty() && !line.starts_with("#!") && !line.starts_with("// "));
    let documented = first.is_some_and(|line| line.starts_with("//!"));
    (!documented).then(|| file.path.display().to_string())
}

fn junk(path: &Path) -> Option<String> {
    let name = path.file_name()?.to_string_lossy();
    let large = root().join(path).metadata().is_ok_and(|data| data.len() > FILE_BYTES);
    let named = JUNK.iter().any(|end| name.ends_with(end));
    let built = path.components().any(|part| part.as_os_str() == "target");
    (large || named || built).then(|| path.display().to_string())
}

#[cfg(test)]
mod tests {
    use super::{File, junk, too_long, undocumented, unfinished};
    use std::path::Path;

    fn file(text: &str) -> File {
        File { path: "x.rs".into(), text: text.to_owned() }
    }

    #[test]
    fn each_rule_finds_its_breach_and_nothing_else() {
        assert!(undocumented(&file("use a;\n")).is_some());
        assert!(undocumented(&file("//! Doc.\nuse a;\n")).is_none());
        assert!(undocumented(&file("#![no_main]\n//! Doc.\n")).is_none());
        assert!(too_long(&file(&"a();\n".repeat(601))).is_some());
        assert!(too_long(&file(&"a();\n// why\n\n".repeat(600))).is_none());
        assert_eq!(unfinished(&file(&format!("a\n// {}\n", super::UNFINISHED[2]))).len(), 1);
        assert!(junk(Path::new("a/b.orig")).is_some());
        assert!(junk(Path::new("target/b")).is_some());
        assert!(junk(Path::new("a/b.rs")).is_none());
    }
}
