//! The negotiation between two agents, from the outside: what is agreed, and what is refused.
// Helpers are `pub` because another crate shares one of these files; a helper that cannot go on is
// a failed test.
#![allow(unreachable_pub, clippy::unwrap_used, clippy::type_complexity)]

mod certificate;
mod cookie;
mod domain;
mod epochs;
mod forgery;
mod handshake;
mod identity;
mod path;
mod run;
