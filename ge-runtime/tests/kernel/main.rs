//! The kernel-facing parts on the real kernel, in network namespaces that vanish with the test.
//!
//! Needs root (or a user namespace with a network namespace) and the programs `ip`, `ping` and
//! `nft` to look at the machine from outside; the product itself needs none of them.
#![allow(clippy::unwrap_used, reason = "a test that cannot go on ends")]

mod agent;
mod captured;
mod data;
mod failure;
mod namespace;
mod offloads;
mod probe;
mod router;
mod rules;
mod trace;
