//! All side effects of an agent: hook, sockets, clock, entropy, control socket, metrics, logs.
//!
//! The packet path is one thread around the sans-IO engine of ge-core; everything for people and
//! servers runs on tokio beside it and talks to it by [`command`].

pub mod command;
pub mod control;
pub mod echo;
pub mod exit;
pub mod frontend;
pub mod metrics;
pub mod notify;
pub mod options;
pub mod report;
pub mod telemetry;
