//! Identifiers. Each is a newtype, so that none can be handed in for another.

use core::fmt;

macro_rules! hex_id {
    ($(#[$doc:meta])* $name:ident, $len:expr) => {
        $(#[$doc])*
        #[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
        pub struct $name(pub [u8; $len]);

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                self.0.iter().try_for_each(|byte| write!(f, "{byte:02x}"))
            }
        }

        impl fmt::Debug for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                write!(f, "{}({self})", stringify!($name))
            }
        }
    };
}

hex_id!(
    /// All agents of one management server. PROTOCOL.md 2.1: 8 bytes.
    DomainId, 8
);
hex_id!(
    /// One agent (GSCIP element), host or router. PROTOCOL.md 2.1: 16 bytes.
    GeId, 16
);
hex_id!(
    /// Serial number of a membership certificate.
    Serial, 16
);
hex_id!(
    /// One negotiation as one of its two ends numbers it (`sid_i`, `sid_r`): random, 8 bytes.
    NegotiationId, 8
);

/// A group's number. The name is for people; the number is what is compared.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct GroupId(pub u32);

/// Version of a group or domain key. Never a time.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Epoch(pub u32);

/// The 24-bit number by which a receiver finds a session in the data shim. Never zero.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct SessionIndex(pub u32);

/// A network interface, by the kernel's index.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Interface(pub u32);

/// One of the independent number spaces in which the data of a session travels: each has its own
/// subkeys, its own counter and its own replay window, so that no two threads share any of them
/// (decision 0018). Lane 0 is the engine's.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Lane(u8);

impl Lane {
    /// Lanes of a session: what three bits of the shim tell apart.
    pub const COUNT: u8 = 8;

    /// The lane of the engine, and of all control messages.
    pub const ENGINE: Self = Self(0);

    /// The lane with this number, modulo their count.
    #[must_use]
    pub const fn of(number: u8) -> Self {
        Self(number % Self::COUNT)
    }

    /// Its number, below [`Lane::COUNT`].
    #[must_use]
    pub const fn number(self) -> u8 {
        self.0
    }

    /// Which of `workers` threads opens what travels in it; one of them at any time.
    #[must_use]
    pub const fn worker(self, workers: u8) -> u8 {
        self.0 % workers
    }
}
