//! The kernel-facing parts on the real kernel, in network namespaces that vanish with the test.
//!
//! Needs root and the programs `ip`, `tc`, `ping` and `nft` to look at the machine from outside; the
//! product itself needs none of them. Under `unshare -rn` all pass but the one that asks for buffers
//! larger than this machine gives everybody.
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
