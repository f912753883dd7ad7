//! `policy must-protect add|list|remove`: address ranges and names of hosts.

use super::output::{print, print_json};
use super::{act, open, policy};
use crate::app::Error;
use crate::cli::{Data, Format};
use crate::store::PolicyList;
use core::str::FromStr;
use mgmt_api::{DnsName, Prefix};
use serde::Serialize;

/// A range or a name, as given on the command line.
#[derive(Clone, Debug)]
pub(crate) enum Destination {
    Range(Prefix),
    Name(DnsName),
}

impl FromStr for Destination {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        if text.contains('/') {
            return text.parse().map(Self::Range).map_err(|error| format!("{error}"));
        }
        text.parse().map(Self::Name).map_err(|error| format!("{error}"))
    }
}

#[derive(Serialize)]
struct MustProtectList {
    schema: &'static str,
    prefixes: Vec<Prefix>,
    names: Vec<DnsName>,
}

pub(crate) fn change(data: &Data, destination: &Destination, present: bool) -> Result<(), Error> {
    let name = match destination {
        Destination::Range(prefix) => {
            return policy::change(data, PolicyList::MustProtect, *prefix, present);
        }
        Destination::Name(name) => name,
    };
    act(|act| open(data)?.change_must_protect_name(act, name, present))?;
    let verb = if present { "is now in" } else { "is no longer in" };
    print(&format!("{name} {verb} what must be protected"))
}

pub(crate) fn show(data: &Data, format: Format) -> Result<(), Error> {
    let app = open(data)?;
    let list = json(app.policy(PolicyList::MustProtect)?, app.must_protect_names()?);
    if format.json {
        return print_json(&list);
    }
    let ranges = list.prefixes.iter().map(ToString::to_string);
    let lines: Vec<String> = ranges.chain(list.names.iter().map(ToString::to_string)).collect();
    print(&lines.join("\n"))
}

const fn json(prefixes: Vec<Prefix>, names: Vec<DnsName>) -> MustProtectList {
    MustProtectList { schema: "mgmt.must-protect-list/1", prefixes, names }
}

#[cfg(test)]
mod tests {
    use super::super::output::assert_golden;
    use super::*;

    #[test]
    fn json_is_as_the_golden_files_say() {
        let ranges = vec!["10.30.9.0/24".parse().unwrap()];
        let names = vec!["db.example.org".parse().unwrap()];
        assert_golden("must-protect-list", &json(ranges, names));
    }

    #[test]
    fn a_range_or_a_name() {
        for (text, range) in [("10.0.0.0/8", true), ("fc00::/7", true), ("db.example.org", false)] {
            let read: Destination = text.parse().unwrap();
            assert_eq!(matches!(read, Destination::Range(_)), range, "{text}");
        }
        for text in ["10.0.0.1", "10.0.0.1/8", "a b", "", "-x.example"] {
            assert!(text.parse::<Destination>().is_err(), "{text:?}");
        }
    }
}
