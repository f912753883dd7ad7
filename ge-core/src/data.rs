//! Packets to sealed datagrams and back: what the engine and the threads beside it have in common.

mod ends;
mod open;
mod seal;

pub(crate) use ends::Ends;
pub(crate) use open::deliver;
pub(crate) use seal::{Unsealed, seal_frame};
