//! `audit list`.

use super::open;
use super::output::{print, print_json, rfc3339, table};
use crate::app::Error;
use crate::cli::{Data, Format};
use crate::store::AuditEntry;
use serde::Serialize;

#[derive(Serialize)]
struct AuditList {
    schema: &'static str,
    entries: Vec<EntryJson>,
}

#[derive(Serialize)]
struct EntryJson {
    time: String,
    actor: String,
    action: String,
    subject: String,
    before: String,
    after: String,
}

pub(crate) fn list(data: &Data, format: Format, limit: u32) -> Result<(), Error> {
    let list = json(open(data)?.audit(limit)?);
    if format.json {
        return print_json(&list);
    }
    let rows = list.entries.into_iter();
    let rows: Vec<_> = rows
        .map(|entry| {
            [entry.time, entry.actor, entry.action, entry.subject, entry.before, entry.after]
        })
        .collect();
    print(&table(["TIME", "ACTOR", "ACTION", "SUBJECT", "BEFORE", "AFTER"], &rows))
}

fn json(entries: Vec<AuditEntry>) -> AuditList {
    let entries = entries.into_iter().map(|entry| EntryJson {
        time: rfc3339(entry.time),
        actor: entry.actor,
        action: entry.action,
        subject: entry.subject,
        before: entry.before,
        after: entry.after,
    });
    AuditList { schema: "mgmt.audit-list/1", entries: entries.collect() }
}

#[cfg(test)]
mod tests {
    use super::super::output::assert_golden;
    use super::*;

    #[test]
    fn json_is_as_the_golden_file_says() {
        let entry = AuditEntry {
            time: 1_700_000_000,
            actor: "admin uid 0".into(),
            action: "member.set".into(),
            subject: "a0a0".into(),
            before: "name hq mode open".into(),
            after: "name hq mode closed".into(),
        };
        assert_golden("audit-list", &json(vec![entry]));
    }
}
