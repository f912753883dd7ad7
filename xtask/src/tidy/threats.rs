//! Every row of `docs/threats.md` names tests that exist.
//!
//! A row of its table ends with a cell of test ids, each `` `path/to/file.rs::name` ``. An id is
//! good if that file is tracked and has a function or a scenario of that name. So are the ids that
//! `docs/performance.md` names.

use super::File;
use anyhow::{Context, Result, ensure};

const TABLE: &str = "docs/threats.md";
const OFFLOADS: &str = "docs/performance.md";

/// Rows without a test, and ids of tests that do not exist.
pub(super) fn unproven(files: &[File]) -> Result<Vec<String>> {
    let Some(table) = files.iter().find(|file| file.path.to_string_lossy() == TABLE) else {
        return Ok(vec![format!("{TABLE} does not exist")]);
    };
    let rows: Vec<&str> = table.text.lines().filter(|line| is_row(line)).collect();
    ensure!(!rows.is_empty(), "{TABLE} has no rows");
    let mut breaches = Vec::new();
    for row in rows {
        let cells: Vec<&str> = row.trim_matches('|').split('|').map(str::trim).collect();
        let (number, last) = (cells[0], cells.last().context("a row without cells")?);
        let ids: Vec<&str> = last.split('`').skip(1).step_by(2).collect();
        if ids.is_empty() {
            breaches.push(format!("{TABLE}: row {number} names no test"));
        }
        let missing = ids.iter().filter(|id| !exists(files, id));
        breaches.extend(missing.map(|id| format!("{TABLE}: row {number}: no test {id}")));
    }
    let offloads = files.iter().find(|file| file.path.to_string_lossy() == OFFLOADS);
    let quoted = offloads.iter().flat_map(|file| file.text.lines());
    let quoted = quoted.flat_map(|line| line.split('`').skip(1).step_by(2));
    let missing = quoted.filter(|id| id.contains(".rs::") && !exists(files, id));
    breaches.extend(missing.map(|id| format!("{OFFLOADS}: no test {id}")));
    Ok(breaches)
}

/// A row of the table begins with a number.
fn is_row(line: &str) -> bool {
    line.strip_prefix("| ").is_some_and(|rest| rest.starts_with(|c: char| c.is_ascii_digit()))
}

fn exists(files: &[File], id: &str) -> bool {
    let Some((path, name)) = id.split_once("::") else { return false };
    let file = files.iter().find(|file| file.path.to_string_lossy() == path);
    file.is_some_and(|file| {
        file.text.contains(&format!("fn {name}(")) || file.text.contains(&format!("\"{name}\""))
    })
}

#[cfg(test)]
mod tests {
    use super::{File, OFFLOADS, TABLE, unproven};

    fn files(row: &str) -> Vec<File> {
        vec![
            File { path: TABLE.into(), text: format!("# T\n| # | test |\n|---|---|\n{row}\n") },
            File { path: "a/b.rs".into(), text: "fn held() {}\n scenario(\"named\", …)".into() },
        ]
    }

    #[test]
    fn only_rows_with_existing_tests_pass() {
        let cases = [
            ("| 1 | x | `a/b.rs::held` |", 0),
            ("| 1 | x | `a/b.rs::held`, `a/b.rs::named` |", 0),
            ("| 1 | x | `a/b.rs::hel` |", 1),
            ("| 1 | x | `a/c.rs::held`, `a/b.rs` |", 2),
            ("| 1 | x | none |", 1),
        ];
        for (row, breaches) in cases {
            assert_eq!(unproven(&files(row)).unwrap().len(), breaches, "{row}");
        }
        let mut with_offloads = files("| 1 | x | `a/b.rs::held` |");
        let text = "| x | `a/b.rs::held` `a/b.rs::gone` `other` |\n".to_owned();
        with_offloads.push(File { path: OFFLOADS.into(), text });
        assert_eq!(
            unproven(&with_offloads).unwrap(),
            ["docs/performance.md: no test a/b.rs::gone"]
        );
        assert!(unproven(&files("no row")).is_err());
        assert_eq!(unproven(&files("| 1 | x | `a/b.rs::held` |")[1..]).unwrap().len(), 1);
    }
}
