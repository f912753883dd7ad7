//! Everything the agent could change on a machine, as text, to be compared before and after.

use crate::host::Host;
use crate::programs::installed;
use anyhow::{Result, ensure};
use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;

/// Settings that count by themselves.
const COUNTERS: [&str; 2] = ["nf_conntrack_count", "nf_log"];

/// State of a machine by topic.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Machine {
    topics: BTreeMap<String, String>,
}

impl Machine {
    /// Reads addresses, links, routes of every table, rules, packet filters, every setting under
    /// `/proc/sys/net`, and the resolver's files.
    ///
    /// # Errors
    /// If a program that is installed fails.
    pub fn read(host: &Host) -> Result<Self> {
        let mut topics = BTreeMap::new();
        for args in [
            "ip -d addr",
            "ip -4 route show table all",
            "ip -6 route show table all",
            "ip -4 rule",
            "ip -6 rule",
            "ip -4 maddr show dev eth0",
            "nft list ruleset",
        ] {
            let argv: Vec<&str> = args.split(' ').collect();
            if installed(argv[0]).is_some() {
                topics.insert(args.to_owned(), host.run(&argv)?);
            }
        }
        for file in ["/etc/resolv.conf", "/etc/hosts", "/etc/nsswitch.conf"] {
            topics.insert(file.to_owned(), read_text(Path::new(file)));
        }
        let settings = host.enter(|| {
            let mut text = String::new();
            collect(Path::new("/proc/sys/net"), &mut text);
            Ok(text)
        })?;
        topics.insert("settings".to_owned(), settings);
        Ok(Self { topics })
    }

    /// Lines that were there before and are not now, and the reverse, by topic.
    #[must_use]
    pub fn changes(&self, now: &Self) -> Vec<String> {
        let mut changes = Vec::new();
        for (topic, before) in &self.topics {
            let after = now.topics.get(topic).map_or("", String::as_str);
            let (old, new): (BTreeSet<_>, BTreeSet<_>) =
                (before.lines().collect(), after.lines().collect());
            changes.extend(old.difference(&new).map(|line| format!("{topic}: - {line}")));
            changes.extend(new.difference(&old).map(|line| format!("{topic}: + {line}")));
            if before != after && old == new {
                changes.push(format!("{topic}: other order or number of lines"));
            }
        }
        changes
    }

    /// That nothing changed, byte for byte.
    ///
    /// # Errors
    /// With every changed line.
    pub fn ensure_same(&self, now: &Self) -> Result<()> {
        let changes = self.changes(now);
        ensure!(changes.is_empty(), "the machine changed:\n  {}", changes.join("\n  "));
        Ok(())
    }
}

fn read_text(file: &Path) -> String {
    std::fs::read(file)
        .map(|bytes| String::from_utf8_lossy(&bytes).into_owned())
        .unwrap_or_else(|error| format!("({error})"))
}

fn collect(dir: &Path, text: &mut String) {
    let Ok(entries) = std::fs::read_dir(dir) else { return };
    let mut paths: Vec<_> = entries.filter_map(|entry| Some(entry.ok()?.path())).collect();
    paths.sort();
    for path in paths {
        let name = path.to_string_lossy().into_owned();
        if path.is_dir() {
            collect(&path, text);
        } else if !COUNTERS.iter().any(|counter| name.contains(counter))
            && let Ok(value) = std::fs::read_to_string(&path)
        {
            *text += &format!("{name} = {}\n", value.trim_end());
        }
    }
}
