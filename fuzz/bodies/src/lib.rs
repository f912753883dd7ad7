//! What each fuzz target does with its bytes: one function per parser.
//!
//! Every function takes any bytes, must return, and panics if a property is broken. Two properties
//! are looked at: what a parser accepts, its writer writes again byte for byte; and a message that
//! was not sent by the other end of a negotiation is refused. Messages get a right `mac1` first,
//! so that the parsers behind it are reached. The packet targets check the properties that
//! `ge-core/tests/packets/properties.rs` names.
//!
//! The library is stable Rust; `tests/replay.rs` runs every file of `fuzz/corpus` through its
//! function, `examples/seeds.rs` writes the corpus anew.
#![forbid(unsafe_code)]

mod negotiation;
mod packets;
mod parts;
mod server;

#[path = "../../../ge-core/tests/packets/properties.rs"]
mod properties;

/// Keys and agents, the same in every run.
#[path = "../../../ge-core/tests/protocol/domain.rs"]
pub mod domain;

pub use negotiation::{Scene, cdn, dde, mpit, rgi};
pub use packets::{icmp_error, ip_parse, segment, vnet_hdr};
pub use parts::{INDEX, SECRET, certificate, data_frame, path_part, tlv};
pub use server::{bundle, token};

/// A target: its name, which is also its corpus directory, and its function.
pub type Target = (&'static str, fn(&[u8]));

/// All targets.
pub const TARGETS: &[Target] = &[
    ("dde", dde),
    ("rgi", rgi),
    ("mpit", mpit),
    ("cdn", cdn),
    ("path_part", path_part),
    ("tlv", tlv),
    ("certificate", certificate),
    ("data_frame", data_frame),
    ("ip_parse", ip_parse),
    ("icmp_error", icmp_error),
    ("vnet_hdr", vnet_hdr),
    ("segment", segment),
    ("token", token),
    ("bundle", bundle),
];
