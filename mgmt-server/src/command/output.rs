//! Tables for people, JSON for programs.

use crate::app::Error;
use crate::store::StoreError;
use serde::Serialize;
use std::io::{self, Write};
use time::OffsetDateTime;
use time::format_description::well_known::Rfc3339;

/// Prints lines to standard output. A reader that went away (`| head`) is not an error.
pub(super) fn print(text: &str) -> Result<(), Error> {
    let mut out = io::stdout().lock();
    match writeln!(out, "{text}").and_then(|()| out.flush()) {
        Err(err) if err.kind() != io::ErrorKind::BrokenPipe => {
            Err(StoreError(format!("cannot print: {err}")).into())
        }
        _ => Ok(()),
    }
}

/// Prints one JSON object.
pub(super) fn print_json(object: &impl Serialize) -> Result<(), Error> {
    let text = serde_json::to_string_pretty(object);
    print(&text.map_err(|err| StoreError(format!("cannot print as JSON: {err}")))?)
}

/// A table with columns as wide as their longest cell.
pub(super) fn table<const N: usize>(head: [&str; N], rows: &[[String; N]]) -> String {
    let width = |column: usize| {
        let cells = rows.iter().map(|row| row[column].chars().count());
        cells.chain([head[column].len()]).max().unwrap_or(0)
    };
    let widths: [usize; N] = core::array::from_fn(width);
    let line = |cells: [&str; N]| {
        let padded = cells.iter().zip(widths).map(|(cell, width)| format!("{cell:width$}"));
        padded.collect::<Vec<_>>().join("  ").trim_end().to_owned()
    };
    let rows = rows.iter().map(|row| line(row.each_ref().map(String::as_str)));
    core::iter::once(line(head)).chain(rows).collect::<Vec<_>>().join("\n")
}

/// Unix seconds as RFC 3339 in UTC.
pub(super) fn rfc3339(unix: u64) -> String {
    i64::try_from(unix)
        .ok()
        .and_then(|unix| OffsetDateTime::from_unix_timestamp(unix).ok())
        .and_then(|time| time.format(&Rfc3339).ok())
        .unwrap_or_else(|| "never".into())
}

/// Texts, or `-` for none.
pub(super) fn or_dash(texts: &[String]) -> String {
    if texts.is_empty() { "-".into() } else { texts.join(",") }
}

/// `object` must print as the golden file. `UPDATE_GOLDEN=1` writes it anew after a deliberate
/// change.
#[cfg(test)]
pub(super) fn assert_golden(name: &str, object: &impl Serialize) {
    let path = format!("{}/tests/golden/{name}.json", env!("CARGO_MANIFEST_DIR"));
    let printed = serde_json::to_string_pretty(object).unwrap() + "\n";
    if std::env::var_os("UPDATE_GOLDEN").is_some() {
        std::fs::write(&path, &printed).unwrap();
    }
    assert_eq!(printed, std::fs::read_to_string(&path).unwrap(), "{name}");
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn columns_line_up() {
        let rows = [["a".into(), "12345".into()], ["long-name".into(), String::new()]];
        assert_eq!(table(["NAME", "N"], &rows), "NAME       N\na          12345\nlong-name");
    }

    #[test]
    fn times() {
        assert_eq!(rfc3339(1_700_000_000), "2023-11-14T22:13:20Z");
        assert_eq!(rfc3339(u64::MAX), "never");
    }
}
