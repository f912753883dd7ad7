//! Who is against us: outsiders without a key, and insiders who hold keys of the domain and lie.
//!
//! | file | |
//! |---|---|
//! | `outsider` | noise, replays and forgeries by somebody without keys, drawn from the seed |
//! | `insider` | what an agent's keys open and make: messages of others, read, changed, made anew |
//! | `craft` | single deeds: on a message that passes, with or without keys |
//! | `intruder` | somebody with a place on the path and a script of crafts |
//!
//! Whatever they do, the invariants must hold ([`crate::check`]). An adversary is outside the
//! machines: the engines are as they are, what is on the links is not.

pub mod craft;
pub mod insider;
mod intruder;
mod outsider;

pub use craft::Craft;
pub use insider::Insider;
pub use intruder::{Intruder, Position, Sending, Watched, carry, readdress};
pub use outsider::{Adversary, mutate};

/// Who made a packet that arrives.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Origin {
    /// A machine, and the link did not change it.
    Genuine,
    /// A machine, but the link changed it.
    Corrupted,
    /// The adversary repeats what a machine once sent.
    Replayed,
    /// The adversary made it up or changed it: nobody's key vouches for it.
    Forged,
    /// Somebody who holds keys of the domain made it or changed it: it is authentic and a lie.
    Insider,
}
