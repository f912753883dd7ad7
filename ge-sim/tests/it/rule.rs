//! The rule that `mgmt-server trace` uses, against the oracle's own reading of the text: every path
//! of up to three agents, over who is in which group.

use ge_core::rule::{Judgement, Party, judge};
use ge_core::wire::dprp::{Consent, Place};
use ge_core::{GroupId, Mode, Transit};
use ge_sim::matrix::oracle::{Agent, Standing, Verdict, verdicts};

/// Every agent that differs in what the rule asks.
fn agents() -> Vec<Agent> {
    let mut agents = Vec::new();
    for standing in [Standing::Source, Standing::Destination, Standing::Transit] {
        for (mode, transit) in [
            (Mode::Open, Transit::Vouched),
            (Mode::Closed, Transit::Strict),
            (Mode::Closed, Transit::Vouched),
            (Mode::Closed, Transit::Any),
        ] {
            for groups in [vec![], vec![1], vec![2], vec![1, 2]] {
                let groups = groups.into_iter().map(GroupId).collect();
                agents.push(Agent { standing, mode, transit, groups });
            }
        }
    }
    agents
}

fn party(agent: &Agent) -> Party {
    Party {
        place: match agent.standing {
            Standing::Source => Place::Source,
            Standing::Destination => Place::Destination,
            Standing::Transit => Place::Between,
        },
        consent: match agent.mode {
            Mode::Open => Consent::Open,
            Mode::Closed => Consent::Closed(agent.transit),
        },
        groups: agent.groups.clone(),
    }
}

fn judged(path: &[Agent]) -> Vec<Verdict> {
    let parties: Vec<Party> = path.iter().map(party).collect();
    let judgement = judge(&parties);
    let verdict = |at| match judgement {
        Judgement::Protect { first, last } if at == first || at == last => Verdict::Protect,
        Judgement::Protect { .. } | Judgement::Bypass => Verdict::Bypass,
        Judgement::Discard { .. } => Verdict::Discard,
    };
    (0..path.len()).map(verdict).collect()
}

#[test]
fn both_readings_of_the_rule_agree_on_every_short_path() {
    let agents = agents();
    let mut paths = 0;
    for one in &agents {
        for two in &agents {
            for three in &agents {
                let path = [one.clone(), two.clone(), three.clone()];
                for length in 1..=3 {
                    let path = &path[..length];
                    assert_eq!(judged(path), verdicts(path), "{path:?}");
                    paths += 1;
                }
            }
        }
    }
    assert_eq!(paths, 3 * 48 * 48 * 48);
}
