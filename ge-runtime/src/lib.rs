//! All side effects of an agent: hook, sockets, clock, entropy, control socket, metrics, logs.
//!
//! The packet path is one thread around the sans-IO engine of ge-core; everything for people and
//! servers runs on tokio beside it and talks to it by [`command`].

pub mod clock;
pub mod command;
pub mod config_file;
pub mod control;
pub mod echo;
pub mod entropy;
pub mod error;
pub mod exit;
pub mod forwarding;
pub mod frontend;
pub mod hook;
pub mod key_client;
pub mod ledger;
pub mod links;
pub mod memory;
pub mod message_socket;
pub mod metrics;
pub mod names;
pub mod netlink;
mod nft;
pub mod notify;
pub mod offload;
pub mod options;
pub mod packet_socket;
mod patience;
mod poll_list;
pub mod program;
pub mod report;
pub mod runtime;
pub mod seal_time;
pub mod sockopt;
pub mod state_dir;
pub mod telemetry;
pub mod tun;
pub mod udp_socket;
