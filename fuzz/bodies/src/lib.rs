//! What each fuzz target does with its bytes: one function per parser.
//!
//! Every function takes any bytes, must return, and panics if a property is broken. Two properties
//! are looked at: what a parser accepts, its writer writes again byte for byte; and a message that
//! was not sent by the other end of a negotiation is refused. Messages get a right `mac1` first,
//! so that the parsers behind it are reached. The packet targets check the properties that
//! `ge-core/tests/packets/properties.rs` names.
//!
//! The library is stable Rust; `tests/replay.rs` runs every file of `fuzz/corpus` through its
//! function, `examples/seeds.rs` writes the corpus anew. Most parsers are in crates that do no I/O.
//! Those of the agent's files, its control socket and netlink stay in `ge-runtime`, beside the I/O
//! that feeds them, in modules that do none.
#![forbid(unsafe_code)]

mod agent;
mod between;
mod cookie;
mod kernel;
mod negotiation;
mod packets;
mod parts;
mod server;

#[path = "../../../ge-core/tests/packets/properties.rs"]
mod properties;

/// Keys and agents, the same in every run.
#[path = "../../../ge-core/tests/protocol/domain.rs"]
pub mod domain;

pub use agent::{
    config_file, control_answer, control_request, enrolment_file, identity_file, member,
    memory_file, sealed_membership, version_file,
};
pub use between::{Passing, between};
pub use cookie::{cookie, scene_cookie};
pub use kernel::{SEQUENCE, TOKEN, echo_reply, netlink};
pub use negotiation::{Scene, cdn, dde, mpit, rgi};
pub use packets::{datagram, icmp_error, ip_parse, reassembly, segment, vnet_hdr};
pub use parts::{INDEX, SECRET, certificate, data_frame, path_part, tlv};
pub use server::{bundle, rest_body, token};

/// A target: its name, which is also its corpus directory, and its function.
pub type Target = (&'static str, fn(&[u8]));

/// All targets.
pub const TARGETS: &[Target] = &[
    ("dde", dde),
    ("rgi", rgi),
    ("mpit", mpit),
    ("cdn", cdn),
    ("between", between),
    ("cookie", cookie),
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
    ("reassembly", reassembly),
    ("rest_body", rest_body),
    ("control_request", control_request),
    ("control_answer", control_answer),
    ("config_file", config_file),
    ("identity_file", identity_file),
    ("enrolment_file", enrolment_file),
    ("version_file", version_file),
    ("sealed_membership", sealed_membership),
    ("memory_file", memory_file),
    ("netlink", netlink),
    ("echo_reply", echo_reply),
    ("datagram", datagram),
];
