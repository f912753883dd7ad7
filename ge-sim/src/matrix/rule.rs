//! What the rule says of a case, and who stands where in it: for runs of the same cases elsewhere.

use super::case::{Case, End};
use super::oracle;
use ge_core::Transit;

/// One line of JSON: the case, its agents in path order, the rule's verdict for each.
///
/// ```text
/// {"source":"host-open","destination":"none","transit":"o","relation":"R3",
///  "agents":[{"place":"source-host","mode":"open","groups":[1]},
///            {"place":"transit-1","mode":"open","groups":[1]}],
///  "verdicts":["bypass","bypass"]}
/// ```
#[must_use]
pub fn line(case: Case, transit: Transit) -> String {
    let agents = case.plan(transit).agents();
    let verdicts = oracle::verdicts(&agents);
    let places = places(case);
    let agents = places.iter().zip(&agents).map(|(place, agent)| {
        let groups: Vec<_> = agent.groups.iter().map(|group| group.0.to_string()).collect();
        let (mode, groups) = (agent.mode.as_str(), groups.join(","));
        format!("{{\"place\":\"{place}\",\"mode\":\"{mode}\",\"groups\":[{groups}]}}")
    });
    let agents: Vec<_> = agents.collect();
    let verdicts: Vec<_> =
        verdicts.iter().map(|verdict| format!("\"{}\"", verdict.as_str())).collect();
    format!(
        "{{\"source\":\"{}\",\"destination\":\"{}\",\"transit\":\"{}\",\"relation\":\"{}\",\"agents\":[{}],\"verdicts\":[{}]}}",
        case.source.as_str(),
        case.destination.as_str(),
        case.between.as_str(),
        case.relation.as_str(),
        agents.join(","),
        verdicts.join(",")
    )
}

/// Where the agents of a case are, in path order. The longest path has all of these places:
///
/// ```text
/// source-host - source-router - transit-1 - transit-2 - destination-router - destination-host
/// ```
fn places(case: Case) -> Vec<&'static str> {
    let end = |end, host, router| match end {
        End::None => None,
        End::Host(_) => Some(host),
        End::Router(_) => Some(router),
    };
    let between = case.between.as_str().len();
    end(case.source, "source-host", "source-router")
        .into_iter()
        .chain(["transit-1", "transit-2"].into_iter().take(between))
        .chain(end(case.destination, "destination-host", "destination-router"))
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn case(pattern: &str) -> Case {
        Case::all().into_iter().find(|case| case.fits(pattern)).unwrap()
    }

    #[test]
    fn a_line_says_who_and_what() {
        assert_eq!(
            line(case("router-open,host-closed,oc,R4"), Transit::Vouched),
            concat!(
                r#"{"source":"router-open","destination":"host-closed","transit":"oc","relation":"R4","#,
                r#""agents":[{"place":"source-router","mode":"open","groups":[1,2]},"#,
                r#"{"place":"transit-1","mode":"open","groups":[2]},"#,
                r#"{"place":"transit-2","mode":"closed","groups":[2]},"#,
                r#"{"place":"destination-host","mode":"closed","groups":[1]}],"#,
                r#""verdicts":["protect","bypass","bypass","protect"]}"#
            )
        );
    }

    #[test]
    fn every_agent_of_every_case_has_a_place() {
        for case in Case::all() {
            assert_eq!(places(case).len(), case.plan(Transit::Any).agents().len(), "{case}");
        }
    }
}
