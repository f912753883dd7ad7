//! What an agent reads beside packets: its control socket, its configuration, and what it kept.

use crate::domain::Domain;
use ge_core::crypto::sha256;
use ge_core::membership::Identity;
use ge_runtime::config_file;
use ge_runtime::control::{Answer, REQUEST_MAX, parse_request};
use ge_runtime::program::Program;
use ge_runtime::state_dir::{
    enrolment_file, identity_file, memory_file as remembered, sealed, version_file,
};

/// Longest request that is meant.
const MEANT_MAX: usize = 120;
/// A refusal may quote what it refuses, escaped: six characters for a byte, and words around it.
const QUOTED: usize = 6;
const WORDS: usize = 256;

/// A request on the control socket: what is accepted is short once written and reads the same; a
/// refusal is in proportion to what was sent.
pub fn control_request(data: &[u8]) {
    match parse_request(data) {
        Ok(request) => {
            assert!(data.len() <= REQUEST_MAX, "accepted over the limit");
            let written = serde_json::to_vec(&request).expect("requests can be written");
            assert!(written.len() <= MEANT_MAX, "{} bytes", written.len());
            assert_eq!(parse_request(&written).ok(), Some(request), "reads as written");
        }
        Err(refusal) => {
            let said = refusal.to_string().len();
            assert!(said <= QUOTED * data.len().min(REQUEST_MAX) + WORDS, "{said} bytes");
        }
    }
}

/// An answer on the control socket, as a command reads it: one line, which can be read again.
/// Numbers may move by their last digit.
pub fn control_answer(data: &[u8]) {
    let Ok(answer) = serde_json::from_slice::<Answer>(data) else { return };
    let written = serde_json::to_vec(&answer).expect("answers can be written");
    assert!(!written.contains(&b'\n'), "one line");
    serde_json::from_slice::<Answer>(&written).expect("and read again");
}

/// A configuration file: what is accepted is written and read again with the same meaning, and
/// with one more key is refused; a refusal is one line that a terminal can show, in proportion.
pub fn config_file(data: &[u8]) {
    let Ok(text) = core::str::from_utf8(data) else { return };
    for program in [Program::Ges, Program::Gen] {
        match config_file::parse(program, text) {
            Ok(file) => {
                let written = toml::to_string(&file).expect("a configuration can be written");
                assert_eq!(config_file::parse(program, &written), Ok(file), "reads as written");
                let stray = format!("stray = 1\n{text}");
                assert!(config_file::parse(program, &stray).is_err(), "unknown key");
            }
            Err(refusal) => {
                assert!(!refusal.contains(char::is_control), "{refusal:?}");
                assert!(refusal.len() <= QUOTED * text.len() + WORDS, "{} bytes", refusal.len());
            }
        }
    }
}

/// An identity file, with its check put right: there is one for each pair of keys.
pub fn identity_file(data: &[u8]) {
    let mut file = data.to_vec();
    if let Some((body, check)) = file.split_last_chunk_mut::<4>() {
        check.copy_from_slice(&sha256(&[body])[..4]);
    }
    for file in [data, &file] {
        if let Some(identity) = identity_file::parse(file) {
            assert_eq!(identity_file::emit(&identity)[..], *file, "one file");
        }
    }
}

/// An enrolment file: what is accepted reads the same from what is written.
pub fn enrolment_file(data: &[u8]) {
    let Some(enrolment) = enrolment_file::parse(data) else { return };
    let written = enrolment_file::emit(&enrolment);
    assert_eq!(enrolment_file::parse(&written), Some(enrolment), "reads as written");
}

/// A version file: a number, and at most white space around it.
pub fn version_file(data: &[u8]) {
    let Some(version) = version_file::parse(data) else { return };
    assert_eq!(version_file::parse(&version_file::emit(version)), Some(version));
    let text = core::str::from_utf8(data).expect("a number is text").trim();
    let digits = text.trim_start_matches('+').trim_start_matches('0');
    assert_eq!(digits, version.to_string().trim_start_matches('0'), "every digit counts");
}

/// A sealed membership: there is one file for each nonce and text; another identity opens none.
pub fn sealed_membership(data: &[u8]) {
    let [ours, other] = [1, 2].map(member);
    if let Some(text) = sealed::open(&ours, data) {
        let nonce = data[8..].first_chunk().expect("the file was opened");
        assert_eq!(sealed::seal(&ours, nonce, &text), data, "one file");
        assert!(sealed::open(&other, data).is_none(), "another identity");
    }
    let file = sealed::seal(&ours, &[7; sealed::NONCE], data);
    assert_eq!(sealed::open(&ours, &file).as_ref().map(|text| text.as_slice()), Some(data));
}

/// What is remembered of destinations: one file for each content.
pub fn memory_file(data: &[u8]) {
    if let Some(content) = remembered::parse(data) {
        assert_eq!(remembered::emit(&content), data, "one file");
    }
}

/// Whose membership the corpus of [`sealed_membership`] holds: number 1.
#[must_use]
pub fn member(number: u8) -> Identity {
    Domain::new(1).member(number, &[]).identity
}
