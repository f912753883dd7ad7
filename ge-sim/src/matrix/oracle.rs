//! What each agent on a path has to do with a flow, worked out from above by who knows everything.
//!
//! Written from the text of the decision rule (DESIGN.md section 5), not from the engine's code: two
//! readings of one text that agree in every case are worth more than one reading twice.

use ge_core::{GroupId, Mode, Transit};

/// Whose side of a flow an agent is on, as its certificate proves.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Standing {
    /// It stands for the flow's source.
    Source,
    /// It stands for the flow's destination.
    Destination,
    /// It stands for neither.
    Transit,
}

/// An agent on a path, as far as the rule asks.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Agent {
    /// Whose side it is on.
    pub standing: Standing,
    /// Open or closed.
    pub mode: Mode,
    /// What it asks of a session that passes between two others, while closed.
    pub transit: Transit,
    /// Its groups.
    pub groups: Vec<GroupId>,
}

/// What an agent does with the packets of a flow.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Verdict {
    /// Seals or opens them.
    Protect,
    /// Lets them pass as they are, in clear or sealed by others.
    Bypass,
    /// Drops them, or never sees one because an agent before it does.
    Discard,
}

impl Verdict {
    /// `protect`, `bypass` or `discard`.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Protect => "protect",
            Self::Bypass => "bypass",
            Self::Discard => "discard",
        }
    }
}

/// The verdicts of all agents on a path, in the direction of the flow's first packet.
#[must_use]
pub fn verdicts(path: &[Agent]) -> Vec<Verdict> {
    let segment = segment(path);
    let content = everybody_content(path, segment);
    let verdict = |at| match place(at, segment) {
        _ if !content => Verdict::Discard,
        Place::End => Verdict::Protect,
        Place::Inside | Place::Outside => Verdict::Bypass,
    };
    (0..path.len()).map(verdict).collect()
}

/// Where the flow is sealed: the first agent of the source's side that shares a group with some
/// agent of the destination's side further on, and the farthest of those.
#[must_use]
pub fn segment(path: &[Agent]) -> Option<(usize, usize)> {
    let on_side =
        |side: Standing| path.iter().enumerate().filter(move |(_, agent)| agent.standing == side);
    on_side(Standing::Source).find_map(|(first, source)| {
        on_side(Standing::Destination)
            .filter(|(last, destination)| *last > first && shares(source, destination))
            .map(|(last, _)| (first, last))
            .next_back()
    })
}

fn shares(one: &Agent, other: &Agent) -> bool {
    one.groups.iter().any(|group| other.groups.contains(group))
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Place {
    End,
    Inside,
    /// Where the flow is in clear.
    Outside,
}

fn place(at: usize, segment: Option<(usize, usize)>) -> Place {
    match segment {
        Some((first, last)) if at == first || at == last => Place::End,
        Some((first, last)) if first < at && at < last => Place::Inside,
        _ => Place::Outside,
    }
}

fn everybody_content(path: &[Agent], segment: Option<(usize, usize)>) -> bool {
    path.iter().enumerate().all(|(at, agent)| {
        agent.mode == Mode::Open
            || match (place(at, segment), segment) {
                (Place::End, _) => true,
                (Place::Inside, Some((first, last))) => {
                    lets_pass(agent, [&path[first], &path[last]])
                }
                _ => false,
            }
    })
}

/// What a closed agent between the two ends of a session thinks of them.
fn lets_pass(agent: &Agent, ends: [&Agent; 2]) -> bool {
    match agent.transit {
        Transit::Strict => false,
        Transit::Vouched => ends.iter().any(|end| shares(agent, end)),
        Transit::Any => true,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use Mode::{Closed, Open};

    /// `S1o`: source side, groups 1, open. `D12c`, `T-o`: no group. The transit setting is vouched.
    fn path(text: &str) -> Vec<Agent> {
        text.split_whitespace().map(agent).collect()
    }

    fn agent(word: &str) -> Agent {
        let letters: Vec<char> = word.chars().collect();
        let standing = match letters[0] {
            'S' => Standing::Source,
            'D' => Standing::Destination,
            _ => Standing::Transit,
        };
        let groups = letters.iter().filter_map(|c| c.to_digit(10)).map(GroupId).collect();
        let mode = if letters.last() == Some(&'c') { Closed } else { Open };
        Agent { standing, mode, transit: Transit::Vouched, groups }
    }

    fn short(path: &[Agent]) -> String {
        let letter = |verdict: &Verdict| &verdict.as_str()[..1];
        verdicts(path).iter().map(letter).collect()
    }

    /// The table of DESIGN.md section 5, line by line.
    #[test]
    fn examples_of_the_rule() {
        let cases = [
            ("S1o D1o", "pp"),
            ("S1c D1c", "pp"),
            ("S1o", "b"),
            ("S1c", "d"),
            ("S1o D2o", "bb"),
            ("S1o D2c", "dd"),
            ("S1c D1c", "pp"),
            ("S1o S1o D1o", "pbp"),
            ("S1o S2o D1o", "pbp"),
            ("S1c S2c D1c", "ddd"),
            ("S1c S2c D12c", "pbp"),
            ("S1c S1c D1c", "pbp"),
            ("S2c S1o D1o", "ddd"),
            ("S2o S1o D1o", "bpp"),
            ("S1c", "d"),
            ("S1o", "b"),
            ("D1o D1c", "dd"),
            ("S1c S1o", "dd"),
            ("S1c D1c D2c", "ddd"),
            ("S1o D1o D2o", "ppb"),
        ];
        for (text, expected) in cases {
            assert_eq!(short(&path(text)), expected, "{text}");
        }
    }

    #[test]
    fn nested_routers_protect_as_much_as_they_can() {
        assert_eq!(short(&path("S1o S1o D1o D1o")), "pbbp");
        assert_eq!(short(&path("S3o S1o D1o D3o")), "pbbp", "the outer source agent comes first");
        assert_eq!(short(&path("S3o S1o D2o D1o")), "bpbp");
        assert_eq!(short(&path("S1o T-o D1o")), "pbp");
        assert_eq!(short(&path("T1o D1o")), "bb", "an agent of neither side is no end");
        assert_eq!(short(&path("D1o S1o")), "bb", "protection goes forward");
    }

    #[test]
    fn transit_setting_decides_inside_only() {
        for (setting, inside) in
            [(Transit::Strict, "ddd"), (Transit::Vouched, "ddd"), (Transit::Any, "pbp")]
        {
            let mut path = path("S1o T2c D1o");
            path[1].transit = setting;
            assert_eq!(short(&path), inside, "{setting:?}");
            path[1].groups = vec![GroupId(1)];
            let member = if setting == Transit::Strict { "ddd" } else { "pbp" };
            assert_eq!(short(&path), member, "{setting:?}, member");
            path[2].mode = Closed;
            path[2].groups.clear();
            assert_eq!(short(&path), "ddd", "in the clear whatever the setting");
        }
    }

    #[test]
    fn nobody_there_decides_nothing() {
        assert_eq!(short(&[]), "");
    }
}
