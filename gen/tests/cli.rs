//! What a shell sees of the router's program and not of the host's; the rest is shared, and tested
//! there.
#![allow(clippy::unwrap_used, clippy::panic, reason = "tests")]

use std::fs;
use std::process::{Command, Output};

/// `gen` with `arguments`, and none of this shell's settings.
fn gen_command(arguments: &[&str]) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_gen"));
    command.args(arguments);
    for (name, _) in std::env::vars_os() {
        if name.to_string_lossy().starts_with("GEN_") {
            command.env_remove(name);
        }
    }
    command
}

fn run(arguments: &[&str]) -> Output {
    gen_command(arguments).output().unwrap()
}

fn text(bytes: &[u8]) -> String {
    String::from_utf8(bytes.to_vec()).unwrap()
}

fn json(output: &Output) -> serde_json::Value {
    serde_json::from_slice(&output.stdout).unwrap()
}

#[test]
fn every_help_speaks_of_this_program() {
    let commands = ["run", "status", "flows", "ping", "down", "metrics", "completion", "config"];
    let mut helps: Vec<String> =
        commands.iter().map(|command| text(&run(&[command, "--help"]).stdout)).collect();
    helps.push(text(&run(&["--help"]).stdout));
    helps.push(text(&run(&["config", "test", "--help"]).stdout));
    for help in &helps {
        let other = help.split(|c: char| !c.is_ascii_alphanumeric()).find(|word| {
            let word = word.to_lowercase();
            word == "ges" || word == "program"
        });
        assert_eq!(other, None, "{help}");
        assert!(help.contains("/run/gen/gen.sock"), "{help}");
    }
    assert!(
        helps[0].contains("GEN_TOKEN_FILE") && helps[0].contains("GEN_PROTECT"),
        "{}",
        helps[0]
    );
    assert!(helps[0].contains("/var/lib/gen"));
}

#[test]
fn outside_and_protect_from_flag_environment_and_file() {
    let directory = tempfile::tempdir().unwrap();
    let file = directory.path().join("gen.toml");
    fs::write(&file, "outside = \"wan9\"\nprotect = [\"10.9.0.0/16\", \"fd09::/48\"]\n").unwrap();
    let shown = |arguments: &[&str], variables: &[(&str, &str)]| {
        let arguments = [&["config", "test", "--json"], arguments].concat();
        let mut command = gen_command(&arguments);
        let output = command.env("GEN_CONFIG", &file).envs(variables.iter().copied()).output();
        let report = json(&output.unwrap());
        assert_eq!(report["schema"], "gen.config/1");
        (report["settings"]["outside"].clone(), report["settings"]["protect"].clone())
    };
    let list = |texts: &[&str]| serde_json::json!(texts);
    assert_eq!(shown(&[], &[]), (list(&["wan9"]), list(&["10.9.0.0/16", "fd09::/48"])));
    let environment = [("GEN_OUTSIDE", "wan0,wan1"), ("GEN_PROTECT", "10.8.0.0/16")];
    assert_eq!(shown(&[], &environment), (list(&["wan0", "wan1"]), list(&["10.8.0.0/16"])));
    let flags = ["--outside", "wan2", "--protect", "10.7.0.0/16", "--protect", "10.6.0.0/16"];
    let wanted = (list(&["wan2"]), list(&["10.7.0.0/16", "10.6.0.0/16"]));
    assert_eq!(shown(&flags, &environment), wanted);
}

#[test]
fn ranges_that_cannot_be_meant_are_refused() {
    for (range, words) in [
        ("10.0.0.1/8", "the range is 10.0.0.0/8"),
        ("10.0.0.0", "write it as"),
        ("0.0.0.0/0", "is everybody"),
        ("::/0", "is everybody"),
    ] {
        let output = run(&["config", "test", "--protect", range]);
        assert_eq!(output.status.code(), Some(2), "{range}");
        let sentence = text(&output.stderr);
        assert!(sentence.contains(words) && sentence.lines().count() == 1, "{range}: {sentence}");
    }
}

#[test]
fn a_key_of_the_other_program_is_no_key() {
    let directory = tempfile::tempdir().unwrap();
    let file = directory.path().join("gen.toml");
    for (line, words) in [
        ("interface = \"eth0\"", "unknown key `interface`"),
        ("outsides = \"eth0\"", "did you mean `outside`?"),
    ] {
        fs::write(&file, line).unwrap();
        let output = run(&["config", "test", "--config", file.to_str().unwrap()]);
        assert_eq!(output.status.code(), Some(2));
        assert!(text(&output.stderr).contains(words), "{}", text(&output.stderr));
    }
}

#[test]
fn failures_bear_this_program_s_name() {
    let directory = tempfile::tempdir().unwrap();
    let socket = directory.path().join("none.sock");
    let output = run(&["status", "--socket", socket.to_str().unwrap()]);
    assert_eq!(output.status.code(), Some(3));
    let sentence = text(&output.stderr);
    assert!(
        sentence.starts_with("gen: ") && sentence.contains("systemctl start gen"),
        "{sentence}"
    );
    let output = run(&["status", "--json", "--socket", socket.to_str().unwrap()]);
    assert_eq!(json(&output)["schema"], "gen.error/1");
}
