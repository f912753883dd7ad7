//! Parts `pair`, `router` and `flows`: traffic by the protected cable and by the plain one in turn.

use super::gauge::Load;
use super::row::{Row, Trouble};
use super::setting::Profile;
use super::spread::Spread;
use super::stage::{Lan, MORE, Stage, Way};
use super::traffic::{Addresses, Outcome, Traffic};
use super::{Inside, progress};
use anyhow::{Context, Result};

/// Connections of the largest case.
const MOST_FLOWS: u32 = 10_000;

/// A disturbed measurement is made so often; then it stands, marked.
const ATTEMPTS: u32 = 3;

/// One line of the part, or two with CPU.
struct Case {
    what: String,
    traffic: Traffic,
    lan: Option<Lan>,
    taken: [Vec<Outcome>; 2],
}

impl Case {
    fn new(what: &str, traffic: Traffic, lan: Option<Lan>) -> Self {
        Self { what: what.to_owned(), traffic, lan, taken: [Vec::new(), Vec::new()] }
    }
}

/// Two hosts.
pub(super) fn pair(options: &Inside) -> Result<Vec<Row>> {
    let cases = [
        Case::new("TCP, 1 flow", Traffic::Iperf(1), None),
        Case::new("UDP, 64 bytes, arrived", Traffic::Datagrams(64), None),
        Case::new("UDP, 1,200 bytes, arrived", Traffic::Datagrams(1200), None),
        Case::new("echo, there and back", Traffic::Echoes, None),
    ];
    rows(options, "pair", &Stage::pair(options.profile)?, cases.into())
}

/// Two routers between two machines without agents.
pub(super) fn router(options: &Inside) -> Result<Vec<Row>> {
    let merged = match options.profile {
        Profile::Sw => "LAN merged by GRO",
        Profile::Hw => "LAN with super-packets",
    };
    let mut cases = Vec::new();
    for (lan, name) in [(Lan::Profile, merged), (Lan::Single, "LAN one by one")] {
        for flows in [1, 100] {
            let what = format!("TCP, {}, {name}", flows_text(flows));
            cases.push(Case::new(&what, Traffic::Iperf(flows), Some(lan)));
        }
    }
    rows(options, "router", &Stage::routers(options.profile)?, cases)
}

/// Many connections between two hosts, and the largest case beside one connection.
pub(super) fn flows(options: &Inside) -> Result<Vec<Row>> {
    let many = format!("generator, {}, {} pairs", flows_text(MOST_FLOWS), grouped(MORE));
    let own = |flows| format!("generator, {}", flows_text(flows));
    let one = |flows| Traffic::Flows(flows, Addresses::One);
    let cases = vec![
        Case::new("TCP, 100 flows", Traffic::Iperf(100), None),
        Case::new(&own(1), one(1), None),
        Case::new(&own(100), one(100), None),
        Case::new(&own(MOST_FLOWS), one(MOST_FLOWS), None),
        Case::new(&many, Traffic::Flows(MOST_FLOWS, Addresses::Many), None),
    ];
    let stage = Stage::pair(options.profile)?;
    let cases = measured(options, "flows", &stage, cases)?;
    let mut rows = Vec::new();
    for case in &cases {
        rows.extend(rows_of("flows", case)?);
    }
    for case in [&cases[3], &cases[4]] {
        let what = format!("{}, beside 1 flow", case.what.trim_start_matches("generator, "));
        rows.push(beside("flows", &what, case, &cases[1])?);
    }
    Ok(rows)
}

fn flows_text(flows: u32) -> String {
    match flows {
        1 => "1 flow".to_owned(),
        _ => format!("{} flows", grouped(flows)),
    }
}

/// As people write numbers below a million.
fn grouped(number: u32) -> String {
    match number {
        1000.. => format!("{},{:03}", number / 1000, number % 1000),
        _ => number.to_string(),
    }
}

fn rows(options: &Inside, part: &str, stage: &Stage, cases: Vec<Case>) -> Result<Vec<Row>> {
    let cases = measured(options, part, stage, cases)?;
    let rows = cases.iter().map(|case| rows_of(part, case)).collect::<Result<Vec<_>>>()?;
    Ok(rows.concat())
}

/// All cases in turn, plain and ours in turn, and that again as often as asked.
fn measured(
    options: &Inside,
    part: &str,
    stage: &Stage,
    mut cases: Vec<Case>,
) -> Result<Vec<Case>> {
    for run in 1..=options.runs {
        for case in &mut cases {
            if let Some(lan) = case.lan {
                stage.set_lan(lan)?;
            }
            let name = format!("{part}: run {run}, {}", case.what);
            for (way, taken) in undisturbed(options, stage, case.traffic, &name)? {
                case.taken[way as usize].push(taken);
            }
            stage.ensure_protected()?;
        }
    }
    Ok(cases)
}

/// Both ways in turn; again if somebody else had the CPUs meanwhile, a few times.
fn undisturbed(
    options: &Inside,
    stage: &Stage,
    traffic: Traffic,
    name: &str,
) -> Result<Vec<(Way, Outcome)>> {
    let mut attempt = 1;
    loop {
        let mut both = Vec::new();
        for way in Way::BOTH {
            let name = format!("{name}, {}", way.as_str());
            progress(&name);
            both.push((way, once(stage, traffic, way, options.secs).context(name)?));
        }
        let troubles = both.iter().map(|(_, taken)| taken.used.trouble);
        let trouble = troubles.fold(Trouble::default(), Trouble::worst);
        if !trouble.is_disturbed() || attempt == ATTEMPTS {
            return Ok(both);
        }
        attempt += 1;
        progress(&format!(
            "again: other machines had {:.1} % of the time, other programs {:.0} %",
            trouble.stolen_percent, trouble.others_percent
        ));
    }
}

/// One measurement, and who else ran.
fn once(stage: &Stage, traffic: Traffic, way: Way, secs: u64) -> Result<Outcome> {
    let before = Load::read(&stage.agents)?;
    let mut taken = traffic.run(stage, way, secs)?;
    taken.used.trouble.others_percent = Load::read(&stage.agents)?.others_since(&before);
    Ok(taken)
}

/// Values of both ways; their ratios run by run.
fn spreads(ours: &[f64], plain: &[f64]) -> Result<(Spread, Spread, Spread)> {
    let ratios: Vec<f64> = ours.iter().zip(plain).map(|(ours, plain)| ours / plain).collect();
    let spread = |values: &[f64]| Spread::of(values).context("no run");
    Ok((spread(ours)?, spread(plain)?, spread(&ratios)?))
}

fn row(part: &str, what: &str, unit: &str, ours: &[f64], plain: &[f64]) -> Result<Row> {
    let (ours, plain, ratio) = spreads(ours, plain)?;
    let row = Row::alone(part, what, unit, ours);
    Ok(Row { plain: Some(plain), ratio: Some(ratio), ..row })
}

/// Throughput or time, and CPU where bytes were counted.
fn rows_of(part: &str, case: &Case) -> Result<Vec<Row>> {
    let values = |way: Way, of: fn(&Outcome) -> f64| -> Vec<f64> {
        case.taken[way as usize].iter().map(of).collect()
    };
    let both = |what: &str, unit: &str, of: fn(&Outcome) -> f64| {
        row(part, what, unit, &values(Way::Ours, of), &values(Way::Plain, of))
    };
    let mut first = both(&case.what, case.traffic.unit(), |taken| taken.value)?;
    first.more_is_better = case.traffic.more_is_better();
    let worst = |way: Way| {
        let troubles = case.taken[way as usize].iter().map(|taken| taken.used.trouble);
        troubles.fold(Trouble::default(), Trouble::worst)
    };
    first.trouble = Some([worst(Way::Ours), worst(Way::Plain)]);
    let mut rows = vec![first];
    if case.taken.iter().flatten().all(|taken| taken.bytes.is_some()) {
        let cpu = |whose| format!("{}, CPU of {whose}", case.what);
        rows.push(both(&cpu("all"), "s/GB", |taken| each(taken.used.busy, taken))?);
        let ours = values(Way::Ours, |taken| each(taken.used.agents, taken));
        let spread = Spread::of(&ours).context("no run")?;
        rows.push(Row::alone(part, &cpu("agents"), "s/GB", spread));
    }
    if case.taken.iter().flatten().all(|taken| taken.silent.is_some()) {
        let ours = values(Way::Ours, |taken| taken.silent.unwrap_or_default() as f64);
        let plain = values(Way::Plain, |taken| taken.silent.unwrap_or_default() as f64);
        let what = format!("{}, silent", case.what);
        let row = Row::alone(part, &what, "flows", Spread::of(&ours).context("no run")?);
        rows.push(Row { plain: Spread::of(&plain), ..row });
    }
    Ok(rows)
}

/// Seconds for a gigabyte.
fn each(seconds: f64, taken: &Outcome) -> f64 {
    seconds * 1e9 / taken.bytes.unwrap_or_default() as f64
}

/// A case's throughput as a part of another's, run by run.
fn beside(part: &str, what: &str, case: &Case, one: &Case) -> Result<Row> {
    let parts = |way: Way| -> Vec<f64> {
        let (many, one) = (&case.taken[way as usize], &one.taken[way as usize]);
        many.iter().zip(one).map(|(many, one)| many.value / one.value).collect()
    };
    let row = row(part, what, "of 1 flow", &parts(Way::Ours), &parts(Way::Plain))?;
    Ok(Row { more_is_better: true, ..row })
}

#[cfg(test)]
mod tests {
    use super::{flows_text, spreads};

    #[test]
    fn ratios_are_those_of_runs_and_not_of_medians() {
        let (ours, plain, ratio) = spreads(&[1.0, 2.0, 9.0], &[2.0, 8.0, 9.0]).unwrap();
        assert_eq!((ours.median, plain.median), (2.0, 8.0));
        assert_eq!((ratio.least, ratio.median, ratio.most), (0.25, 0.5, 1.0));
        assert!(spreads(&[], &[]).is_err());
    }

    #[test]
    fn numbers_of_flows_as_people_write_them() {
        assert_eq!([1, 100, 10_000].map(flows_text), ["1 flow", "100 flows", "10,000 flows"]);
    }
}
