//! End to end on the real kernel: a lab of network namespaces, and the scenarios run in it.
//!
//! A [`nest`] gives a process fresh namespaces that vanish with it, for root and for ordinary
//! users alike. In it a [`Lab`] builds a small network of [`Host`]s; [`Server`] and [`Agent`] run
//! the programs under test by their command lines only, [`Capture`] sees what a wire tap would
//! see, and [`Stream`](stream::Stream) and [`ping`](ping::ping) are traffic that needs no other
//! program. `cargo xtask e2e` runs the [`scenario`]s, `cargo xtask demo` tells a story with the
//! same parts.

pub mod agent;
pub mod capture;
pub mod host;
pub mod lab;
pub mod machine;
pub mod matrix;
pub mod nest;
pub mod pair;
pub mod ping;
pub mod process;
pub mod programs;
pub mod proof;
pub mod row;
pub mod runner;
pub mod scenario;
mod scenarios;
pub mod server;
pub mod ssh;
pub mod stream;
pub mod tools;
pub mod udp;
pub mod wait;

pub use agent::{Agent, RouterRequest};
pub use capture::{Capture, Tally};
pub use host::{DEV, Host};
pub use lab::Lab;
pub use machine::Machine;
pub use pair::Pair;
pub use process::Process;
pub use row::Row;
pub use server::{Server, TokenRequest};
