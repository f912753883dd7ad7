//! The engine of the group-keyed network: bytes and time in, bytes and events out.
//!
//! # Driving contract
//! 1. Call one `Engine` method with a packet, a message or a timer tick and the current [`Now`].
//! 2. Drain [`Engine::poll_output`](engine::Engine::poll_output) until it says
//!    [`Output::Idle`](io::Output::Idle); only then hand in the next input.
//! 3. Sleep until `Idle { until }` at the latest, then call `Engine::tick`.
//!
//! Time and randomness are arguments: the crate reads no clock and no entropy source, does no
//! I/O, spawns nothing, and forbids `unsafe`. Two engines given the same seed and the same inputs
//! produce the same outputs, which is what makes every simulator run replayable.
//!
//! A dropped packet is an outcome with a counted [`DropReason`], never an error. Input never
//! panics; a panic means a bug.
#![forbid(unsafe_code)]
#![warn(missing_docs)]

// Unit tests share the fixture of the integration tests, which names the crate.
#[cfg(test)]
extern crate self as ge_core;

pub mod action;
pub mod addr;
pub mod batch;
mod bucket;
pub mod cert;
pub mod clear_reason;
pub mod coalesce;
pub mod crypto;
mod data;
pub mod dprp;
pub mod drop_reason;
pub mod engine;
pub mod fast_path;
pub mod flow;
pub mod fragment;
pub mod fragment6;
pub mod held;
pub mod icmp_error;
pub mod id;
pub mod io;
pub mod keyring;
pub mod limits;
pub mod membership;
pub mod mode;
pub mod now;
pub mod origin;
pub mod pit;
pub mod reassembly;
mod recent;
pub mod replay;
pub mod rule;
pub mod segment;
mod share;
pub mod shim;
pub mod timer;
pub mod traffic;
pub mod translate;
pub mod unmerge;
mod verified;
pub mod wire;

pub use action::Action;
pub use clear_reason::ClearReason;
pub use drop_reason::DropReason;
pub use id::{DomainId, Epoch, GeId, GroupId, Interface, Lane, NegotiationId, SessionIndex};
pub use mode::{Mode, Role, Transit};
pub use now::{Instant, Now, UnixTime};
