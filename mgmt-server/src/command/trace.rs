//! `trace SRC DST`.

use super::open;
use super::output::{or_dash, print, print_json, table};
use crate::app::{End, Error, Forecast, Reason, Stop, Traced};
use crate::cli::{Data, Format};
use ge_core::wire::dprp::Place;
use mgmt_api::{Kind, Mode};
use serde::Serialize;

#[derive(Serialize)]
struct TraceJson {
    schema: &'static str,
    source: String,
    destination: String,
    agents: Vec<AgentJson>,
    verdict: &'static str,
    code: &'static str,
    reason: String,
    remedies: Vec<RemedyJson>,
    unknown: Vec<String>,
}

#[derive(Serialize)]
struct AgentJson {
    kind: &'static str,
    name: String,
    id: String,
    place: &'static str,
    prefix: Option<String>,
    mode: &'static str,
    transit: Option<&'static str>,
    groups: Vec<String>,
    verdict: &'static str,
    decided: bool,
}

#[derive(Serialize)]
struct RemedyJson {
    command: String,
    verdict: &'static str,
}

pub(crate) fn trace(
    data: &Data,
    source: &End,
    destination: &End,
    format: Format,
) -> Result<(), Error> {
    let traced = open(data)?.trace(source, destination)?;
    let json = json(source, destination, traced);
    if format.json { print_json(&json) } else { print(&text(&json)) }
}

fn json(source: &End, destination: &End, traced: Traced) -> TraceJson {
    let Traced { path, outcome, remedies, unknown } = traced;
    TraceJson {
        schema: "mgmt.trace/1",
        source: source.to_string(),
        destination: destination.to_string(),
        verdict: verdict(outcome),
        code: match outcome {
            Forecast::Protected(_) => "common-group",
            Forecast::Clear(reason) | Forecast::Dropped(reason) => reason.code(),
        },
        reason: sentence(&path, destination, outcome),
        agents: path.iter().enumerate().map(|(at, stop)| agent(at, stop, outcome)).collect(),
        remedies: remedies
            .into_iter()
            .map(|(command, outcome)| RemedyJson { command, verdict: verdict(outcome) })
            .collect(),
        unknown,
    }
}

fn agent(at: usize, stop: &Stop, outcome: Forecast) -> AgentJson {
    let decided = outcome == Forecast::Dropped(Reason::Closed(at));
    AgentJson {
        kind: program(stop.kind),
        name: stop.name.clone(),
        id: stop.id.clone(),
        place: match stop.place {
            Place::Source => "source",
            Place::Destination => "destination",
            Place::Between => "between",
        },
        prefix: stop.prefix.map(|prefix| prefix.to_string()),
        mode: stop.mode.as_str(),
        transit: (stop.kind == Kind::Router && stop.mode == Mode::Closed)
            .then(|| stop.transit.as_str()),
        groups: stop.groups.clone(),
        verdict: match outcome {
            Forecast::Protected(ends) if ends.contains(&at) => "protects",
            Forecast::Protected(_) | Forecast::Clear(_) => "passes",
            Forecast::Dropped(_) if decided => "refuses",
            Forecast::Dropped(_) => "drops",
        },
        decided,
    }
}

const fn program(kind: Kind) -> &'static str {
    match kind {
        Kind::Host => "ges",
        Kind::Router => "gen",
    }
}

const fn verdict(outcome: Forecast) -> &'static str {
    match outcome {
        Forecast::Protected(_) => "protected",
        Forecast::Clear(_) => "clear",
        Forecast::Dropped(_) => "dropped",
    }
}

fn sentence(path: &[Stop], destination: &End, outcome: Forecast) -> String {
    let reason = match outcome {
        Forecast::Protected([first, last]) => {
            return format!("{} and {} share a group", path[first].name, path[last].name);
        }
        Forecast::Clear(reason) | Forecast::Dropped(reason) => reason,
    };
    match reason {
        Reason::NoAgent => "there is no member at one of the two ends, and nobody is closed".into(),
        Reason::NoCommonGroup => {
            "no member of the source's side shares a group with one of the destination's, and \
             nobody is closed"
                .into()
        }
        Reason::Closed(at) => {
            let stop = &path[at];
            format!(
                "{} is closed{}, and the flow would pass it in clear, or between two who do not \
                 satisfy it",
                stop.name,
                if stop.kind == Kind::Router {
                    format!(", transit {}", stop.transit)
                } else {
                    String::new()
                }
            )
        }
        Reason::MustProtect => {
            format!("{destination} must not be talked to in clear, and nobody protects it")
        }
        Reason::OutOfScope => format!("agents do not ask for agents at {destination}"),
    }
}

fn text(trace: &TraceJson) -> String {
    let rows: Vec<[String; 8]> = (1..)
        .zip(&trace.agents)
        .map(|(number, agent)| {
            let mode = match agent.transit {
                Some(transit) => format!("{}, transit {transit}", agent.mode),
                None => agent.mode.into(),
            };
            [
                number.to_string(),
                agent.kind.into(),
                agent.name.clone(),
                agent.prefix.clone().unwrap_or_else(|| "-".into()),
                or_dash(&agent.groups),
                mode,
                agent.verdict.into(),
                if agent.decided { "← decided here".into() } else { String::new() },
            ]
        })
        .collect();
    let mut lines = vec![table(["", "KIND", "NAME", "FOR", "GROUPS", "MODE", "DOES", ""], &rows)];
    lines.push(format!("verdict: {} ({}): {}", trace.verdict, trace.code, trace.reason));
    lines.extend(
        trace
            .remedies
            .iter()
            .map(|RemedyJson { command, verdict }| format!("would be {verdict} by: {command}")),
    );
    lines.extend(trace.unknown.iter().map(|what| format!("not known here: {what}")));
    lines.join("\n")
}

#[cfg(test)]
mod tests {
    use super::super::output::assert_golden;
    use super::*;
    use mgmt_api::Transit;

    #[test]
    fn json_and_text_are_as_the_golden_files_say() {
        let stop = |name: &str, kind, place, mode, groups: &[&str], prefix: Option<&str>| Stop {
            name: name.into(),
            id: "a0".repeat(16),
            kind,
            place,
            mode,
            transit: Transit::Vouched,
            groups: groups.iter().map(|group| (*group).into()).collect(),
            prefix: prefix.map(|prefix| prefix.parse().unwrap()),
        };
        let hq = Some("10.20.0.0/16");
        let path = vec![
            stop("laptop", Kind::Host, Place::Source, Mode::Open, &["sales"], None),
            stop("gen-hq", Kind::Router, Place::Source, Mode::Closed, &["ops"], hq),
            stop("files", Kind::Host, Place::Destination, Mode::Open, &["sales"], None),
        ];
        let traced = Traced {
            path,
            outcome: Forecast::Dropped(Reason::Closed(1)),
            remedies: vec![(
                "mgmt-server member set gen-hq --group sales".into(),
                Forecast::Protected([0, 2]),
            )],
            unknown: vec!["what is down".into()],
        };
        let (source, destination) = ("laptop=10.20.0.7".parse().unwrap(), "files".parse().unwrap());
        let json = json(&source, &destination, traced);
        assert_golden("trace", &json);
        assert_golden("trace-text", &text(&json).lines().collect::<Vec<_>>());
    }
}
