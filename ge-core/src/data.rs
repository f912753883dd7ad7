//! Packets to sealed datagrams and back: what the engine and the threads beside it have in common.

mod ends;
mod open;
mod seal;

pub(crate) use ends::Ends;
pub(crate) use open::deliver;
pub(crate) use seal::{Unsealed, seal_frame};

use crate::io::{ETHERNET_LEN, VNET_LEN};

/// Where the IP packet starts in a captured frame.
pub(crate) const PACKET_AT: usize = VNET_LEN + ETHERNET_LEN;
