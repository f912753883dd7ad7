//! A deterministic simulation of many agents: real engines, one virtual clock, a network that
//! loses, doubles, reorders and corrupts, an adversary, a management server, faults, and the
//! invariants of the design checked after every event.
//!
//! ```text
//! application -> stack -> engine -> link -> engine -> stack -> application
//!                           |        |        |
//!                         checker   adversary checker
//! ```
//!
//! One seed is one run. `ge-sim run --world all --seeds 10000` runs many; a seed that fails is printed
//! with the command that replays it, and is kept as a file in `seeds`: a test replays it from then on.
//!
//! Machines reach each other directly, or in a row through routers with agents ([`chain`]). An agent has
//! one thread, or several as on a machine with more processors ([`threads`]).
//!
//! Deliberately absent: NAT, moving addresses, the kernel. What the kernel does is in [`node`] (verdict sets) and in [`sim`] (segmentation,
//! reassembly of IPv4 fragments), as simple as can be.
#![forbid(unsafe_code)]
#![warn(missing_docs)]

pub mod adversary;
pub mod chain;
pub mod check;
pub mod fault;
pub mod matrix;
pub mod mgmt;
pub mod nat;
pub mod net;
pub mod node;
pub mod packet;
pub mod queue;
pub mod reassembly;
pub mod sabotage;
pub mod scenario;
pub mod sim;
pub mod threads;

pub use check::{Invariant, Violation};
pub use packet::{NodeId, Parcel};
pub use sim::{Fate, Passing, Sim, Traffic};
