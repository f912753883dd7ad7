//! What a management server and its agents say to each other, or who claims to be one of them.

use mgmt_api::{Bundle, EnrolRequest, ErrorBody, RenewRequest, Token, WhoAnswer, WhoRequest};
use serde::Serialize;
use serde::de::DeserializeOwned;

/// An enrolment token: what is accepted is written again as it was.
pub fn token(data: &[u8]) {
    let Ok(text) = core::str::from_utf8(data) else { return };
    if let Ok(token) = text.parse::<Token>() {
        assert_eq!(token.encode().as_str(), text, "a token has one spelling");
    }
}

/// A bundle.
pub fn bundle(data: &[u8]) {
    settles::<Bundle>(data);
}

/// Every other body of the contract.
pub fn rest_body(data: &[u8]) {
    settles::<EnrolRequest>(data);
    settles::<RenewRequest>(data);
    settles::<WhoRequest>(data);
    settles::<WhoAnswer>(data);
    settles::<ErrorBody>(data);
}

/// What is accepted is read again from what is written, and then written the same.
fn settles<T: Serialize + DeserializeOwned>(data: &[u8]) {
    let Ok(body) = serde_json::from_slice::<T>(data) else { return };
    let written = serde_json::to_vec(&body).expect("a body that was read can be written");
    let again: T = serde_json::from_slice(&written).expect("and read again");
    assert_eq!(serde_json::to_vec(&again).expect("as before"), written);
}
