//! Plain protocols between two members.
//!
//! ```text
//!   ms .1  ──┬──  switch  ──┬── a .11  ges, open
//!            │   tap on a   └── b .12  ges, open
//! ```

use crate::agent::Agent;
use crate::lab::Lab;
use crate::pair::{ECHO_DEADLINE, GROUP, Pair};
use crate::ping::ping;
use crate::scenario::{Scenario, scenario};
use crate::server::{Server, TokenRequest};
use crate::stream::transfer;
use crate::tools::{PROGRAMS, curl, iperf3, received_bytes};
use crate::udp;
use anyhow::{Result, ensure};

pub(crate) const LIST: &[Scenario] = &[
    scenario("ping4", "echo over IPv4 is answered and sealed", &[], || echo("open", false)),
    scenario("ping6", "echo over IPv6 is answered and sealed", &[], || echo("open", true)),
    scenario("ping4_closed", "the same between closed members", &[], || echo("closed", false)),
    scenario("ping6_closed", "the same between closed members", &[], || echo("closed", true)),
    scenario("tcp4", "32 MiB each way over IPv4, same SHA-256", &[], || tcp(false)),
    scenario("tcp6", "32 MiB each way over IPv6, same SHA-256", &[], || tcp(true)),
    scenario("udp4", "datagrams of every size come back unchanged", &[], || {
        datagrams(false, &[0, 1, 100, 1200, 1472, 1400, 1])
    }),
    scenario("udp6", "datagrams of every size come back unchanged", &[], || {
        datagrams(true, &[0, 1, 100, 1200, 1452, 1400, 1])
    }),
    scenario("fragments4", "datagrams larger than the link, IPv4", &[], || {
        datagrams(false, &[1473, 2000, 8192, 30_000, 60_000])
    }),
    scenario("fragments6", "datagrams larger than the link, IPv6", &[], || {
        datagrams(true, &[1453, 2000, 8192, 30_000, 60_000])
    }),
    scenario("threads", "many flows use every thread at both ends", PROGRAMS, threads),
    scenario("threads_differ", "one end has three threads, the other eight", PROGRAMS, || {
        spread([3, 8], |_, _| Ok(()))
    }),
    scenario("mixed_modes", "an open and a closed member protect", &[], mixed_modes),
    scenario("simultaneous_start", "both agents, then both first packets at once", &[], at_once),
];

const FILE: u64 = 32 << 20;

fn echo(mode: &str, v6: bool) -> Result<()> {
    let pair = Pair::new(mode)?;
    let tap = pair.tap()?;
    pair.exchange(v6)?;
    pair.ensure_protected(&tap.finish()?, v6)
}

fn tcp(v6: bool) -> Result<()> {
    let pair = Pair::new("open")?;
    let tap = pair.tap()?;
    transfer(&pair.lab.a, pair.address_of_a(v6), &pair.lab.b, FILE)?;
    transfer(&pair.lab.b, pair.address_of_b(v6), &pair.lab.a, FILE)?;
    pair.ensure_protected(&tap.finish()?, v6)
}

fn datagrams(v6: bool, sizes: &[usize]) -> Result<()> {
    let pair = Pair::new("open")?;
    let tap = pair.tap()?;
    udp::echo(&pair.lab.a, &pair.lab.b, pair.address_of_b(v6), sizes)?;
    udp::echo(&pair.lab.b, &pair.lab.a, pair.address_of_a(v6), sizes)?;
    for size in [64, 1200] {
        udp::burst(&pair.lab.a, &pair.lab.b, pair.address_of_b(v6), size)?;
    }
    pair.ensure_protected(&tap.finish()?, v6)
}

/// Streams at once: with so many, one of two threads gets none one time in eight million.
const STREAMS: &str = "24";

fn threads() -> Result<()> {
    spread([2, 2], |agent, workers| {
        let packets = agent.thread_packets()?;
        ensure!(packets.len() == 2 * workers, "{} threads: {packets:?}", workers);
        ensure!(packets.iter().all(|count| *count > 0), "a thread did nothing: {packets:?}");
        Ok(())
    })
}

/// Two agents with so many threads of their own, and many streams each way.
fn spread(workers: [usize; 2], check: fn(&Agent, usize) -> Result<()>) -> Result<()> {
    let lab = Lab::switched(1500)?;
    let server = Server::start(&lab.ms)?;
    server.group(GROUP)?;
    let enrol = |host, workers: usize| {
        let mut agent = Agent::prepare(host, &server, TokenRequest::new(GROUP, "closed"))?;
        agent.add_args(&["--workers", &workers.to_string()]);
        agent.start()?;
        anyhow::Ok(agent)
    };
    let (a, b) = (enrol(&lab.a, workers[0])?, enrol(&lab.b, workers[1])?);
    let pair = Pair { a, b, server, lab };
    let tap = pair.tap()?;
    for v6 in [false, true] {
        let at = pair.address_of_b(v6);
        for way in [&["-P", STREAMS][..], &["-P", STREAMS, "-R"]] {
            iperf3(&pair.lab.a, &pair.lab.b, at, way, received_bytes)?;
        }
        pair.exchange(v6)?;
        curl(&pair.lab.a, &pair.lab.b, at)?;
    }
    transfer(&pair.lab.a, pair.address_of_a(false), &pair.lab.b, FILE)?;
    check(&pair.a, workers[0])?;
    check(&pair.b, workers[1])?;
    pair.ensure_protected(&tap.finish()?, true)
}

fn mixed_modes() -> Result<()> {
    let lab = Lab::switched(1500)?;
    let server = Server::start(&lab.ms)?;
    server.group(GROUP)?;
    let a = Agent::enrol(&lab.a, &server, GROUP, "open")?;
    let b = Agent::enrol(&lab.b, &server, GROUP, "closed")?;
    let pair = Pair { a, b, server, lab };
    let tap = pair.tap()?;
    pair.exchange(false)?;
    pair.exchange(true)?;
    pair.ensure_protected(&tap.finish()?, false)
}

fn at_once() -> Result<()> {
    let lab = Lab::switched(1500)?;
    let server = Server::start(&lab.ms)?;
    server.group(GROUP)?;
    let mut a = Agent::prepare(&lab.a, &server, TokenRequest::new(GROUP, "closed"))?;
    let mut b = Agent::prepare(&lab.b, &server, TokenRequest::new(GROUP, "closed"))?;
    a.launch()?;
    b.launch()?;
    a.wait_up()?;
    b.wait_up()?;
    let pair = Pair { a, b, server, lab };
    let tap = pair.tap()?;
    for v6 in [false, true] {
        let answers = std::thread::scope(|scope| {
            let there = scope.spawn(|| ping(&pair.lab.a, pair.address_of_b(v6), ECHO_DEADLINE));
            let back = scope.spawn(|| ping(&pair.lab.b, pair.address_of_a(v6), ECHO_DEADLINE));
            [there, back].map(|thread| thread.join().ok().and_then(Result::ok).flatten())
        });
        ensure!(answers.iter().all(Option::is_some), "first packets at once: {answers:?}");
        pair.ensure_protected(&tap.so_far()?, v6)?;
    }
    pair.ensure_protected(&tap.finish()?, false)
}
