//! The command line.

use super::support::{Domain, started};
use std::os::unix::fs::PermissionsExt;
use std::process::Stdio;

#[test]
fn life_cycle() {
    let domain = Domain::new();
    for name in ["", "mgmt.db", "root.key", "tls.key", "tls.crt"] {
        let mode = std::fs::metadata(domain.data().join(name)).unwrap().permissions().mode();
        assert_eq!(mode & 0o777, if name.is_empty() { 0o700 } else { 0o600 }, "{name}");
    }
    domain.ok(&["group", "create", "sales"]);
    domain.ok(&["group", "create", "dev"]);
    let groups = domain.json(&["group", "list", "--json"]);
    assert_eq!(groups["schema"], "mgmt.group-list/1");
    assert_eq!(groups["groups"][1]["name"], "dev");
    assert_eq!(groups["groups"][1]["id"], 2);
    assert!(domain.ok(&["group", "show", "sales"]).contains("sales"));

    let running = domain.run();
    let pasted =
        domain.ok(&["token", "create", "--group", "sales", "--group", "dev", "--uses", "3"]);
    let address = running.address;
    assert!(pasted.contains(&format!("ges run --server https://{address} --token-file")));
    assert!(pasted.lines().any(|line| line.starts_with("gst1_")));
    let tokens = domain.json(&["token", "list", "--json"]);
    assert_eq!(tokens["tokens"][0]["groups"], serde_json::json!(["sales", "dev"]));
    assert_eq!(tokens["tokens"][0]["uses_left"], 3);
    let id = tokens["tokens"][0]["id"].as_str().unwrap();
    domain.ok(&["token", "revoke", &id[..6]]);
    assert_eq!(domain.json(&["token", "list", "--json"])["tokens"][0]["state"], "revoked");

    let audit = domain.json(&["audit", "list", "--json"]);
    assert_eq!(audit["entries"][0]["action"], "token.revoke");
    assert_eq!(audit["entries"][0]["before"], "usable");
}

#[test]
fn mistakes_get_one_sentence_with_the_fix() {
    let (domain, _running) = started();
    for (arguments, words) in [
        (&["init", "--listen", "127.0.0.1:0"][..], "already"),
        (&["run"], "stop it first"),
        (&["group", "create", "sales"], "already"),
        (&["group", "create", "a b"], "cannot be a group's name"),
        (&["token", "create", "--group", "nobody"], "group create nobody"),
        (&["token", "create", "--group", "sales", "--uses", "0"], "--uses"),
        (&["token", "revoke", "ff"], "token list"),
        (&["member", "set", "nobody", "--mode", "open"], "member list"),
        (&["member", "remove", "nobody"], "member list"),
        (&["key", "rotate", "nobody"], "group create nobody"),
        (&["policy", "scope", "add", "10.0.0.0/8"], "already"),
        (&["policy", "scope", "remove", "203.0.113.0/24"], "policy scope list"),
        (&["policy", "must-protect", "remove", "10.0.0.0/8"], "policy must-protect list"),
        (&["policy", "must-protect", "remove", "db.example.org"], "policy must-protect list"),
        (&["token", "create", "--group", "sales", "--prefix", "10.0.0.0/8"], "--kind router"),
    ] {
        let sentence = domain.fails(1, arguments);
        assert!(sentence.contains(words), "{arguments:?}: {sentence}");
        assert_eq!(sentence.trim_end().lines().count(), 1, "{sentence}");
    }
    for arguments in [
        &["member", "set", "nobody"][..],
        &["token", "create", "--group", "sales", "--expires", "soon"],
        &["policy", "scope", "add", "10.0.0.1/8"],
        &["policy", "must-protect", "add", "10.0.0.1"],
        &["policy", "must-protect", "add", "not a name"],
        &["member", "set", "nobody", "--transit", "perhaps"],
        &["frobnicate"],
    ] {
        domain.fails(2, arguments);
    }
}

#[test]
fn init_refuses_a_directory_with_other_things_in_it() {
    let domain = Domain::new();
    let other = domain.data().join("other");
    std::fs::create_dir(&other).unwrap();
    std::fs::write(other.join("letter"), "dear").unwrap();
    let output = std::process::Command::new(env!("CARGO_BIN_EXE_mgmt-server"))
        .args(["init", "--listen", "127.0.0.1:0", "--data"])
        .arg(&other)
        .output()
        .unwrap();
    assert_eq!(output.status.code(), Some(1));
    assert!(String::from_utf8_lossy(&output.stderr).contains("letter"));
    assert_eq!(std::fs::read_to_string(other.join("letter")).unwrap(), "dear");
}

#[test]
fn the_root_key_can_be_taken_away() {
    let (domain, _running) = started();
    let away = domain.data().with_file_name("root.key");
    std::fs::rename(domain.data().join("root.key"), &away).unwrap();
    assert!(domain.fails(1, &["key", "issue"]).contains("--root-key"));
    let issue = ["key", "issue", "--root-key", away.to_str().unwrap()];
    assert!(domain.ok(&issue).contains("nothing to do"));
    let wrong = domain.data().join("tls.key");
    let issue = ["key", "issue", "--root-key", wrong.to_str().unwrap()];
    assert!(domain.fails(1, &issue).contains("not a root key"));
}

#[test]
fn many_commands_at_once() {
    let domain = Domain::new();
    let children: Vec<_> = (0..12)
        .map(|number| {
            let name = format!("g{number}");
            let mut command = domain.command(&["group", "create", &name]);
            command.stdout(Stdio::null()).spawn().unwrap()
        })
        .collect();
    for mut child in children {
        assert!(child.wait().unwrap().success());
    }
    let groups = domain.json(&["group", "list", "--json"]);
    let mut ids: Vec<_> =
        groups["groups"].as_array().unwrap().iter().map(|g| g["id"].as_u64().unwrap()).collect();
    ids.sort_unstable();
    assert_eq!(ids, (1..=12).collect::<Vec<_>>());
}
