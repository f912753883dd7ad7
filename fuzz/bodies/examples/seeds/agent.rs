//! Right inputs of what an agent reads beside packets.

use fuzz_bodies::member;
use ge_core::UnixTime;
use ge_core::flow::HostPair;
use ge_runtime::control::REQUEST_MAX;
use ge_runtime::state_dir::memory_file::{self, Remembered};
use ge_runtime::state_dir::{Enrolment, enrolment_file, identity_file, sealed};
use mgmt_api::{Bundle, HexBytes};
use serde_json::{Value, json};

const BUNDLE: &[u8] = include_bytes!("../../../../mgmt-api/tests/golden/bundle.json");

/// Right inputs of a target.
pub(crate) fn right(target: &str) -> Vec<Vec<u8>> {
    match target {
        "control_request" => requests(),
        "control_answer" => answers(),
        "config_file" => config_files(),
        "identity_file" => vec![identity_file::emit(&member(1)).to_vec()],
        "enrolment_file" => vec![enrolment()],
        "version_file" => {
            vec![b"7".to_vec(), b"1800000000\n".to_vec(), b"18446744073709551615".to_vec()]
        }
        "sealed_membership" => vec![sealed::seal(&member(1), &[7; sealed::NONCE], BUNDLE)],
        "memory_file" => memories(),
        other => panic!("no seeds for target {other}"),
    }
}

fn memories() -> Vec<Vec<u8>> {
    let pair = |local: &str, remote: &str| {
        let parse = |text: &str| text.parse().expect("an address");
        HostPair::new(parse(local), parse(remote))
    };
    let sticky = vec![
        (pair("10.0.0.1", "10.0.0.2"), UnixTime(1_800_000_000)),
        (pair("fd00::1", "fd00::2"), UnixTime(u64::MAX)),
    ];
    let name = || "db.example.org".parse().expect("a name");
    let named = vec![
        (name(), "10.0.0.9".parse().expect("an address"), UnixTime(7)),
        (name(), "2001:db8::9".parse().expect("an address"), UnixTime(8)),
    ];
    [
        Remembered::default(),
        Remembered { ahead: -7, sticky: sticky.clone(), named: Vec::new() },
        Remembered { ahead: 7, sticky: Vec::new(), named: named.clone() },
        Remembered { ahead: i64::MAX, sticky, named },
    ]
    .iter()
    .map(memory_file::emit)
    .collect()
}

fn requests() -> Vec<Vec<u8>> {
    let requests = [
        json!({"request": "status"}),
        json!({"request": "flows", "verdict": "dropped"}),
        json!({"request": "probe", "address": "2001:db8::1"}),
        json!({"request": "echo", "address": "192.0.2.1", "sequence": 65_535}),
    ];
    let lines = requests.iter().map(|request| format!("{request}\n"));
    // One that is right but for its length.
    let padded = format!("{}{:REQUEST_MAX$}", requests[0], "");
    lines.chain([padded]).map(String::into_bytes).collect()
}

fn answers() -> Vec<Vec<u8>> {
    let of_report = |answer: &str, report: &str| {
        let mut value: Value = serde_json::from_str(report).expect("a golden file");
        value["answer"] = answer.into();
        value.to_string().into_bytes()
    };
    let echo = json!({"answer": "echo", "sequence": 7, "round_trip_seconds": 0.0015});
    let refused = json!({"answer": "refused", "code": 9, "message": "you may not"});
    vec![
        of_report(
            "status",
            include_str!("../../../../agent-cli/tests/golden/status-problems.json"),
        ),
        of_report("flows", include_str!("../../../../agent-cli/tests/golden/flows.json")),
        echo.to_string().into_bytes(),
        refused.to_string().into_bytes(),
    ]
}

/// The example with every setting in force, and others that are short, odd or wrong.
fn config_files() -> Vec<Vec<u8>> {
    let example = include_str!("../../../../ges/dist/ges.toml");
    let settings = example.lines().filter(|line| line.contains(" = "));
    let all: Vec<&str> = settings.map(|line| line.trim_start_matches("# ")).collect();
    let text = [
        "interface = \"eth0\"\nmetrics = \"[::1]:9586\"\n",
        "log-fromat = \"json\"\n",
        "\"log\\nformat\" = 1\n",
        "server = \"a\"\nserver = \"b\"\n",
    ];
    text.iter().map(|text| text.as_bytes().to_vec()).chain([all.join("\n").into_bytes()]).collect()
}

fn enrolment() -> Vec<u8> {
    let bundle: Bundle = serde_json::from_slice(BUNDLE).expect("a golden file");
    let servers = ["192.0.2.1:7443", "[2001:db8::1]:7443", "mgmt.example:7443"];
    let servers = servers.map(|server| server.parse().expect("an address"));
    enrolment_file::emit(&Enrolment::new(servers.to_vec(), HexBytes([3; 32]), &bundle))
}
