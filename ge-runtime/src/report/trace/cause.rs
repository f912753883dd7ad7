//! Why a flow has its verdict: one of few reasons, each with a stable code.

use super::{Facts, TraceAgent};
use crate::report::{FlowReport, SpeakerReport, Verdict};

/// The reason of a verdict.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Cause {
    /// Both ends proved a group.
    CommonGroup,
    /// Two other agents protect it; this router lets it pass.
    OthersProtect,
    /// The question is under way.
    Asking,
    /// An agent at the destination shares no group with this one.
    NoCommonGroup {
        /// It is closed, or this one is: nothing passes.
        dropped: bool,
    },
    /// A closed agent on the way is not content.
    ClosedBetween {
        /// The agents on the way are known.
        path_known: bool,
    },
    /// An agent says that somebody further on refuses.
    ClosedBeyond,
    /// No agent answered.
    NoAgent {
        /// This agent is closed: nothing passes in clear.
        dropped: bool,
    },
    /// It may not go in clear by the policy, and nobody protects it.
    MustProtect,
    /// It may not go in clear since it was protected within a day, and nobody protects it now.
    Remembered,
    /// The policy says not to ask there.
    OutOfScope {
        /// This agent is closed.
        dropped: bool,
    },
    /// This agent has no certificate or key in force.
    CannotAsk {
        /// This agent is closed, or it may not go in clear.
        dropped: bool,
    },
    /// A stranger's first packet passed an open router; nobody was asked on this side yet.
    Unasked,
    /// A reason of a newer agent.
    Other {
        /// As the row has it.
        verdict: Verdict,
    },
}

impl Cause {
    pub(super) fn of(facts: &Facts<'_>) -> Self {
        let Some(flow) = facts.flow else { return Self::without_row(facts) };
        match flow.verdict {
            Verdict::Protected => Self::CommonGroup,
            Verdict::Transit => Self::OthersProtect,
            Verdict::Pending => Self::Asking,
            Verdict::Clear | Verdict::Dropped => Self::plain(facts, flow),
        }
    }

    fn without_row(facts: &Facts<'_>) -> Self {
        let outlook = facts.outlook;
        let dropped =
            outlook.mode == ge_core::Mode::Closed || outlook.must_protect || outlook.remembered;
        if !outlook.can_ask {
            Self::CannotAsk { dropped }
        } else if !outlook.in_scope {
            Self::OutOfScope { dropped }
        } else {
            Self::Asking
        }
    }

    fn plain(facts: &Facts<'_>, flow: &FlowReport) -> Self {
        let dropped = flow.verdict == Verdict::Dropped;
        let strict = |otherwise| match (dropped, facts.outlook) {
            (true, outlook) if outlook.must_protect => Self::MustProtect,
            (true, outlook) if outlook.remembered => Self::Remembered,
            _ => otherwise,
        };
        let by = flow.denial.as_ref().map(|denial| &denial.by);
        match flow.reason.as_str() {
            "refused" => Self::ClosedBetween { path_known: true },
            "no-match" if by.is_some_and(|by| by.relays) => Self::ClosedBeyond,
            "no-match" if by.is_some_and(|by| by.place != "destination") => {
                Self::ClosedBetween { path_known: false }
            }
            "no-match" if by.is_some_and(SpeakerReport::is_closed) => {
                Self::NoCommonGroup { dropped }
            }
            "no-match" => strict(Self::NoCommonGroup { dropped }),
            "no-answer" => strict(Self::NoAgent { dropped }),
            "out-of-scope" => Self::OutOfScope { dropped },
            "unasked" => Self::Unasked,
            _ => Self::Other { verdict: flow.verdict },
        }
    }

    /// The verdict it stands for.
    #[must_use]
    pub const fn verdict(&self) -> Verdict {
        match self {
            Self::CommonGroup => Verdict::Protected,
            Self::OthersProtect => Verdict::Transit,
            Self::Asking => Verdict::Pending,
            Self::ClosedBetween { .. }
            | Self::ClosedBeyond
            | Self::MustProtect
            | Self::Remembered => Verdict::Dropped,
            Self::Unasked => Verdict::Clear,
            Self::NoCommonGroup { dropped }
            | Self::NoAgent { dropped }
            | Self::OutOfScope { dropped }
            | Self::CannotAsk { dropped } => {
                if *dropped {
                    Verdict::Dropped
                } else {
                    Verdict::Clear
                }
            }
            Self::Other { verdict } => *verdict,
        }
    }

    /// Stable code, for scripts. Never reused for another reason.
    #[must_use]
    pub const fn code(&self) -> &'static str {
        match self {
            Self::CommonGroup => "common-group",
            Self::OthersProtect => "others-protect",
            Self::Asking => "asking",
            Self::NoCommonGroup { .. } => "no-common-group",
            Self::ClosedBetween { .. } => "closed-between",
            Self::ClosedBeyond => "closed-beyond",
            Self::NoAgent { .. } => "no-agent",
            Self::MustProtect => "must-protect",
            Self::Remembered => "remembered",
            Self::OutOfScope { .. } => "out-of-scope",
            Self::CannotAsk { .. } => "cannot-ask",
            Self::Unasked => "unasked",
            Self::Other { .. } => "other",
        }
    }

    /// The reason, for people.
    pub(super) fn sentence(&self, facts: &Facts<'_>, agents: &[TraceAgent]) -> String {
        let remote = facts.remote;
        let here = format!("this {}", facts.program.machine());
        let decider = agents.iter().find(|agent| agent.decided).map(TraceAgent::title);
        let decider = decider.unwrap_or_else(|| "an agent".to_owned());
        let closed = |dropped: bool| if dropped { "closed" } else { "open" };
        match self {
            Self::CommonGroup => match facts.flow.and_then(|flow| flow.peer.as_ref()) {
                Some(peer) => format!("both ends hold the group {}", peer.group),
                None => "both ends hold a common group".to_owned(),
            },
            Self::OthersProtect => format!("two other agents protect it through {here}"),
            Self::Asking => "no answer yet".to_owned(),
            Self::NoCommonGroup { dropped: false } => {
                format!("{decider} shares no group with {here}, and both are open")
            }
            Self::NoCommonGroup { dropped: true } => {
                let who = match agents.iter().find(|agent| agent.decided) {
                    Some(agent) if agent.mode == "open" => format!("{here} is closed"),
                    _ => format!("{decider} is closed"),
                };
                format!("{who}, and {decider} and {here} share no group")
            }
            Self::ClosedBetween { path_known: true } => {
                format!("{decider} is closed, and not content with who the two ends are")
            }
            Self::ClosedBetween { path_known: false } => format!(
                "{decider} is closed, and nothing that it could let pass sealed goes through it"
            ),
            Self::ClosedBeyond => {
                format!("{decider} says that a closed agent further on refuses")
            }
            Self::NoAgent { dropped } => {
                format!("no agent answered for {remote}, and {here} is {}", closed(*dropped))
            }
            Self::MustProtect => format!(
                "the policy says that {remote} is never talked to in clear, and no agent there \
                 could protect it"
            ),
            Self::Remembered => format!(
                "{remote} was protected within the last 24 h, so it is not talked to in clear, and \
                 no agent there could protect it now"
            ),
            Self::OutOfScope { dropped } => format!(
                "{remote} is outside of where agents ask for agents, and {here} is {}",
                closed(*dropped)
            ),
            Self::CannotAsk { .. } => {
                format!("{here} has no certificate or key in force, so it can ask nobody")
            }
            Self::Unasked => format!("a packet from {remote} came in; nobody was asked yet"),
            Self::Other { .. } => facts.flow.map_or_else(String::new, |flow| flow.reason.clone()),
        }
    }
}
