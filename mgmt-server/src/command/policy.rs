//! `policy scope add|list|remove`.

use super::output::{print, print_json};
use super::{act, open};
use crate::app::Error;
use crate::cli::{Data, Format};
use mgmt_api::Prefix;
use serde::Serialize;

#[derive(Serialize)]
struct ScopeList {
    schema: &'static str,
    prefixes: Vec<Prefix>,
}

pub(crate) fn change_scope(data: &Data, prefix: Prefix, present: bool) -> Result<(), Error> {
    act(|act| open(data)?.change_search_scope(act, prefix, present))?;
    let verb = if present { "is now in" } else { "is no longer in" };
    print(&format!("{prefix} {verb} the search scope"))
}

pub(crate) fn list_scope(data: &Data, format: Format) -> Result<(), Error> {
    let list = json(open(data)?.search_scope()?);
    if format.json {
        return print_json(&list);
    }
    let lines: Vec<String> = list.prefixes.iter().map(ToString::to_string).collect();
    print(&lines.join("\n"))
}

const fn json(prefixes: Vec<Prefix>) -> ScopeList {
    ScopeList { schema: "mgmt.scope-list/1", prefixes }
}

#[cfg(test)]
mod tests {
    use super::super::output::assert_golden;
    use super::*;

    #[test]
    fn json_is_as_the_golden_file_says() {
        let list = json(vec!["10.0.0.0/8".parse().unwrap(), "fc00::/7".parse().unwrap()]);
        assert_golden("scope-list", &list);
    }
}
