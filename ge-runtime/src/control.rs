//! The control socket: how people and scripts on this host ask the running agent.
//!
//! A Unix stream socket that carries one JSON object per line in each direction. Who may ask what
//! is decided by the kernel's word about the peer (`SO_PEERCRED`, `SO_PEERGROUPS`), never by what
//! it says; reading needs root, the agent's own user or the group `ges`, stopping the first two.
//! Requests and answers are bounded in size, number and time, and carry no secret. The engine is
//! asked by [`crate::command`].
//!
//! ```text
//! ges ──{"request":"status"}\n──> server ──Command──> engine thread
//!     <──{"answer":"status",…}\n──       <──Snapshot──
//! ```

mod client;
mod console;
mod credentials;
mod explain;
mod follow;
mod protocol;
mod server;
mod socket;

pub use client::{Client, ClientError};
pub use console::Console;
pub use credentials::{Access, Peer};
pub use protocol::{
    ANSWER_MAX, Answer, REQUEST_MAX, Refusal, Request, RequestError, parse_request,
};
pub use server::serve;
pub use socket::{ControlSocket, remove_stale};
