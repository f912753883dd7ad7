//! The 700 cases and their names.

use super::oracle::{Agent, Standing};
use crate::chain::{Plan, Router};
use ge_core::{GroupId, Mode, Transit};
use std::fmt;

/// One end of a path.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum End {
    /// An ordinary machine.
    None,
    /// A machine with an agent.
    Host(Mode),
    /// An ordinary machine behind a router with an agent.
    Router(Mode),
}

impl End {
    const ALL: [Self; 5] = [
        Self::None,
        Self::Host(Mode::Open),
        Self::Host(Mode::Closed),
        Self::Router(Mode::Open),
        Self::Router(Mode::Closed),
    ];

    /// `none`, `host-open`, `host-closed`, `router-open` or `router-closed`.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::None => "none",
            Self::Host(Mode::Open) => "host-open",
            Self::Host(Mode::Closed) => "host-closed",
            Self::Router(Mode::Open) => "router-open",
            Self::Router(Mode::Closed) => "router-closed",
        }
    }
}

/// Routers between the ends, in path order.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Between {
    /// None.
    None,
    /// One, of the source's side.
    One(Mode),
    /// Two: one of the source's side, one of the destination's.
    Two(Mode, Mode),
}

impl Between {
    const ALL: [Self; 7] = [
        Self::None,
        Self::One(Mode::Open),
        Self::One(Mode::Closed),
        Self::Two(Mode::Open, Mode::Open),
        Self::Two(Mode::Open, Mode::Closed),
        Self::Two(Mode::Closed, Mode::Open),
        Self::Two(Mode::Closed, Mode::Closed),
    ];

    /// Empty, `o`, `c`, `oo`, `oc`, `co` or `cc`.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::None => "",
            Self::One(Mode::Open) => "o",
            Self::One(Mode::Closed) => "c",
            Self::Two(Mode::Open, Mode::Open) => "oo",
            Self::Two(Mode::Open, Mode::Closed) => "oc",
            Self::Two(Mode::Closed, Mode::Open) => "co",
            Self::Two(Mode::Closed, Mode::Closed) => "cc",
        }
    }

    fn agents(self) -> Vec<(Standing, Mode)> {
        match self {
            Self::None => Vec::new(),
            Self::One(mode) => vec![(Standing::Source, mode)],
            Self::Two(one, other) => {
                vec![(Standing::Source, one), (Standing::Destination, other)]
            }
        }
    }
}

/// Who is in which group.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Relation {
    /// Everybody in 1.
    R1,
    /// The ends in 1, those between in 2.
    R2,
    /// The source in 1, the destination in 2, those between in 1.
    R3,
    /// The source in 1 and 2, the destination in 1, those between in 2.
    R4,
}

impl Relation {
    /// All four.
    pub const ALL: [Self; 4] = [Self::R1, Self::R2, Self::R3, Self::R4];

    /// `R1` to `R4`.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::R1 => "R1",
            Self::R2 => "R2",
            Self::R3 => "R3",
            Self::R4 => "R4",
        }
    }

    /// Groups of the source, of those between, of the destination.
    const fn groups(self) -> [&'static [u32]; 3] {
        match self {
            Self::R1 => [&[1], &[1], &[1]],
            Self::R2 => [&[1], &[2], &[1]],
            Self::R3 => [&[1], &[1], &[2]],
            Self::R4 => [&[1, 2], &[2], &[1]],
        }
    }
}

/// Groups a world of the matrix needs.
pub const GROUPS: usize = 2;

/// One case.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Case {
    /// Where the first packet comes from.
    pub source: End,
    /// Where it goes to.
    pub destination: End,
    /// Routers between.
    pub between: Between,
    /// Who shares a group with whom.
    pub relation: Relation,
}

impl Case {
    /// All 700: sources, then routers between, then destinations, then relations.
    #[must_use]
    pub fn all() -> Vec<Self> {
        let mut all = Vec::new();
        for source in End::ALL {
            for between in Between::ALL {
                for destination in End::ALL {
                    let case = |relation| Self { source, destination, between, relation };
                    all.extend(Relation::ALL.map(case));
                }
            }
        }
        all
    }

    /// The path of this case.
    #[must_use]
    pub fn plan(&self, transit: Transit) -> Plan {
        let [source, between, destination] = self.relation.groups();
        let agent = |standing, mode, groups: &[u32]| Agent {
            standing,
            mode,
            transit,
            groups: groups.iter().copied().map(GroupId).collect(),
        };
        let mut plan = Plan::default();
        match self.source {
            End::None => {}
            End::Host(mode) => plan.source = Some(agent(Standing::Source, mode, source)),
            End::Router(mode) => {
                plan.routers.push(Router::new(agent(Standing::Source, mode, source)));
            }
        }
        for (standing, mode) in self.between.agents() {
            plan.routers.push(Router::new(agent(standing, mode, between)));
        }
        match self.destination {
            End::None => {}
            End::Host(mode) => {
                plan.destination = Some(agent(Standing::Destination, mode, destination));
            }
            End::Router(mode) => {
                plan.routers.push(Router::new(agent(Standing::Destination, mode, destination)));
            }
        }
        plan
    }

    /// True if the name fits a pattern of four fields, `SOURCE,DESTINATION,TRANSIT,RELATION`, each
    /// of which may be `*`. An empty transit set may be written `-`.
    #[must_use]
    pub fn fits(&self, pattern: &str) -> bool {
        let name = self.to_string();
        let fields: Vec<_> = pattern.split(',').collect();
        let own: Vec<_> = name.split(',').collect();
        fields.len() == own.len()
            && fields.iter().zip(own).all(|(field, own)| match *field {
                "*" => true,
                "" => own == "-",
                field => field == own,
            })
    }
}

impl fmt::Display for Case {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let between = match self.between.as_str() {
            "" => "-",
            between => between,
        };
        let (source, destination) = (self.source.as_str(), self.destination.as_str());
        write!(f, "{source},{destination},{between},{}", self.relation.as_str())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::BTreeSet;

    #[test]
    fn seven_hundred_different_cases() {
        let names: BTreeSet<String> = Case::all().iter().map(ToString::to_string).collect();
        assert_eq!(names.len(), 700);
    }

    #[test]
    fn patterns_truth_table() {
        let count = |pattern| Case::all().iter().filter(|case| case.fits(pattern)).count();
        let cases = [
            ("*,*,*,*", 700),
            ("host-open,none,oc,R3", 1),
            ("none,none,-,R1", 1),
            ("none,none,,R1", 1),
            ("none,*,o,*", 20),
            ("none,none,o", 0),
            ("host,none,o,R1", 0),
        ];
        for (pattern, expected) in cases {
            assert_eq!(count(pattern), expected, "{pattern}");
        }
    }

    #[test]
    fn agents_stand_in_path_order() {
        let case = Case {
            source: End::Router(Mode::Open),
            destination: End::Host(Mode::Closed),
            between: Between::Two(Mode::Closed, Mode::Open),
            relation: Relation::R4,
        };
        let seen: Vec<_> = case
            .plan(Transit::Any)
            .agents()
            .into_iter()
            .map(|agent| (agent.standing, agent.mode, agent.groups.len()))
            .collect();
        let expected = [
            (Standing::Source, Mode::Open, 2),
            (Standing::Source, Mode::Closed, 1),
            (Standing::Destination, Mode::Open, 1),
            (Standing::Destination, Mode::Closed, 1),
        ];
        assert_eq!(seen, expected);
    }
}
