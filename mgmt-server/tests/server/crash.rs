//! Killed at any moment, everything that was answered is there and nothing is half there.

use super::support::{Agent, Domain};
use std::process::Stdio;
use std::time::Instant;

#[test]
fn commands_killed_at_any_moment_leave_whole_groups() {
    let domain = Domain::new();
    let start = Instant::now();
    domain.ok(&["group", "create", "whole"]);
    let whole = start.elapsed();

    // Kills spread over the life of the command, from its first instruction to past its end.
    let (mut done, mut killed) = (Vec::new(), 0);
    for round in 0..60u32 {
        let name = format!("g{round}");
        let mut command = domain.command(&["group", "create", &name]);
        let mut child = command.stdout(Stdio::null()).spawn().unwrap();
        if round < 56 {
            std::thread::sleep(whole * round / 40);
            let _ = child.kill();
        }
        if child.wait().unwrap().success() {
            done.push(name);
        } else {
            killed += 1;
        }
    }
    assert!(killed > 0 && done.len() >= 4, "{killed} killed, {} done", done.len());
    let groups = domain.json(&["group", "list", "--json"]);
    let groups = groups["groups"].as_array().unwrap();
    for name in &done {
        assert!(groups.iter().any(|group| group["name"] == name.as_str()), "{name} is lost");
    }
    let file = rusqlite::Connection::open(domain.data().join("mgmt.db")).unwrap();
    let sound: String = file.query_row("PRAGMA integrity_check", [], |row| row.get(0)).unwrap();
    assert_eq!(sound, "ok");
    let count = |sql: &str| file.query_row(sql, [], |row| row.get::<_, i64>(0)).unwrap();
    let made = count("SELECT count(*) FROM groups");
    println!("{killed} killed, {} answered, {made} made", done.len());
    assert_eq!(count("SELECT count(*) FROM epochs WHERE scope > 0"), made * 2);
    assert_eq!(count("SELECT count(*) FROM audit WHERE action = 'group.create'"), made);
}

#[tokio::test(flavor = "multi_thread")]
async fn what_a_killed_server_answered_is_there_after_restart() {
    let domain = Domain::new();
    domain.ok(&["group", "create", "sales"]);
    let mut running = domain.run();
    let mut version = 0;
    let mut members = 0;
    for round in 0..5 {
        let token = domain.token(&["--uses", "9"]);
        for number in 0..3 {
            let agent = Agent::new(running.address, round * 10 + number);
            let bundle = agent.enrol(&token).await.unwrap();
            assert!(bundle.version > version, "versions never go back");
            version = bundle.version;
            members += 1;
        }
        running.kill();
        running = domain.run();
        let list = domain.json(&["member", "list", "--json"]);
        assert_eq!(list["members"].as_array().unwrap().len(), members);
        let again = Agent::new(running.address, round * 10);
        assert!(again.next(0).await.unwrap().version <= version);
    }
}

#[test]
fn an_interrupted_init_is_repeated() {
    let domain = Domain::new();
    let half = domain.data().with_file_name("half");
    std::fs::create_dir(&half).unwrap();
    for name in ["root.key", "tls.key", "mgmt.db.new", "mgmt.db.new-wal"] {
        std::fs::write(half.join(name), "half").unwrap();
    }
    let status = std::process::Command::new(env!("CARGO_BIN_EXE_mgmt-server"))
        .args(["init", "--listen", "127.0.0.1:0", "--data"])
        .arg(&half)
        .stdout(Stdio::null())
        .status()
        .unwrap();
    assert!(status.success());
    let root = std::fs::read_to_string(half.join("root.key")).unwrap();
    assert!(root.starts_with("-----BEGIN PRIVATE KEY-----"));
}
