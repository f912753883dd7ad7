//! The management server: groups, keys and modes of one domain, handed to its members.
//!
//! ```text
//!   command line ──┐                         ┌── store (SQLite file)
//!                  ├── app (one transaction ─┤
//!   https ── http ─┘    per act)             └── keyring, certificates
//! ```
//!
//! The [`app`] knows neither HTTP nor SQL. Commands work on the file beside the running server,
//! which sees each commit within a tenth of a second and answers the long polls it concerns. The
//! agents' road is TLS 1.3 with X25519MLKEM768 and nothing else ([`tls`]); both ends are known by
//! their keys.
#![forbid(unsafe_code)]
#![warn(missing_docs)]

pub mod app;
pub mod cli;
mod command;
pub mod data_dir;
pub mod http;
pub mod keyring;
mod metrics;
pub mod random;
pub mod serve;
pub mod store;
pub mod tls;
