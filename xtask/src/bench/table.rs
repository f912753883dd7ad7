//! The one table of all figures: printed, as JSON, kept in the repository, compared.

use super::row::{Change, Row};
use super::setting::Setting;
use super::spread::number;
use super::whole::Part;
use anyhow::{Context, Result, ensure};
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};
use std::path::Path;

const SCHEMA: &str = "bench/1";

/// All rows of a run, and how they were measured.
#[derive(Debug, PartialEq, Serialize, Deserialize)]
pub(super) struct Table {
    schema: String,
    pub(super) setting: Setting,
    pub(super) rows: Vec<Row>,
}

impl Table {
    pub(super) fn new(setting: Setting, rows: Vec<Row>) -> Self {
        Self { schema: SCHEMA.to_owned(), setting, rows }
    }

    /// A stored table.
    pub(super) fn read(path: &Path) -> Result<Self> {
        let name = path.display();
        let text = std::fs::read_to_string(path).with_context(|| format!("reading {name}"))?;
        let table: Self = serde_json::from_str(&text)
            .with_context(|| format!("{name} is no table of `cargo xtask bench --json`"))?;
        ensure!(table.schema == SCHEMA, "{name} is of schema {}, not {SCHEMA}", table.schema);
        Ok(table)
    }

    /// Stores it; parts of `before` that were not measured now stay.
    pub(super) fn keep(&self, path: &Path, before: Option<Self>) -> Result<()> {
        let mut kept = Self::new(self.setting.clone(), self.rows.clone());
        for row in before.into_iter().flat_map(|before| before.rows) {
            if !self.rows.iter().any(|now| now.part == row.part) {
                kept.rows.push(row);
            }
        }
        kept.rows.sort_by_key(|row| Part::ALL.iter().position(|part| part.as_str() == row.part));
        let text = serde_json::to_string_pretty(&kept)? + "\n";
        std::fs::write(path, text).with_context(|| format!("writing {}", path.display()))
    }

    fn changes(&self, then: Option<&Self>) -> Vec<Option<Change>> {
        let change = |row: &Row| {
            let then = then?;
            let one_machine = self.setting.is_same_machine(&then.setting);
            Some(row.change(then.rows.iter().find(|old| old.is_same(row))?, one_machine))
        };
        self.rows.iter().map(change).collect()
    }

    /// One JSON object; rows that `then` has too say what became of them.
    pub(super) fn to_json(&self, then: Option<&Self>) -> Result<Value> {
        let mut value = serde_json::to_value(self).context("the table as JSON")?;
        for (at, change) in self.changes(then).into_iter().enumerate() {
            let Some(Change { value: by, ratio, verdict }) = change else { continue };
            value["rows"][at]["change"] =
                json!({ "value": by, "ratio": ratio, "verdict": verdict.as_str().to_lowercase() });
        }
        Ok(value)
    }

    /// For people. `then` comes with its name.
    pub(super) fn print(&self, then: Option<(&Self, &str)>) {
        println!("{}", self.setting);
        println!(
            "least and most in brackets; retransmitted, out of order, dropped: of the worst run, ours/plain"
        );
        if let Some((then, name)) = then {
            println!("last column: {name}, its {}", then.setting);
        }
        if then.is_some_and(|(then, _)| !self.setting.is_same_machine(&then.setting)) {
            println!("another machine: only ratios are judged");
        }
        println!(
            "\n{:<54} {:<10} {:>22} {:>22} {:>22} {:>13} {:>13} {:>13}  last",
            "", "", "ours", "plain", "ours of plain", "retransmitted", "out of order", "dropped"
        );
        let mut part = "";
        for (row, change) in self.rows.iter().zip(self.changes(then.map(|(then, _)| then))) {
            if row.part != part {
                println!("{}", row.part);
                part = &row.part;
            }
            println!("{}", line(row, change).trim_end());
        }
        if self.rows.iter().any(Row::is_disturbed) {
            println!("\n~ other machines or programs had the CPUs in one of the runs: doubtful");
        }
    }
}

fn line(row: &Row, change: Option<Change>) -> String {
    let or_nothing = |spread: Option<super::spread::Spread>| {
        spread.map_or_else(String::new, |spread| spread.to_string())
    };
    let trouble = |of: fn(&super::row::Trouble) -> u64| {
        row.trouble
            .map_or_else(String::new, |[ours, plain]| format!("{}/{}", of(&ours), of(&plain)))
    };
    let change = change.map_or_else(String::new, |Change { value, ratio, verdict }| {
        let ratio = ratio.map_or_else(String::new, |by| format!(", ratio × {}", number(by)));
        format!("× {}{ratio} {}", number(value), verdict.as_str())
    });
    format!(
        "  {:<52} {:<10} {:>22} {:>22} {:>22} {:>13} {:>13} {:>13}  {change}",
        format!("{}{}", row.what, if row.is_disturbed() { " ~" } else { "" }),
        row.unit,
        row.ours,
        or_nothing(row.plain),
        or_nothing(row.ratio),
        trouble(|trouble| trouble.retransmitted),
        trouble(|trouble| trouble.out_of_order),
        trouble(|trouble| trouble.dropped),
    )
}

#[cfg(test)]
mod tests {
    use super::{Row, Setting, Table};
    use crate::bench::setting::Profile;
    use crate::bench::spread::Spread;

    fn table(parts: &[(&str, f64)]) -> Table {
        let setting = Setting::new(Profile::Sw, 1, 1);
        let row = |(part, value): &(&str, f64)| {
            Row::alone(part, "what", "unit", Spread::of(&[*value]).unwrap())
        };
        Table::new(setting, parts.iter().map(row).collect())
    }

    #[test]
    fn what_is_kept_is_read_again_and_other_parts_stay() {
        let dir = std::env::temp_dir().join(format!("bench-table-{}", std::process::id()));
        std::fs::create_dir_all(&dir).unwrap();
        let path = dir.join("last.json");
        let first = table(&[("micro", 2.0), ("pair", 1.0)]);
        first.keep(&path, None).unwrap();
        assert_eq!(Table::read(&path).unwrap(), first);
        table(&[("pair", 3.0)]).keep(&path, Some(first)).unwrap();
        assert_eq!(Table::read(&path).unwrap(), table(&[("micro", 2.0), ("pair", 3.0)]));
        std::fs::write(&path, "{}").unwrap();
        assert!(Table::read(&path).is_err());
        std::fs::remove_dir_all(&dir).unwrap();
    }

    #[test]
    fn rows_of_the_stored_table_are_found_by_part_name_and_unit() {
        let json = table(&[("pair", 2.0), ("flows", 1.0)])
            .to_json(Some(&table(&[("micro", 9.0), ("pair", 1.0)])))
            .unwrap();
        assert_eq!(json["rows"][0]["change"]["value"], 2.0);
        assert_eq!(json["rows"][0]["change"]["verdict"], "worse");
        assert!(json["rows"][1]["change"].is_null());
    }
}
