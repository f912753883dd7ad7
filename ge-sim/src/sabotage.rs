//! Things broken on purpose, one per invariant: a check that cannot fail is worth nothing.
//!
//! The engine stays as it is; what is broken lies between it and the world, as a bad runtime or a
//! bad engine would look from outside.

/// What is broken.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Sabotage {
    /// A frame that was sealed or held leaves in clear, too.
    Leak,
    /// A sealed datagram is sent again as if it were a new one.
    ReuseNonce,
    /// Ephemeral keys: two agents are started from one seed.
    SameSeed,
    /// What came out of a session is handed to the stack twice.
    DeliverTwice,
    /// What came out of a session is handed to the stack with one byte changed.
    DeliverChanged,
    /// Plaintext is handed to the stack whatever the engine said.
    AcceptPlaintext,
    /// The engine never hears of removals, although the bundle arrived.
    IgnoreRemoval,
    /// A table has grown out of its limit.
    Outgrow,
    /// A stranger's packet makes a row.
    Believe,
    /// A held frame leaves at once.
    ReleaseEarly,
    /// The agent goes back to the membership it had first.
    RollBack,
    /// The threads beside an engine never hear that a flow or a session is no more.
    Forgetful,
    /// The server ends an epoch at once, and only the agents do not know.
    KeepEpoch,
    /// A stranger's packet is answered.
    Answer,
    /// A router names itself as an end of a session of two others.
    WrongEnds,
    /// An agent names somebody as the other end who never spoke.
    WrongPeer,
    /// A router is told that everything may pass, against what the administrator said.
    Lenient,
    /// Everything an agent says it says six times.
    Babble,
    /// What an agent is sent after the faults is lost.
    Deafen,
}
