//! Which crate may depend on which, checked against `cargo metadata`.
//!
//! ```text
//! ges, gen ──> agent-cli ──> ge-runtime ──> ge-core <── ge-sim <── benches
//!                             ^  └────────> mgmt-api <── mgmt-server
//!                             └── fuzz-bodies <── fuzz (they reach ge-core and mgmt-api too)
//! xtask ──> e2e (the programs are used by their command lines)
//! ```
//! Fuzz bodies reach `ge-runtime` because the parsers of an agent's files, of its control socket
//! and of netlink are small modules beside the I/O that feeds them; a crate for them would exist
//! for the fuzzer alone.
//!
//! An arrow that is not in [`ARROWS`] is an error, so a new one is drawn here first, by somebody
//! who thought about it. Only what is linked into programs counts, not dev-dependencies.

use crate::cargo::cargo;
use crate::count::Counts;
use anyhow::{Context, Result, ensure};
use serde_json::Value;
use std::collections::{BTreeMap, BTreeSet};

/// Each crate of the workspace and the workspace crates it may depend on.
const ARROWS: &[(&str, &[&str])] = &[
    ("ge-core", &[]),
    ("mgmt-api", &[]),
    ("ge-runtime", &["ge-core", "mgmt-api"]),
    ("agent-cli", &["ge-runtime"]),
    ("ges", &["agent-cli", "ge-runtime"]),
    ("gen", &["agent-cli", "ge-runtime"]),
    ("mgmt-server", &["mgmt-api", "ge-core"]),
    ("ge-sim", &["ge-core"]),
    ("benches", &["ge-core", "ge-sim", "ge-runtime"]),
    ("fuzz-bodies", &["ge-core", "ge-runtime", "mgmt-api"]),
    ("e2e", &[]),
    ("xtask", &["e2e"]),
];

/// Crates that do no I/O, whatever they depend on.
const PURE: &[&str] = &["ge-core", "mgmt-api", "ge-sim"];
/// Crates that do, and whose presence in a closure shows it.
const IO: &[&str] = &["tokio", "mio", "async-io", "nix", "socket2", "rustix", "hyper"];

/// Pairs that must not meet even through others.
const APART: &[(&str, &str)] = &[("mgmt-server", "ge-runtime"), ("ges", "gen"), ("gen", "ges")];

/// Checks every rule; prints each breach.
pub(crate) fn run() -> Result<Counts> {
    let graph = Graph::read()?;
    let mut counts = Counts::default();
    for name in &graph.members {
        counts += graph.check_arrows(name);
    }
    for name in PURE {
        let found: Vec<_> =
            graph.closure(name).into_iter().filter(|dep| IO.contains(&dep.as_str())).collect();
        counts += verdict(found.is_empty(), || format!("{name} reaches {}", found.join(", ")));
    }
    for (one, other) in APART {
        let apart = !graph.closure(one).contains(*other);
        counts += verdict(apart, || format!("{one} reaches {other}"));
    }
    Ok(counts)
}

fn verdict(held: bool, breach: impl Fn() -> String) -> Counts {
    if !held {
        println!("deps: {}", breach());
    }
    Counts::one(held)
}

/// Packages by name, with the names of what they are linked with.
struct Graph {
    members: BTreeSet<String>,
    links: BTreeMap<String, BTreeSet<String>>,
}

impl Graph {
    fn read() -> Result<Self> {
        let output = cargo(&["metadata", "--format-version", "1"]).output()?;
        ensure!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
        Self::parse(&serde_json::from_slice(&output.stdout).context("cargo metadata")?)
    }

    fn parse(metadata: &Value) -> Result<Self> {
        let list = |value: &'_ Value| value.as_array().cloned().unwrap_or_default();
        let names: BTreeMap<String, String> = list(&metadata["packages"])
            .iter()
            .filter_map(|package| {
                Some((package["id"].as_str()?.to_owned(), package["name"].as_str()?.to_owned()))
            })
            .collect();
        let name = |id: &Value| id.as_str().and_then(|id| names.get(id)).cloned();
        let members = list(&metadata["workspace_members"]).iter().filter_map(name).collect();
        let mut links: BTreeMap<String, BTreeSet<String>> = BTreeMap::new();
        for node in list(&metadata["resolve"]["nodes"]) {
            let from = name(&node["id"]).context("a node without a package")?;
            let linked = list(&node["deps"]).into_iter().filter(is_linked);
            // Two versions of a package are one name here: a rule broken by either is broken.
            links.entry(from).or_default().extend(linked.filter_map(|dep| name(&dep["pkg"])));
        }
        ensure!(!links.is_empty(), "cargo metadata without a graph");
        Ok(Self { members, links })
    }

    fn check_arrows(&self, name: &str) -> Counts {
        let Some((_, allowed)) = ARROWS.iter().find(|(from, _)| *from == name) else {
            return verdict(false, || format!("{name} is not in the picture; draw it first"));
        };
        let direct = self.links.get(name).into_iter().flatten();
        let wrong: Vec<_> = direct
            .filter(|dep| self.members.contains(*dep) && !allowed.contains(&dep.as_str()))
            .cloned()
            .collect();
        verdict(wrong.is_empty(), || format!("{name} may not depend on {}", wrong.join(", ")))
    }

    fn closure(&self, name: &str) -> BTreeSet<String> {
        let mut found = BTreeSet::new();
        let mut open = vec![name.to_owned()];
        while let Some(next) = open.pop() {
            for dep in self.links.get(&next).into_iter().flatten() {
                if found.insert(dep.clone()) {
                    open.push(dep.clone());
                }
            }
        }
        found
    }
}

/// A normal dependency: linked into the crate, on the systems it is built for.
fn is_linked(dep: &Value) -> bool {
    let kinds = dep["dep_kinds"].as_array().cloned().unwrap_or_default();
    kinds.iter().any(|kind| {
        let elsewhere = kind["target"].as_str().is_some_and(|target| {
            ["windows", "wasm", "macos", "wasi", "hermit", "redox"]
                .iter()
                .any(|os| target.contains(os))
        });
        kind["kind"].is_null() && !elsewhere
    })
}

#[cfg(test)]
mod tests {
    use super::Graph;
    use serde_json::json;

    fn graph() -> Graph {
        let node = |id: &str, deps: &[(&str, Option<&str>)]| {
            let deps: Vec<_> = deps
                .iter()
                .map(|(id, kind)| json!({"pkg": id, "dep_kinds": [{"kind": kind, "target": null}]}))
                .collect();
            json!({"id": id, "deps": deps})
        };
        let names = ["ge-core", "ge-sim", "middle", "tokio"];
        let packages: Vec<_> = names.iter().map(|name| json!({"id": name, "name": name})).collect();
        let metadata = json!({
            "packages": packages,
            "workspace_members": ["ge-core", "ge-sim"],
            "resolve": {"nodes": [
                node("ge-core", &[("middle", None), ("ge-sim", Some("dev"))]),
                node("ge-sim", &[("ge-core", None)]),
                node("middle", &[("tokio", None)]),
                node("tokio", &[]),
            ]},
        });
        Graph::parse(&metadata).unwrap()
    }

    #[test]
    fn closures_go_through_others_and_leave_tests_out() {
        let graph = graph();
        assert!(graph.closure("ge-core").contains("tokio"));
        assert!(!graph.closure("ge-core").contains("ge-sim"));
    }

    #[test]
    fn an_arrow_that_is_not_drawn_is_a_breach() {
        let mut graph = graph();
        assert!(graph.check_arrows("ge-sim").is_good());
        graph.links.get_mut("ge-core").unwrap().insert("ge-sim".to_owned());
        assert_eq!(graph.check_arrows("ge-core").failed, 1);
        assert_eq!(graph.check_arrows("unheard-of").failed, 1);
    }
}
