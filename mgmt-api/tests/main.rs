//! The contract as bytes: every body against its golden file, and every refusal of the token.

#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

use mgmt_api::{
    Bundle, EnrolRequest, ErrorBody, ErrorCode, Group, HexBytes, HexVec, IssuerStatement, KeyEpoch,
    Kind, Lease, Mode, Prefix, RenewRequest, Revocation, Secret, ServerAddress, Token, TokenError,
    Transit, limits,
};
use serde::{Serialize, de::DeserializeOwned};

/// `body` must print as the golden file, and the golden file must read back to the same body.
/// Set `UPDATE_GOLDEN=1` to write the files anew after a deliberate change.
fn golden<T: Serialize + DeserializeOwned>(name: &str, body: &T) {
    let path = format!("{}/tests/golden/{name}.json", env!("CARGO_MANIFEST_DIR"));
    let printed = serde_json::to_string_pretty(body).unwrap() + "\n";
    if std::env::var_os("UPDATE_GOLDEN").is_some() {
        std::fs::write(&path, &printed).unwrap();
    }
    let wanted = std::fs::read_to_string(&path).unwrap();
    assert_eq!(printed, wanted, "{name}");
    let read: T = serde_json::from_str(&wanted).unwrap();
    assert_eq!(serde_json::to_string_pretty(&read).unwrap() + "\n", wanted, "{name} read back");
}

fn prefix(text: &str) -> Prefix {
    text.parse().unwrap()
}

fn enrol_request() -> EnrolRequest {
    EnrolRequest {
        token: HexBytes([1; 8]),
        secret: Secret::new([2; 32]),
        noise_key: HexBytes([3; 32]),
        name: "files".into(),
        kind: Kind::Host,
        aes: true,
        subnets: vec![prefix("10.20.0.0/16"), prefix("fd00:1::/64")],
    }
}

fn epoch(number: u32, byte: u8) -> KeyEpoch {
    KeyEpoch {
        epoch: number,
        key: Secret::new([byte; 32]),
        not_before: 1_700_000_000,
        not_after: 1_700_087_000,
    }
}

fn bundle() -> Bundle {
    Bundle {
        version: 7,
        server_time: 1_700_000_123,
        domain: HexBytes([0xd0; 8]),
        agent: HexBytes([0xa0; 16]),
        name: "files".into(),
        kind: Kind::Router,
        prefixes: vec![prefix("10.30.0.0/16")],
        mode: Mode::Closed,
        observe: false,
        transit: Transit::Strict,
        certificate: HexVec(vec![0xce, 0x47]),
        lease: Lease { issued: 1_700_000_000, renew_after: 1_700_028_800, expires: 1_700_086_400 },
        root_key: HexBytes([0x40; 32]),
        issuers: vec![IssuerStatement {
            key: HexBytes([0x15; 32]),
            not_before: 1_700_000_000,
            not_after: 1_702_592_000,
            signature: HexBytes([0x51; 64]),
        }],
        domain_keys: vec![epoch(1, 0x71), epoch(2, 0x72)],
        groups: vec![Group {
            id: 3,
            name: "sales".into(),
            priority: 100,
            keys: vec![epoch(4, 0x64)],
            commit_key: Secret::new([0xcc; 32]),
        }],
        revocations: vec![Revocation {
            serial: HexBytes([5; 16]),
            agent: HexBytes([6; 16]),
            identity_key: HexBytes([7; 32]),
            noise_key: HexBytes([8; 32]),
        }],
        search_scope: vec![prefix("10.0.0.0/8"), prefix("fc00::/7")],
        must_protect: vec![prefix("10.30.9.0/24")],
        must_protect_names: vec!["db.example.org".parse().unwrap()],
    }
}

#[test]
fn bodies_are_as_the_golden_files_say() {
    golden("enrol-request", &enrol_request());
    golden("renew-request", &RenewRequest { noise_key: HexBytes([3; 32]), aes: false });
    golden("bundle", &bundle());
    golden(
        "error",
        &ErrorBody { code: ErrorCode::TokenUsed, message: "the token was used up".into() },
    );
}

#[test]
fn unknown_fields_and_codes_of_a_newer_server_are_read() {
    let text = serde_json::to_string(&bundle()).unwrap();
    let longer = format!("{{\"news\":[1],{}", &text[1..]);
    assert_eq!(serde_json::from_str::<Bundle>(&longer).unwrap().version, 7);
    let error: ErrorBody = serde_json::from_str(r#"{"code":"newer","message":"m"}"#).unwrap();
    assert_eq!(error.code, ErrorCode::Unknown);
}

#[test]
fn a_bundle_from_before_routers_is_read() {
    let mut old = serde_json::to_value(bundle()).unwrap();
    for later in ["transit", "must_protect", "must_protect_names", "observe"] {
        assert!(old.as_object_mut().unwrap().remove(later).is_some(), "{later}");
    }
    let read: Bundle = serde_json::from_value(old).unwrap();
    assert_eq!((read.transit, read.must_protect), (Transit::Vouched, Vec::new()));
    assert_eq!((read.must_protect_names, read.observe), (Vec::new(), false));
}

#[test]
fn hostile_bodies_are_refused() {
    let bad = [
        r#"{"noise_key":"00","aes":true}"#,
        r#"{"noise_key":"zz","aes":true}"#,
        r#"{"aes":true,"aes":false}"#,
        r#"{"noise_key":18446744073709551616,"aes":true}"#,
        r#"{"noise_key":NaN,"aes":true}"#,
        "[]",
        "",
    ];
    for text in bad {
        assert!(serde_json::from_str::<RenewRequest>(text).is_err(), "{text}");
    }
    let deep = "[".repeat(10_000);
    assert!(serde_json::from_str::<RenewRequest>(&deep).is_err());
    assert!(serde_json::from_slice::<RenewRequest>(&[0xff, 0xfe]).is_err());
}

#[test]
fn secrets_are_not_in_debug_output() {
    let shown = format!("{:?} {:?}", enrol_request(), bundle());
    assert!(shown.contains("redacted"));
    for byte in [0x02u8, 0x64, 0xcc, 0x71] {
        let decimal = vec![byte.to_string(); 4].join(", ");
        let hexadecimal = format!("{byte:02x}").repeat(32);
        assert!(!shown.contains(&decimal) && !shown.contains(&hexadecimal), "{byte:#x}");
    }
}

fn token() -> Token {
    Token {
        fingerprint: HexBytes([9; 32]),
        id: HexBytes([1, 2, 3, 4, 5, 6, 7, 8]),
        secret: Secret::new([0x5e; 32]),
        servers: vec!["10.0.0.1:8443".parse().unwrap(), "[fd00::1]:8443".parse().unwrap()],
    }
}

#[test]
fn token_round_trip() {
    let text = token().encode();
    assert!(text.starts_with("gst1_"));
    assert!(text.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"-_".contains(&byte)));
    let read: Token = format!("  {}\n", *text).parse().unwrap();
    assert_eq!(read.fingerprint, token().fingerprint);
    assert_eq!(read.id, token().id);
    assert_eq!(read.secret.expose(), token().secret.expose());
    assert_eq!(read.servers, token().servers);
}

#[test]
fn every_changed_or_cut_token_is_refused() {
    let text = token().encode();
    assert_eq!("hello".parse::<Token>().unwrap_err(), TokenError::Form);
    for cut in 5..text.len() {
        assert_eq!(text[..cut].parse::<Token>().unwrap_err(), TokenError::Damaged, "cut at {cut}");
    }
    for place in 5..text.len() {
        let mut changed = text.as_bytes().to_vec();
        changed[place] = if changed[place] == b'A' { b'B' } else { b'A' };
        let changed = String::from_utf8(changed).unwrap();
        assert!(changed.parse::<Token>().is_err(), "changed at {place}");
    }
}

#[test]
fn server_addresses() {
    for (text, shown) in [
        ("https://10.0.0.1:8443", "10.0.0.1:8443"),
        ("https://mgmt.example:443/", "mgmt.example:443"),
        ("[::1]:9", "[::1]:9"),
    ] {
        assert_eq!(text.parse::<ServerAddress>().unwrap().to_string(), shown);
    }
    for text in
        ["", "10.0.0.1", "http://10.0.0.1:1", "host:0", "host:65536", "a b:1", "[x]:1", ":1"]
    {
        assert!(text.parse::<ServerAddress>().is_err(), "{text}");
    }
}

#[test]
fn prefixes() {
    for text in ["0.0.0.0/0", "10.0.0.0/8", "fc00::/7", "::/0", "192.0.2.1/32"] {
        assert_eq!(prefix(text).to_string(), text);
    }
    for text in ["10.0.0.1/8", "10.0.0.0/33", "fc00::/129", "10.0.0.0", "x/8", "10.0.0.0/-1"] {
        assert!(text.parse::<Prefix>().is_err(), "{text}");
    }
}

#[test]
fn ranges_in_ranges() {
    let cases = [
        ("10.0.0.0/8", "10.1.0.0/16", true),
        ("10.1.0.0/16", "10.1.0.0/16", true),
        ("10.1.0.0/16", "10.0.0.0/8", false),
        ("10.1.0.0/16", "10.2.0.0/16", false),
        ("0.0.0.0/0", "10.1.0.0/16", true),
        ("0.0.0.0/0", "fd00::/8", false),
        ("::/0", "10.0.0.0/8", false),
        ("fc00::/7", "fd12::/16", true),
    ];
    for (outer, inner, covered) in cases {
        assert_eq!(prefix(outer).covers(&prefix(inner)), covered, "{outer} {inner}");
    }
}

#[test]
fn names() {
    for name in ["a", "files", "web-1.corp_x", &"n".repeat(63)] {
        assert!(limits::is_name(name), "{name}");
    }
    for name in ["", "-x", ".x", "a b", "é", "a\n", "a;b", &"n".repeat(64)] {
        assert!(!limits::is_name(name), "{name}");
    }
}
