//! What programs see and what is on the packet are two types.
//!
//! They are equal until a host moves or sits behind NAT; making them separate from the first day
//! means that no line of code can confuse them then.

use core::fmt;
use core::net::IpAddr;

/// An address as programs see it: the upper side of a flow.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct FlowAddr(pub IpAddr);

/// An address as it is on the wire.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct WireAddr(pub IpAddr);

impl fmt::Display for FlowAddr {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

impl fmt::Display for WireAddr {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}
