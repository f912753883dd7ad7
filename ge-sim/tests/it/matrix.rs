//! The mode matrix: all 700 cases with each transit setting.

use ge_core::Transit;
use ge_sim::matrix::case::Case;
use ge_sim::matrix::observe::observe_all;
use ge_sim::matrix::{Found, Settings, run_all};

/// Runs all cases; names those where agents and rule differ.
fn agree(transit: Transit, seed: u64, v4: bool) {
    let settings = Settings { transit, seed, v4, trace: false };
    let found = run_all(&Case::all(), settings);
    let wrong: Vec<String> =
        found.iter().filter(|found| !found.agrees()).map(ToString::to_string).collect();
    assert!(
        wrong.is_empty(),
        "{} of {} differ; cargo xtask matrix --transit {} --seed {seed} --trace --case CASE\n{}",
        wrong.len(),
        found.len(),
        transit.as_str(),
        wrong.join("\n")
    );
}

#[test]
fn agents_do_what_the_rule_says_when_vouched() {
    agree(Transit::Vouched, 1, true);
}

#[test]
fn agents_do_what_the_rule_says_when_strict() {
    agree(Transit::Strict, 2, true);
}

#[test]
fn agents_do_what_the_rule_says_when_any_passes() {
    agree(Transit::Any, 3, true);
}

#[test]
fn agents_do_what_the_rule_says_over_ipv6() {
    agree(Transit::Vouched, 4, false);
}

/// What agents do is read from them and not from the rule: under another setting they do otherwise.
#[test]
fn difference_is_seen() {
    let run = |transit| {
        let settings = Settings { transit, seed: 1, v4: true, trace: false };
        run_all(&Case::all(), settings)
    };
    let (strict, any) = (run(Transit::Strict), run(Transit::Any));
    let differ = strict.iter().zip(&any).filter(|(strict, any)| {
        let swapped = Found { expected: any.expected.clone(), ..(*strict).clone() };
        strict.verdicts != any.verdicts && !swapped.agrees()
    });
    assert!(differ.count() > 50);
}

/// The lines that `cargo xtask matrix --json` prints.
#[test]
fn lines_of_json() {
    let cases: Vec<Case> =
        Case::all().into_iter().filter(|case| case.fits("host-open,none,oc,R3")).collect();
    let settings = Settings { transit: Transit::Vouched, seed: 1, v4: true, trace: false };
    let lines: Vec<String> = run_all(&cases, settings).iter().map(Found::json).collect();
    assert_eq!(
        lines,
        [
            r#"{"source":"host-open","destination":"none","transit":"oc","relation":"R3","verdicts":["protect","bypass","protect"]}"#
        ]
    );
}

/// Each open agent of each case, told to observe: the flow passes as if it did not, and it is
/// listed exactly where the rule says that this agent, closed, would discard it.
#[test]
fn observing_agents_say_what_closed_ones_would_drop() {
    let settings = Settings { transit: Transit::Vouched, seed: 5, v4: true, trace: false };
    let (open, observed) = (run_all(&Case::all(), settings), observe_all(&Case::all(), settings));
    let mut named = 0;
    for (open, observed) in open.iter().zip(&observed) {
        assert_eq!(observed.verdicts, open.verdicts, "observing changed {}", open.case);
        let wrong = format!("{}: {:?}, {:?}", open.case, observed.would, observed.expected_would);
        assert_eq!(observed.would, observed.expected_would, "{wrong}");
        named += observed.would.iter().filter(|would| **would).count();
    }
    assert!(named > 100, "{named} of agents that see a flow pass in clear");
}
