//! One case: the source talks to the destination until the agents have decided, then it is looked at
//! what they did and what went over each link. What the rule says is used to know when to look, and
//! to compare; never to read a verdict.

use super::case::{Case, Place, Wanted};
use super::stage::{Ends, Stage, ends};
use crate::capture::{Kind, Tally};
use crate::stream::MARKER;
use anyhow::{Context, Result};
use serde_json::Value;
use std::net::{IpAddr, SocketAddr, UdpSocket};
use std::time::{Duration, Instant};

/// The source sends so often, and after each packet the agents are asked.
const EVERY: Duration = Duration::from_millis(100);
/// Longest time for the agents to decide: several ladders, and the wait of a refused destination.
const DECIDE: Duration = Duration::from_secs(25);
/// Packets that must have met an agent without a word of its own before its silence says anything:
/// longer than it holds a packet while it asks.
const SILENT: u64 = 8;
/// Times in a row that the same must be seen.
const STABLE: u32 = 2;
/// Packets by which it is seen what is done with the flow.
const PROOFS: u8 = 3;
/// Longest time for them to arrive.
const ARRIVE: Duration = Duration::from_secs(5);
/// A verdict that ends by itself in the middle of a proof asks for another proof.
const TRIES: u32 = 6;

/// What came of a case.
#[derive(Debug)]
pub struct Found {
    /// The case.
    pub case: Case,
    /// What the agents did, in path order.
    pub verdicts: Vec<String>,
    /// What of the packets' fate does not fit, and other surprises.
    pub odd: Vec<String>,
}

impl Found {
    /// The agents did what the rule says, and the packets went accordingly.
    #[must_use]
    pub fn agrees(&self) -> bool {
        self.verdicts == self.case.verdicts && self.odd.is_empty()
    }

    /// One line of JSON, as the simulator prints it.
    #[must_use]
    pub fn json(&self) -> String {
        let Case { source, destination, transit, relation, .. } = &self.case;
        format!(
            "{{\"source\":\"{source}\",\"destination\":\"{destination}\",\"transit\":\"{transit}\",\"relation\":\"{relation}\",\"verdicts\":{}}}",
            Value::from(self.verdicts.clone())
        )
    }
}

impl std::fmt::Display for Found {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{}: agents [{}]", self.case, self.verdicts.join(" "))?;
        if self.verdicts != self.case.verdicts {
            write!(f, ", rule [{}]", self.case.verdicts.join(" "))?;
        }
        self.odd.iter().try_for_each(|odd| write!(f, "; {odd}"))
    }
}

/// Plays `case` as number `n` on the stage.
///
/// # Errors
/// If the stage fails, not if the agents do something else than the rule says.
pub fn play(stage: &mut Stage, case: &Case, n: u16) -> Result<Found> {
    stage.arrange(case)?;
    let mut flows = Vec::new();
    for ends in ends(n) {
        flows.push(Flow::open(stage, ends)?);
    }
    let mut found = Found { case: case.clone(), verdicts: Vec::new(), odd: Vec::new() };
    for _ in 0..TRIES {
        found.odd.clear();
        found.verdicts = settle(stage, case, &flows)?;
        if found.verdicts != case.verdicts {
            return Ok(found);
        }
        prove(stage, &flows, &mut found, false)?;
        if !case.verdicts.iter().any(|verdict| verdict == "discard") {
            prove(stage, &flows, &mut found, true)?;
        }
        // Whatever went, went under these verdicts only if they still are.
        if last(stage, case, &flows)? {
            return Ok(found);
        }
    }
    found.odd.push("the verdicts do not last".to_owned());
    Ok(found)
}

/// Whether every agent that has a row for the flows still says what the rule says.
fn last(stage: &Stage, case: &Case, flows: &[Flow]) -> Result<bool> {
    let rows = rows(stage, case)?;
    let fits = |at: usize, flow: &Flow| {
        let row = row(&rows[at], case.agents[at].place, flow.ends);
        match (case.verdicts[at].as_str(), row) {
            ("protect", row) => row == Some("protected"),
            ("bypass", row) => matches!(row, None | Some("clear" | "transit")),
            // One that never sees a packet may have an old word.
            (_, row) => matches!(row, None | Some("dropped" | "clear" | "transit")),
        }
    };
    Ok((0..rows.len()).all(|at| flows.iter().all(|flow| fits(at, flow))))
}

/// Both ends of a flow.
struct Flow {
    ends: Ends,
    source: UdpSocket,
    destination: UdpSocket,
}

impl Flow {
    fn open(stage: &Stage, ends: Ends) -> Result<Self> {
        let port = 9;
        let (one, other) =
            (SocketAddr::new(ends.source, port), SocketAddr::new(ends.destination, port));
        let bind = |own: SocketAddr, peer: SocketAddr| -> Result<UdpSocket> {
            let socket = UdpSocket::bind(own).with_context(|| format!("binding to {own}"))?;
            socket.connect(peer)?;
            socket.set_nonblocking(true)?;
            Ok(socket)
        };
        let source = stage.source().enter(|| bind(one, other))?;
        let destination = stage.destination().enter(|| bind(other, one))?;
        Ok(Self { ends, source, destination })
    }

    /// One packet that can be read on a wire, if it is in clear. That the system says it was
    /// refused is no error: the agents decide. Each is longer than the one before, so that nobody on the
    /// way merges them: a wire counts packets.
    fn send(&self, back: bool, number: u8) {
        let from = if back { &self.destination } else { &self.source };
        let _refused = from.send(&[MARKER, &vec![b' '; number.into()], &[number]].concat());
    }

    /// Numbers of the packets that arrived since the last call.
    fn arrived(&self, back: bool) -> Vec<u8> {
        let to = if back { &self.source } else { &self.destination };
        let mut buffer = [0; 2048];
        let mut numbers = Vec::new();
        // An error here is an ICMP error about what was sent the other way; the next call goes on.
        for _ in 0..64 {
            match to.recv(&mut buffer) {
                Ok(length) => numbers.extend(buffer[..length].last()),
                Err(error) if error.kind() == std::io::ErrorKind::WouldBlock => break,
                Err(_) => {}
            }
        }
        numbers
    }
}

/// Readable packets of a flow on each link, in path order.
fn readable(seen: &[Tally], ends: Ends, back: bool) -> Vec<u64> {
    let (from, to) =
        if back { (ends.destination, ends.source) } else { (ends.source, ends.destination) };
    let count = |tally: &Tally| tally.frames.get(&(from, to, Kind::Udp)).copied().unwrap_or(0);
    seen.iter().map(count).collect()
}

/// Packets of each flow that could be read on each link, and that arrived: at first, a moment ago, now.
#[derive(Default)]
struct Watch {
    arrived: Vec<u64>,
    first: Vec<Vec<u64>>,
    last: Vec<Vec<u64>>,
    now: Vec<Vec<u64>>,
}

impl Watch {
    fn look(&mut self, stage: &Stage, flows: &[Flow]) {
        let seen = stage.glance();
        self.arrived.resize(flows.len(), 0);
        let one = |(flow, arrived): (&Flow, &mut u64)| {
            *arrived += flow.arrived(false).len() as u64;
            let mut counts = readable(&seen, flow.ends, false);
            counts.push(*arrived);
            counts
        };
        let now = flows.iter().zip(&mut self.arrived).map(one).collect();
        self.last = std::mem::replace(&mut self.now, now);
        if self.first.is_empty() {
            self.first.clone_from(&self.now);
        }
    }

    fn since(&self, then: &[Vec<u64>], flow: usize, link: usize) -> u64 {
        let at = |counts: &[Vec<u64>]| counts.get(flow).and_then(|links| links.get(link)).copied();
        at(&self.now).unwrap_or(0).saturating_sub(at(then).unwrap_or(0))
    }

    /// Packets that came to a machine lately; to the source machine always.
    fn reaches(&self, flow: usize, place: Place) -> bool {
        place.number().checked_sub(1).is_none_or(|link| self.since(&self.last, flow, link) > 0)
    }

    /// Packets that came to a machine in all.
    fn reached(&self, flow: usize, place: Place) -> u64 {
        place.number().checked_sub(1).map_or(SILENT, |link| self.since(&self.first, flow, link))
    }

    /// Whether packets lately can be read behind a machine, or by it, if it is the last.
    fn passes(&self, flow: usize, place: Place) -> bool {
        self.since(&self.last, flow, place.number()) > 0
    }
}

/// Talks until the agents say, several times in a row, what the rule says; or until they had time
/// enough. Returns what they said last.
fn settle(stage: &Stage, case: &Case, flows: &[Flow]) -> Result<Vec<String>> {
    let begin = Instant::now();
    let (mut watch, mut stable) = (Watch::default(), 0);
    watch.look(stage, flows);
    loop {
        flows.iter().for_each(|flow| flow.send(false, 0));
        std::thread::sleep(EVERY);
        watch.look(stage, flows);
        let verdicts = read(stage, case, flows, &watch)?;
        stable = if verdicts == case.verdicts { stable + 1 } else { 0 };
        if stable >= STABLE || begin.elapsed() > DECIDE {
            return Ok(verdicts);
        }
    }
}

/// The verdict of each agent; `A/B` where the two IP versions differ.
fn read(stage: &Stage, case: &Case, flows: &[Flow], watch: &Watch) -> Result<Vec<String>> {
    let rows = rows(stage, case)?;
    let of_flow: Vec<Vec<&str>> = flows
        .iter()
        .enumerate()
        .map(|(number, flow)| {
            let mut before: Vec<&str> = Vec::new();
            for (wanted, rows) in case.agents.iter().zip(&rows) {
                let row = row(rows, wanted.place, flow.ends);
                before.push(verdict(row, wanted, &before, watch, number));
            }
            before
        })
        .collect();
    let agree = |at: usize| {
        let mut words: Vec<&str> = of_flow.iter().map(|verdicts| verdicts[at]).collect();
        words.dedup();
        words.join("/")
    };
    Ok((0..case.agents.len()).map(agree).collect())
}

/// What each agent of the case tells of its flows.
fn rows(stage: &Stage, case: &Case) -> Result<Vec<Value>> {
    let ask = |wanted| {
        let said = stage.agent(wanted)?.ges(&["flows", "--json"])?;
        serde_json::from_str(&said).context("flows --json")
    };
    case.agents.iter().map(ask).collect()
}

/// The word of an agent's row for a flow.
fn row(rows: &Value, place: Place, ends: Ends) -> Option<&str> {
    let (local, remote) = if place.is_source_side() {
        (ends.source, ends.destination)
    } else {
        (ends.destination, ends.source)
    };
    let is = |value: &Value, ip: IpAddr| value.as_str() == Some(&ip.to_string());
    let mut rows = rows["flows"].as_array()?.iter();
    let row = rows.find(|row| is(&row["remote"], remote) && is(&row["local"], local))?;
    row["verdict"].as_str()
}

/// From the row; where there is none, from whether packets that came to the agent get past it.
fn verdict(
    row: Option<&str>,
    wanted: &Wanted,
    before: &[&str],
    watch: &Watch,
    flow: usize,
) -> &'static str {
    let place = wanted.place;
    match row {
        Some("protected") => "protect",
        Some("dropped") => "discard",
        // Nothing comes by any more: its word from before does not count.
        Some("clear" | "transit") if before.contains(&"discard") && !watch.reaches(flow, place) => {
            "discard"
        }
        Some("clear" | "transit") => "bypass",
        None if watch.passes(flow, place) && wanted.mode == "open" => "bypass",
        // It never sees one.
        None if before.contains(&"discard") && !watch.reaches(flow, place) => "discard",
        // It has seen some, and lets none through.
        None if watch.reached(flow, place) >= SILENT && !watch.passes(flow, place) => "discard",
        _ => "pending",
    }
}

/// Sends packets one way and looks where they went.
fn prove(stage: &Stage, flows: &[Flow], found: &mut Found, back: bool) -> Result<()> {
    let way = if back { "back" } else { "there" };
    let passes = !found.case.verdicts.iter().any(|verdict| verdict == "discard");
    let before = stage.seen()?;
    for flow in flows {
        flow.arrived(back);
        (1..=PROOFS).for_each(|number| flow.send(back, number));
    }
    let mut arrived = vec![Vec::new(); flows.len()];
    let begin = Instant::now();
    while passes
        && begin.elapsed() < ARRIVE
        && arrived.iter().any(|numbers: &Vec<u8>| numbers.len() < PROOFS.into())
    {
        std::thread::sleep(Duration::from_millis(2));
        for (flow, arrived) in flows.iter().zip(&mut arrived) {
            arrived.extend(flow.arrived(back));
        }
    }
    let after = stage.seen()?;
    let sealed = segment(&found.case);
    for (flow, mut arrived) in flows.iter().zip(arrived) {
        arrived.extend(flow.arrived(back));
        // A verdict that comes to the kernel meanwhile lets the next packet overtake one that waits
        // for the agent: each arrives, once.
        arrived.sort_unstable();
        let expected: Vec<u8> = if passes { (1..=PROOFS).collect() } else { Vec::new() };
        if arrived != expected {
            found.odd.push(format!("{way}, {}: arrived {arrived:?}", flow.ends.destination));
        }
        let (then, now) = (readable(&before, flow.ends, back), readable(&after, flow.ends, back));
        for (link, (then, now)) in then.iter().zip(now).enumerate() {
            let within = sealed.as_ref().is_some_and(|sealed| sealed.contains(&link));
            let clear = now - then;
            if passes && clear != if within { 0 } else { u64::from(PROOFS) } {
                let to = flow.ends.destination;
                found.odd.push(format!("{way}, {to}: {clear} readable on link {link}"));
            }
        }
    }
    // Who refuses a packet sends its beginning back: then the marker says nothing.
    if passes {
        marked(&before, &after, flows, way, found);
    }
    Ok(())
}

/// The marker is seen in those packets that can be read, and nowhere else.
fn marked(before: &[Tally], after: &[Tally], flows: &[Flow], way: &str, found: &mut Found) {
    let count = |seen: &[Tally], link: usize| -> u64 {
        let of = |flow: &Flow, back| readable(seen, flow.ends, back)[link];
        flows.iter().map(|flow| of(flow, false) + of(flow, true)).sum()
    };
    for link in 0..before.len() {
        let marker = after[link].marker - before[link].marker;
        let clear = count(after, link) - count(before, link);
        if marker != clear {
            found.odd.push(format!("{way}: marker in {marker}, readable {clear} on link {link}"));
        }
    }
}

/// Links between the two agents that protect.
fn segment(case: &Case) -> Option<std::ops::Range<usize>> {
    let mut ends =
        case.agents.iter().zip(&case.verdicts).filter(|(_, verdict)| *verdict == "protect");
    let (first, last) = (ends.next()?.0.place, ends.next_back()?.0.place);
    Some(first.number()..last.number())
}

/// Of its whole life: a closed agent let nothing of the case through in clear, not before the verdict
/// and not after. To be asked at the end, when whatever was held has long gone.
#[must_use]
pub fn leaks(case: &Case, n: u16, seen: &[Tally]) -> Vec<String> {
    let closed = case.agents.iter().zip(&case.verdicts).filter(|(agent, _)| agent.mode == "closed");
    let mut leaks = Vec::new();
    for (agent, verdict) in closed {
        // An end on the destination's side opens what it passes on.
        if verdict == "protect" && !agent.place.is_source_side() {
            continue;
        }
        let link = agent.place.number();
        for ends in ends(n) {
            let clear = readable(seen, ends, false).get(link).copied().unwrap_or(0);
            if clear > 0 {
                let to = ends.destination;
                leaks.push(format!("{clear} packets to {to} passed the closed {:?}", agent.place));
            }
        }
    }
    leaks
}
