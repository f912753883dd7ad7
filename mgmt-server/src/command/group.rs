//! `group create|list|show`.

use super::output::{or_dash, print, print_json, rfc3339, table};
use super::{act, open};
use crate::app::{Error, GroupSummary};
use crate::cli::{Data, Format};
use crate::serve::unix_now;
use serde::Serialize;

#[derive(Serialize)]
struct GroupList<'a> {
    schema: &'static str,
    groups: Vec<GroupJson<'a>>,
}

#[derive(Serialize)]
struct GroupJson<'a> {
    id: u32,
    name: &'a str,
    priority: u16,
    epoch: u32,
    next_epoch_at: String,
    members: &'a [String],
}

pub(crate) fn create(data: &Data, name: &str, priority: u16) -> Result<(), Error> {
    let id = act(|act| open(data)?.create_group(act, name, priority))?;
    print(&format!("group {name} made, number {id}"))
}

pub(crate) fn list(data: &Data, format: Format, only: Option<&str>) -> Result<(), Error> {
    let mut groups = open(data)?.groups(unix_now())?;
    if let Some(name) = only {
        groups.retain(|group| group.name == name);
        if groups.is_empty() {
            return Err(Error::Unfit(format!(
                "there is no group {name}; see `mgmt-server group list`"
            )));
        }
    }
    if format.json { print_json(&json(&groups)) } else { print(&as_table(&groups)) }
}

fn json(groups: &[GroupSummary]) -> GroupList<'_> {
    let groups = groups.iter().map(|group| GroupJson {
        id: group.id,
        name: &group.name,
        priority: group.priority,
        epoch: group.epoch,
        next_epoch_at: rfc3339(group.next_epoch_at),
        members: &group.members,
    });
    GroupList { schema: "mgmt.group-list/1", groups: groups.collect() }
}

fn as_table(groups: &[GroupSummary]) -> String {
    let rows: Vec<_> = groups
        .iter()
        .map(|group| {
            [
                group.id.to_string(),
                group.name.clone(),
                group.epoch.to_string(),
                rfc3339(group.next_epoch_at),
                or_dash(&group.members),
            ]
        })
        .collect();
    table(["NUMBER", "NAME", "EPOCH", "NEXT EPOCH AT", "MEMBERS"], &rows)
}

#[cfg(test)]
mod tests {
    use super::super::output::assert_golden;
    use super::*;

    #[test]
    fn json_is_as_the_golden_file_says() {
        let group = GroupSummary {
            id: 3,
            name: "sales".into(),
            priority: 100,
            epoch: 7,
            next_epoch_at: 1_700_000_000,
            members: vec!["files".into(), "web".into()],
        };
        assert_golden("group-list", &json(&[group]));
    }
}
