//! Every way plaintext can pass here. Each reason is a counter, a metric label and a word in the
//! reports; the spelling lives in one place. What is never protected by its nature (neighbour
//! discovery, DHCP, negotiation messages) is not in the list: closed mode passes it as well.

use crate::io::NegotiationResult;

macro_rules! clear_reasons {
    ($($(#[$doc:meta])* $name:ident => $text:literal,)+) => {
        /// Why plaintext passes in open mode. Closed mode drops it, each time.
        #[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
        pub enum ClearReason {
            $($(#[$doc])* $name,)+
        }

        impl ClearReason {
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

clear_reasons! {
    /// Nobody answered for as long as open mode holds a packet.
    NoAnswer => "no-answer",
    /// An open agent is there and shares no group.
    NoMatch => "no-match",
    /// The policy says that asking there makes no sense.
    OutOfScope => "out-of-scope",
    /// A stranger's packet came in; nobody was asked.
    Unasked => "unasked",
    /// Nobody can be asked: no certificate or key of this agent is in force now.
    CannotAsk => "cannot-ask",
    /// Plaintext of a flow that two other agents protect (routers).
    BesideTransit => "beside-transit",
    /// Sent from an address this agent does not stand for.
    Forwarded => "forwarded",
    /// Multicast or broadcast.
    Multicast => "multicast",
}

impl ClearReason {
    /// The reason of a plaintext verdict that came of asking, or of not asking.
    #[must_use]
    pub const fn of(result: NegotiationResult) -> Self {
        match result {
            NegotiationResult::NoMatch => Self::NoMatch,
            NegotiationResult::OutOfScope => Self::OutOfScope,
            NegotiationResult::Unasked => Self::Unasked,
            // The last two end in other verdicts.
            NegotiationResult::NoAnswer
            | NegotiationResult::Refused
            | NegotiationResult::Protected => Self::NoAnswer,
        }
    }
}
