//! The server from outside: its program, its command line and the contract on the wire.
#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

mod server {
    mod commands;
    mod crash;
    mod enrolment;
    mod push;
    mod store_contract;
    mod support;
    mod time;
    mod transport;
}
