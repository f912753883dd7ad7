//! Open mode that cannot be tricked quietly: what the policy and the agent's memory forbid stays
//! forbidden, and what closed mode would refuse is told before it is switched on.
//!
//! ```text
//!   ms .1  ──┬──  switch  ──┬── a .11  ges, open or observe; sometimes killed
//!            │   tap on a   ├── b .12  ges, member; sometimes silent
//!            │              └── o .99  no agent
//! ```

use crate::agent::Agent;
use crate::host::Host;
use crate::lab::{Lab, ip};
use crate::pair::{ECHO_DEADLINE, GROUP, NO_ECHO, Pair};
use crate::ping::ping;
use crate::scenario::{Scenario, scenario};
use crate::server::Server;
use crate::stream::Stream;
use crate::wait::wait_until;
use anyhow::{Context, Result, ensure};
use serde_json::Value;
use std::net::IpAddr;
use std::time::Duration;

pub(crate) const LIST: &[Scenario] = &[
    scenario("observe", "observe mode passes, and lists what closed mode would drop", &[], observe),
    scenario(
        "observe_to_closed",
        "observe to closed under traffic: nothing in clear after the switch",
        &[],
        observe_to_closed,
    ),
    scenario(
        "must_protect_killed",
        "an open agent is killed: what must be protected stays refused, all else goes on",
        &[],
        must_protect_killed,
    ),
    scenario(
        "must_protect_name",
        "a name's addresses are never talked to in clear, over a restart and a silent resolver",
        &[],
        must_protect_name,
    ),
    scenario(
        "sticky_killed",
        "killed and restarted in open mode while the peer is silent: nothing in clear",
        &[],
        sticky_killed,
    ),
    scenario(
        "mac_change",
        "an open host's Ethernet address changes: members' packets are not in clear",
        &[],
        mac_change,
    ),
];

const DEADLINE: Duration = Duration::from_secs(15);

/// The flow rows that closed mode would drop.
fn would_drop(agent: &Agent) -> Result<Vec<Value>> {
    let text = agent.ges(&["flows", "--would-drop", "--json"])?;
    let report: Value = serde_json::from_str(&text)?;
    Ok(report["flows"].as_array().context("no flows")?.clone())
}

fn listed(agent: &Agent, remote: IpAddr) -> Result<bool> {
    let flows = would_drop(agent)?;
    Ok(flows.iter().any(|flow| flow["remote"] == remote.to_string() && flow["would"] == "dropped"))
}

fn observe() -> Result<()> {
    let pair = Pair::new("observe")?;
    let outsider = pair.lab.outsider()?;
    ensure!(pair.a.status()?["mode"] == "observe", "the mode is not shown");
    // The kernel may reset what is left of a connection that the agent closed: that is a flow.
    let server = pair.lab.ms.v4.to_string();
    let others = |rows: Vec<Value>| rows.into_iter().filter(|row| row["remote"] != *server).count();
    ensure!(others(would_drop(&pair.a)?) == 0, "something is listed before anybody talked");
    // A stranger comes in: it passes, and it is listed, although open mode keeps no row for it.
    ensure!(ping(outsider, pair.address_of_a(false), ECHO_DEADLINE)?.is_some(), "refused");
    // One is talked to: judged when closed mode would have given up asking.
    let theirs = outsider.addresses()[1];
    ensure!(ping(&pair.lab.a, theirs, ECHO_DEADLINE)?.is_some(), "{theirs} was not reached");
    for remote in outsider.addresses() {
        let what = format!("{remote} to be listed");
        wait_until(&what, DEADLINE, || listed(&pair.a, remote))?;
    }
    // Members are protected and not listed.
    pair.exchange(false)?;
    pair.a.wait_verdict(pair.address_of_b(false), "protected")?;
    ensure!(!listed(&pair.a, pair.address_of_b(false))?, "a protected flow is listed");
    let rows = would_drop(&pair.a)?;
    let with_server = rows.len() as u64;
    ensure!(others(rows) == 2, "other flows than the outsider's are listed");
    let text = pair.a.ges(&["status"])?;
    let summary = format!("observe: {with_server} flows would be dropped in closed mode");
    ensure!(text.contains(&summary), "{text}");
    let metrics = pair.a.ges(&["metrics"])?;
    let counted = |reason: &str| {
        let line = format!("ges_would_drop_total{{reason=\"{reason}\"}} ");
        metrics.lines().find_map(|text| text.strip_prefix(&line)?.parse::<u64>().ok()).unwrap_or(0)
    };
    let all: u64 = ["no-answer", "unasked", "no-match", "out-of-scope"].map(counted).iter().sum();
    ensure!(all == with_server, "each flow counts once: {metrics}");
    Ok(())
}

fn observe_to_closed() -> Result<()> {
    let pair = Pair::new("observe")?;
    let outsider = pair.lab.outsider()?.clone();
    let stream = Stream::start(&outsider, outsider.v4.into(), &pair.lab.a, None)?;
    wait_until("the transfer to run", DEADLINE, || Ok(stream.received() > 4 << 20))?;
    let id = pair.a.id()?;
    pair.server.admin(&["member", "set", &id, "--mode", "closed"])?;
    pair.a.wait_status("mode", "closed")?;
    let tap = pair.tap()?;
    let answer = ping(&pair.lab.a, outsider.v4.into(), NO_ECHO)?;
    ensure!(answer.is_none(), "a closed host was answered by an outsider");
    let tally = tap.finish()?;
    let from_member = tally.frames.iter().any(|((from, to, kind), _)| {
        pair.lab.a.addresses().contains(from)
            && outsider.addresses().contains(to)
            && kind.is_clear()
    });
    ensure!(!from_member, "in clear after the switch:\n  {}", tally.samples());
    // And back, at once.
    pair.server.admin(&["member", "set", &id, "--mode", "observe"])?;
    pair.a.wait_status("mode", "observe")?;
    let answer = ping(&pair.lab.a, outsider.addresses()[1], ECHO_DEADLINE)?;
    ensure!(answer.is_some(), "an observing host refused an outsider");
    pair.exchange(false)
}

/// What left `a` in clear towards any address of `to`.
fn nothing_in_clear(pair: &Pair, to: &Host, work: impl FnOnce() -> Result<()>) -> Result<()> {
    let tap = pair.tap()?;
    work()?;
    let tally = tap.finish()?;
    tally.complete()?;
    let leaked = tally.frames.iter().any(|((from, target, kind), _)| {
        pair.lab.a.addresses().contains(from) && to.addresses().contains(target) && kind.is_clear()
    });
    ensure!(!leaked, "in clear:\n  {}", tally.samples());
    Ok(())
}

fn must_protect_killed() -> Result<()> {
    let mut pair = Pair::new("open")?;
    let outsider = pair.lab.outsider()?.clone();
    let (range, range6) = (format!("{}/32", outsider.v4), format!("{}/128", outsider.v6));
    for range in [&range, &range6] {
        pair.server.admin(&["policy", "must-protect", "add", range])?;
    }
    let refused = |pair: &Pair| {
        nothing_in_clear(pair, &outsider, || {
            for address in outsider.addresses() {
                ensure!(is_refused(&pair.lab.a, address)?, "{address} was reached");
                ensure!(
                    ping(&outsider, pair.address_of_a(address.is_ipv6()), NO_ECHO)?.is_none(),
                    "{address} was answered"
                );
            }
            Ok(())
        })
    };
    let policy = pair.a.status()?["policy_version"].as_u64();
    wait_until("the policy to arrive", DEADLINE, || {
        Ok(ping(&pair.lab.a, outsider.v4.into(), NO_ECHO)?.is_none())
    })?;
    refused(&pair).with_context(|| format!("living agent, policy {policy:?}"))?;
    pair.exchange(false)?;
    pair.a.kill()?;
    refused(&pair).context("dead agent")?;
    let b = pair.address_of_b(false);
    wait_until("an open machine whose agent was killed to be usable", DEADLINE, || {
        Ok(ping(&pair.lab.a, pair.lab.ms.v4.into(), Duration::from_millis(500))?.is_some())
    })?;
    pair.a.start().context("taking over what the dead agent left")?;
    refused(&pair).context("next agent")?;
    pair.exchange(false)?;
    pair.a.wait_verdict(b, "protected")?;
    // Taken out of the policy, it is reached again; and nothing is left behind in the end.
    for range in [&range, &range6] {
        pair.server.admin(&["policy", "must-protect", "remove", range])?;
    }
    wait_until("the outsider to be reached", DEADLINE, || {
        Ok(ping(&pair.lab.a, outsider.v4.into(), ECHO_DEADLINE)?.is_some())
    })?;
    pair.server.admin(&["policy", "must-protect", "add", &range])?;
    wait_until("the policy to arrive", DEADLINE, || {
        Ok(ping(&pair.lab.a, outsider.v4.into(), NO_ECHO)?.is_none())
    })?;
    pair.a.stop()?;
    refused_v4(&pair, &outsider).context("stopped agent")?;
    pair.a.purge()?;
    let answer = ping(&pair.lab.a, outsider.v4.into(), ECHO_DEADLINE)?;
    ensure!(answer.is_some(), "the purged machine is not as it was");
    Ok(())
}

/// No echo comes back; the kernel may say at once that it did not let the packet out.
fn is_refused(from: &Host, to: IpAddr) -> Result<bool> {
    match ping(from, to, NO_ECHO) {
        Err(error) if format!("{error:#}").contains("ENOBUFS") => Ok(true),
        answer => Ok(answer?.is_none()),
    }
}

fn refused_v4(pair: &Pair, outsider: &Host) -> Result<()> {
    nothing_in_clear(pair, outsider, || {
        ensure!(is_refused(&pair.lab.a, outsider.v4.into())?, "reached");
        Ok(())
    })
}

/// The nest's own `/etc/hosts` is the resolver here: a file system of its own hides the machine's.
fn must_protect_name() -> Result<()> {
    let hosts = Hosts::new()?;
    let lab = Lab::switched(1500)?;
    let server = Server::start(&lab.ms)?;
    server.group(GROUP)?;
    let outsider = lab.outsider()?.clone();
    server.admin(&["policy", "must-protect", "add", "vault.example"])?;
    hosts.write(&format!("{} vault.example\n{} vault.example\n", outsider.v4, outsider.v6))?;
    let a = Agent::enrol(&lab.a, &server, GROUP, "open")?;
    let b = Agent::enrol(&lab.b, &server, GROUP, "open")?;
    let mut pair = Pair { a, b, server, lab };
    let names = |agent: &Agent| -> Result<Value> { Ok(agent.status()?["names"][0].clone()) };
    wait_until("the name to resolve", DEADLINE, || Ok(names(&pair.a)?["addresses"] == 2))?;
    refused_v4(&pair, &outsider).context("living agent")?;
    // The resolver falls silent, and the agent dies; what was seen counts on.
    hosts.write("")?;
    pair.a.kill()?;
    refused_v4(&pair, &outsider).context("dead agent")?;
    pair.a.start()?;
    refused_v4(&pair, &outsider).context("next agent, silent resolver")?;
    wait_until("the problem to be told", DEADLINE, || {
        Ok(pair.a.ges(&["status"])?.contains("W-NAME"))
    })?;
    ensure!(names(&pair.a)?["addresses"] == 2, "an address dropped out: {}", names(&pair.a)?);
    pair.server.admin(&["policy", "must-protect", "remove", "vault.example"])?;
    wait_until("the outsider to be reached", DEADLINE, || {
        Ok(ping(&pair.lab.a, outsider.v4.into(), ECHO_DEADLINE)?.is_some())
    })
}

/// `/etc/hosts` of this nest.
struct Hosts(std::path::PathBuf);

impl Hosts {
    fn new() -> Result<Self> {
        let path = std::path::PathBuf::from("/run/lab-hosts");
        std::fs::write(&path, "")?;
        nix::mount::mount(
            Some(&path),
            "/etc/hosts",
            None::<&str>,
            nix::mount::MsFlags::MS_BIND,
            None::<&str>,
        )
        .context("hiding /etc/hosts")?;
        Ok(Self(path))
    }

    fn write(&self, text: &str) -> Result<()> {
        Ok(std::fs::write(&self.0, text)?)
    }
}

fn sticky_killed() -> Result<()> {
    let mut pair = Pair::new("open")?;
    pair.exchange(false)?;
    let b = pair.address_of_b(false);
    pair.a.wait_verdict(b, "protected")?;
    pair.b.wait_verdict(pair.address_of_a(false), "protected")?;
    let memory = pair.a.state().join("memory.seal");
    wait_until("the memory to be written", DEADLINE, || Ok(memory.exists()))?;
    // The peer dies without a word: an open machine that answers in clear, if it is asked so.
    pair.b.kill()?;
    pair.a.kill()?;
    pair.a.start()?;
    let silent = pair.lab.b.clone();
    nothing_in_clear(&pair, &silent, || {
        ensure!(ping(&pair.lab.a, b, NO_ECHO)?.is_none(), "b was reached in clear");
        let own = pair.address_of_a(false);
        ensure!(ping(&silent, own, NO_ECHO)?.is_none(), "b's plaintext was answered");
        Ok(())
    })?;
    // A damaged memory is no reason not to start, and is told.
    pair.a.kill()?;
    std::fs::write(&memory, b"torn")?;
    pair.a.start()?;
    let text = pair.a.ges(&["status"])?;
    ensure!(text.contains("W-MEMORY"), "{text}");
    pair.b.start()?;
    pair.exchange(false)?;
    pair.a.wait_verdict(b, "protected")
}

fn mac_change() -> Result<()> {
    let pair = Pair::new("open")?;
    pair.exchange(false)?;
    let b = pair.address_of_b(false);
    pair.a.wait_verdict(b, "protected")?;
    pair.b.wait_verdict(pair.address_of_a(false), "protected")?;
    let peer = pair.lab.b.clone();
    nothing_in_clear(&pair, &peer, || {
        for last in 1..=5 {
            // Programs send all the time while the address changes.
            let stop = std::sync::atomic::AtomicBool::new(false);
            std::thread::scope(|scope| -> Result<()> {
                let sender = scope.spawn(|| {
                    pair.lab.a.enter(|| {
                        let socket = std::net::UdpSocket::bind((pair.lab.a.v4, 0))?;
                        while !stop.load(std::sync::atomic::Ordering::Relaxed) {
                            // Refusals are as good as any other fate but plaintext.
                            let _ = socket.send_to(crate::stream::MARKER, (b, 9));
                            std::thread::yield_now();
                        }
                        Ok(())
                    })
                });
                let changed = ip(
                    Some("a"),
                    &format!("link set dev eth0 address 02:00:00:00:77:{last:02x}\n"),
                );
                let answer = changed.and_then(|()| {
                    wait_until("members to talk", DEADLINE, || {
                        Ok(ping(&pair.lab.a, b, Duration::from_millis(500))?.is_some())
                    })
                });
                stop.store(true, std::sync::atomic::Ordering::Relaxed);
                sender.join().map_err(|_| anyhow::anyhow!("the sender panicked"))??;
                answer
            })?;
        }
        Ok(())
    })
}
