//! `version`: the highest version of the membership ever put in force, in decimal.

/// The file's bytes.
#[must_use]
pub fn emit(version: u64) -> Vec<u8> {
    version.to_string().into_bytes()
}

/// Reads it back; `None` if it is no number. A newline that an editor left is forgiven.
#[must_use]
pub fn parse(bytes: &[u8]) -> Option<u64> {
    core::str::from_utf8(bytes).ok()?.trim().parse().ok()
}
