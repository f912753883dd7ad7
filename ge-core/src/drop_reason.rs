//! Every way a packet can end here. Each reason is a counter, a metric label and a word in
//! `ges trace`; the spelling lives in one place.

macro_rules! drop_reasons {
    ($($(#[$doc:meta])* $name:ident => $text:literal,)+) => {
        /// Why a packet ended.
        #[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
        pub enum DropReason {
            $($(#[$doc])* $name,)+
        }

        impl DropReason {
            /// All reasons, in the order of their counters.
            pub const ALL: &'static [Self] = &[$(Self::$name,)+];

            /// Kebab-case spelling for metrics, logs and JSON.
            #[must_use]
            pub const fn as_str(self) -> &'static str {
                match self {
                    $(Self::$name => $text,)+
                }
            }
        }
    };
}

drop_reasons! {
    /// Not an IP packet we can read.
    Malformed => "malformed",
    /// Closed mode and no agreement with the other side.
    ClosedMode => "closed-mode",
    /// The PIT row says discard.
    Discarded => "discarded",
    /// Plaintext arrived for a flow that is protected.
    ClearOnProtected => "clear-on-protected",
    /// Multicast or broadcast in closed mode.
    Multicast => "multicast",
    /// The bounded hold queue of the flow, or of the whole agent, is full.
    HeldOverflow => "held-overflow",
    /// Held until the negotiation ended without an answer that allows it.
    HeldExpired => "held-expired",
    /// No live session has this index.
    NoSession => "no-session",
    /// The tag did not verify.
    BadTag => "bad-tag",
    /// The counter was seen before, or lies behind the window.
    Replay => "replay",
    /// The session's key has reached its time or count limit.
    KeyExhausted => "key-exhausted",
    /// The inner packet's addresses are not those of the session's flow.
    WrongInner => "wrong-inner",
    /// Too large for the path and not allowed to be fragmented; the sender was told.
    TooBig => "too-big",
    /// Shorter than its format needs.
    TooShort => "too-short",
    /// A negotiation message whose mac1 did not verify.
    BadMac => "bad-mac",
    /// A negotiation message that was authentic but not acceptable.
    BadMessage => "bad-message",
    /// Another agent was heard at the address a moment ago: one agent per address, also behind a NAT.
    AddressTaken => "address-taken",
    /// A negotiation message outside the time window, or seen before.
    Stale => "stale",
    /// A certificate that did not verify, is expired or revoked.
    BadCertificate => "bad-certificate",
    /// A table is at its limit.
    TableFull => "table-full",
    /// One source sent more than its share.
    TooMany => "too-many",
    /// A request whose sender has not shown that it receives what is sent to it, while this agent
    /// is under load: it was answered with a COOKIE, or not at all.
    UnderLoad => "under-load",
    /// A request with a mac2 that is not under a cookie of ours, while one was needed; or a COOKIE
    /// that is none.
    BadCookie => "bad-cookie",
    /// Nobody can be asked: no certificate or key of this agent is in force now.
    CannotAsk => "cannot-ask",
    /// An ICMP error that quotes no live session of ours.
    BadIcmp => "bad-icmp",
    /// Another thread had to see it, and its queue was full.
    QueueFull => "queue-full",
    /// The operating system refused to send it.
    SendFailed => "send-failed",
}
