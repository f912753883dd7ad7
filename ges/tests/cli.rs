//! The program as a shell sees it: exit codes, streams, precedence of settings, refusals.
#![allow(clippy::unwrap_used, clippy::panic, reason = "tests")]

#[path = "../../ge-runtime/tests/engine/mod.rs"]
mod engine;

use engine::Agent;
use nix::fcntl::OFlag;
use nix::sched::{CloneFlags, unshare};
use nix::sys::stat::Mode;
use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::os::unix::net::UnixListener;
use std::os::unix::process::CommandExt;
use std::path::Path;
use std::process::{Command, Output, Stdio};

const NOBODY: u32 = 65_534;

/// `ges` with `arguments`, and none of this shell's settings.
fn ges(arguments: &[&str]) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_ges"));
    command.args(arguments);
    for (name, _) in std::env::vars_os() {
        if name.to_string_lossy().starts_with("GES_") {
            command.env_remove(name);
        }
    }
    command
}

fn ask(agent: &Agent, arguments: &[&str]) -> Output {
    ges(arguments).arg("--socket").arg(agent.socket()).output().unwrap()
}

fn code(output: &Output) -> i32 {
    output.status.code().unwrap()
}

fn stdout(output: &Output) -> String {
    String::from_utf8(output.stdout.clone()).unwrap()
}

fn json(output: &Output) -> serde_json::Value {
    serde_json::from_slice(&output.stdout).unwrap()
}

#[test]
fn the_help_lists_every_exit_code() {
    let output = ges(&["--help"]).output().unwrap();
    assert_eq!(code(&output), 0);
    let text = stdout(&output);
    for number in 0..10 {
        assert!(text.contains(&format!("\n  {number}  ")), "{text}");
    }
}

#[test]
fn wrong_usage_is_2() {
    for arguments in [
        &["bogus"][..],
        &["status", "--bogus"],
        &["ping"],
        &["flows", "--verdict", "encrypted"],
        &["config", "test", "--metrics", "9100"],
        &["config", "test", "--server", "http://mgmt.example"],
    ] {
        let output = ges(arguments).output().unwrap();
        assert_eq!(code(&output), 2, "{arguments:?}");
        assert!(output.stdout.is_empty() && !output.stderr.is_empty(), "{arguments:?}");
    }
    let output = ges(&["ping", "--json"]).output().unwrap();
    assert_eq!(code(&output), 2);
    assert_eq!(json(&output)["schema"], "ges.error/1");
    assert_eq!(json(&output)["error"]["code"], 2);
}

#[test]
fn no_agent_is_3() {
    let directory = tempfile::tempdir().unwrap();
    let socket = directory.path().join("none.sock");
    for arguments in [&["status"][..], &["flows"], &["metrics"], &["down"], &["ping", "127.0.0.1"]]
    {
        let output = ges(arguments).arg("--socket").arg(&socket).output().unwrap();
        assert_eq!(code(&output), 3, "{arguments:?}");
        assert!(output.stdout.is_empty(), "{arguments:?}");
    }
    let output = ges(&["status", "--json"]).arg("--socket").arg(&socket).output().unwrap();
    assert_eq!(json(&output)["error"]["code"], 3);
}

#[test]
fn status_flows_and_metrics_of_a_running_agent() {
    let agent = Agent::start("clear");
    let status = ask(&agent, &["status", "--json", "--check"]);
    assert_eq!((code(&status), &json(&status)["schema"]), (0, &"ges.status/1".into()));
    let flows = ask(&agent, &["flows", "--json"]);
    assert_eq!(json(&flows)["flows"][0]["verdict"], "clear");
    assert_eq!(stdout(&ask(&agent, &["flows", "--verdict", "dropped"])), "no flows\n");
    assert!(stdout(&ask(&agent, &["metrics"])).contains("ges_build_info{version="));
}

#[test]
fn running_without_permission_is_9_and_touches_nothing() {
    if !nix::unistd::geteuid().is_root() {
        eprintln!("needs root to become another user: not run");
        return;
    }
    let directory = tempfile::tempdir().unwrap();
    open_to_all(directory.path());
    let program = directory.path().join("ges");
    // Copied by another process: were the file open for writing here, a process that another test
    // starts at this moment would hold it open too, and it could not be run (ETXTBSY).
    let copied = Command::new("cp").arg(env!("CARGO_BIN_EXE_ges")).arg(&program).status().unwrap();
    assert!(copied.success());
    let mut command = Command::new(&program);
    command.args(["run", "--state"]).arg(directory.path().join("state"));
    command.arg("--socket").arg(directory.path().join("ges.sock"));
    let output = command.uid(NOBODY).gid(NOBODY).output().unwrap();
    assert_eq!(code(&output), 9);
    let text = String::from_utf8(output.stderr).unwrap();
    assert!(text.contains("CAP_NET_ADMIN") && text.contains("run: sudo ges run"), "{text}");
    assert_eq!(fs::read_dir(directory.path()).unwrap().count(), 1);
}

#[test]
fn not_enrolled_is_4() {
    let agent = Agent::start_with(None, "clear");
    assert_eq!(code(&ask(&agent, &["status"])), 4);
    assert_eq!(code(&ask(&agent, &["ping", "127.0.0.1"])), 4);
}

#[test]
fn ping_ends_with_the_verdict() {
    let cases: [(&str, &[&str], i32); 5] = [
        ("clear", &["ping", "127.0.0.1", "-c", "0"], 0),
        ("clear", &["ping", "127.0.0.1", "-c", "0", "--require-protected"], 7),
        ("protected", &["ping", "127.0.0.1", "-c", "0", "--require-protected"], 0),
        ("dropped", &["ping", "127.0.0.1"], 6),
        ("pending", &["ping", "127.0.0.1", "--json"], 8),
    ];
    for (verdict, arguments, expected) in cases {
        let agent = Agent::start(verdict);
        let output = ask(&agent, arguments);
        assert_eq!(code(&output), expected, "{verdict} {arguments:?}");
        assert!(stdout(&output).contains(verdict), "{}", stdout(&output));
    }
}

#[test]
fn down_stops_and_purge_removes() {
    let mut agent = Agent::start("clear");
    let state = agent.options.state.clone();
    fs::create_dir(&state).unwrap();
    fs::set_permissions(&state, fs::Permissions::from_mode(0o700)).unwrap();
    fs::write(state.join("identity"), "x").unwrap();
    let arguments = ["down", "--purge", "--json", "--state"];
    let mut down = alone(ges(&arguments));
    down.arg(&state).arg("--socket").arg(agent.socket()).stdout(Stdio::piped());
    let child = down.spawn().unwrap();
    agent.wait_stopped();
    let output = child.wait_with_output().unwrap();
    assert_eq!(code(&output), 0, "{}", stdout(&output));
    assert_eq!(kinds(&output), ["agent", "state"]);
    assert!(!state.exists());
}

#[test]
fn purge_works_without_an_agent_and_twice() {
    let directory = tempfile::tempdir().unwrap();
    let socket = directory.path().join("ges.sock");
    let state = directory.path().join("state");
    // What a killed agent leaves.
    drop(UnixListener::bind(&socket).unwrap());
    for expected in [&["socket"][..], &[]] {
        let arguments = ["down", "--purge", "--json", "--state"];
        let mut down = alone(ges(&arguments));
        let output = down.arg(&state).arg("--socket").arg(&socket).output().unwrap();
        assert_eq!(code(&output), 0, "{}", stdout(&output));
        assert_eq!(kinds(&output), expected);
    }
}

fn kinds(output: &Output) -> Vec<String> {
    let report = json(output);
    let reverted = report["reverted"].as_array().unwrap();
    reverted.iter().map(|reverted| reverted["kind"].as_str().unwrap().to_owned()).collect()
}

/// `command` in a network namespace of its own, so that purging touches no rule of this host. An
/// ordinary user is root there.
fn alone(mut command: Command) -> Command {
    let user = nix::unistd::geteuid();
    let (mut flags, map) = (CloneFlags::CLONE_NEWNET, format!("0 {user} 1"));
    if !user.is_root() {
        flags |= CloneFlags::CLONE_NEWUSER;
    }
    let enter = move || {
        unshare(flags)?;
        if !user.is_root() {
            let own = nix::fcntl::open(c"/proc/self/uid_map", OFlag::O_WRONLY, Mode::empty())?;
            nix::unistd::write(&own, map.as_bytes())?;
        }
        Ok(())
    };
    // SAFETY: these are bare system calls, which may run between fork and exec.
    unsafe { command.pre_exec(enter) };
    command
}

#[test]
fn a_stranger_is_refused_with_the_command_to_run() {
    if !nix::unistd::geteuid().is_root() {
        eprintln!("needs root to become another user: not run");
        return;
    }
    let agent = Agent::start("clear");
    // Let the stranger as far as the agent's own check: file modes alone would stop it.
    open_to_all(agent.directory.path());
    let program = agent.directory.path().join("ges");
    // Copied by another process: were the file open for writing here, a process that another test
    // starts at this moment would hold it open too, and it could not be run (ETXTBSY).
    let copied = Command::new("cp").arg(env!("CARGO_BIN_EXE_ges")).arg(&program).status().unwrap();
    assert!(copied.success());
    for open in [true, false] {
        let mode = if open { 0o666 } else { 0o600 };
        fs::set_permissions(agent.socket(), fs::Permissions::from_mode(mode)).unwrap();
        for command in ["status", "down"] {
            let output = Command::new(&program)
                .args([command, "--socket"])
                .arg(agent.socket())
                .uid(NOBODY)
                .gid(NOBODY)
                .output()
                .unwrap();
            assert_eq!(code(&output), 9, "{command}, socket open: {open}");
            let text = String::from_utf8(output.stderr).unwrap();
            assert!(text.contains(&format!("run: sudo ges {command}")), "{text}");
            assert!(output.stdout.is_empty());
        }
    }
    assert!(agent.is_running());
}

fn open_to_all(directory: &Path) {
    fs::set_permissions(directory, fs::Permissions::from_mode(0o755)).unwrap();
}

#[test]
fn flag_before_environment_before_file() {
    let directory = tempfile::tempdir().unwrap();
    let file = directory.path().join("ges.toml");
    fs::write(&file, "state = \"/file\"\nlog = \"debug\"\nmetrics = \"127.0.0.1:1\"\n").unwrap();
    let output = ges(&["config", "test", "--json", "--state", "/flag"])
        .env("GES_CONFIG", &file)
        .env("GES_STATE", "/env")
        .env("GES_LOG", "warn")
        .env("GES_INTERFACE", "eth0,eth1")
        .output()
        .unwrap();
    assert_eq!(code(&output), 0);
    let report = json(&output);
    let settings = &report["settings"];
    assert_eq!(settings["state"], "/flag");
    assert_eq!(settings["log"], "warn");
    assert_eq!(settings["metrics"], "127.0.0.1:1");
    assert_eq!(settings["interface"], serde_json::json!(["eth0", "eth1"]));
    assert_eq!(settings["log-format"], "text");
    assert_eq!(report["file"], file.to_str().unwrap());
}

#[test]
fn an_unknown_key_names_the_nearest() {
    let directory = tempfile::tempdir().unwrap();
    let file = directory.path().join("ges.toml");
    fs::write(&file, "tokenfile = \"/x\"\n").unwrap();
    let output = ges(&["config", "test", "--config"]).arg(&file).output().unwrap();
    assert_eq!(code(&output), 2);
    let text = String::from_utf8(output.stderr).unwrap();
    assert!(text.contains("unknown key `tokenfile`; did you mean `token-file`?"), "{text}");
    assert_eq!(text.lines().count(), 1, "{text}");
}

#[test]
fn a_named_file_must_exist() {
    let output = ges(&["config", "test", "--config", "/does/not/exist"]).output().unwrap();
    assert_eq!(code(&output), 2);
}

#[test]
fn completion_scripts_name_the_commands() {
    for shell in ["bash", "zsh", "fish"] {
        let output = ges(&["completion", shell]).output().unwrap();
        assert_eq!(code(&output), 0);
        assert!(stdout(&output).contains("status"), "{shell}");
    }
}
