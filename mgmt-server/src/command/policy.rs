//! `policy scope add|list|remove`; `must_protect.rs` has the other list.

use super::output::{print, print_json};
use super::{act, open};
use crate::app::{Error, policy_title};
use crate::cli::{Data, Format};
use crate::store::PolicyList;
use mgmt_api::Prefix;
use serde::Serialize;

#[derive(Serialize)]
struct RangeList {
    schema: &'static str,
    prefixes: Vec<Prefix>,
}

pub(crate) fn change(
    data: &Data,
    list: PolicyList,
    prefix: Prefix,
    present: bool,
) -> Result<(), Error> {
    act(|act| open(data)?.change_policy(act, list, prefix, present))?;
    let verb = if present { "is now in" } else { "is no longer in" };
    print(&format!("{prefix} {verb} {}", policy_title(list)))
}

/// Ranges of the search scope.
pub(crate) fn show(data: &Data, format: Format) -> Result<(), Error> {
    let ranges = json(open(data)?.policy(PolicyList::SearchScope)?);
    if format.json {
        return print_json(&ranges);
    }
    let lines: Vec<String> = ranges.prefixes.iter().map(ToString::to_string).collect();
    print(&lines.join("\n"))
}

const fn json(prefixes: Vec<Prefix>) -> RangeList {
    RangeList { schema: "mgmt.scope-list/1", prefixes }
}

#[cfg(test)]
mod tests {
    use super::super::output::assert_golden;
    use super::*;

    #[test]
    fn json_is_as_the_golden_files_say() {
        let scope = ["10.0.0.0/8", "fc00::/7"].map(|text| text.parse().unwrap());
        assert_golden("scope-list", &json(scope.to_vec()));
    }
}
