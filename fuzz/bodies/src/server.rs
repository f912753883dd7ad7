//! What comes from a management server, or from whoever claims to be one: tokens and bundles.

use mgmt_api::{Bundle, Token};

/// An enrolment token: what is accepted is written again as it was.
pub fn token(data: &[u8]) {
    let Ok(text) = core::str::from_utf8(data) else { return };
    if let Ok(token) = text.parse::<Token>() {
        assert_eq!(token.encode().as_str(), text, "a token has one spelling");
    }
}

/// A bundle: what is accepted is read again from what is written.
pub fn bundle(data: &[u8]) {
    let Ok(bundle) = serde_json::from_slice::<Bundle>(data) else { return };
    let written = serde_json::to_vec(&bundle).expect("a bundle that was read can be written");
    let again: Bundle = serde_json::from_slice(&written).expect("and read again");
    assert_eq!(serde_json::to_vec(&again).expect("as before"), written);
}
