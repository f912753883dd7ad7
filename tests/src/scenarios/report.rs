//! What people, scripts and monitoring are told.
//!
//! ```text
//!   ms .1  ──┬──  switch  ──┬── a .11  ges; status, flows, ping, metrics
//!            │              ├── b .12  ges
//!            │              └── o .99
//! ```

use crate::agent::Agent;
use crate::lab::Lab;
use crate::pair::{GROUP, Pair};
use crate::scenario::{Scenario, scenario};
use crate::server::{Server, TokenRequest};
use anyhow::{Context, Result, ensure};
use serde_json::Value;
use std::io::{Read, Write};
use std::net::TcpStream;

pub(crate) const LIST: &[Scenario] = &[
    scenario("status_json", "status, flows and ping as JSON with their schemas", &[], status),
    scenario("exit_codes", "the exit codes scripts rely on", &[], exit_codes),
    scenario("metrics", "the metrics endpoint tells of flows and drops", &[], metrics),
];

fn status() -> Result<()> {
    let pair = Pair::new("open")?;
    pair.exchange(false)?;
    let to = pair.address_of_b(false).to_string();
    for (args, schema) in [
        (vec!["status", "--json"], "ges.status/1"),
        (vec!["flows", "--json"], "ges.flows/1"),
        (vec!["ping", "--json", &to], "ges.ping/1"),
    ] {
        let said = pair.a.ges(&args)?;
        let json: Value = serde_json::from_str(&said).with_context(|| said.clone())?;
        ensure!(json["schema"] == schema, "{args:?}: {said}");
    }
    let flow = pair.a.flow(pair.address_of_b(false))?.context("no row")?;
    ensure!(flow["peer"]["agent"] == pair.b.id()?.as_str(), "another peer: {flow}");
    ensure!(flow["peer"]["group"] == GROUP, "another group: {flow}");
    let text = pair.a.ges(&["ping", &to])?;
    ensure!(text.contains("protected") && text.contains(GROUP), "ges ping: {text}");
    Ok(())
}

fn exit_codes() -> Result<()> {
    const ABSENT: i32 = 3;
    const DROPPED: i32 = 6;
    const CLEAR: i32 = 7;
    let mut pair = Pair::new("open")?;
    let outsider = pair.lab.outsider()?.v4.to_string();
    let member = pair.address_of_b(false).to_string();
    let code =
        |args: &[&str]| -> Result<Option<i32>> { Ok(pair.a.ges_output(args)?.status.code()) };
    ensure!(code(&["ping", &member])? == Some(0), "ping of a member");
    ensure!(code(&["ping", "--require-protected", &member])? == Some(0), "a protected member");
    ensure!(code(&["ping", &outsider])? == Some(0), "ping of an outsider in open mode");
    let clear = code(&["ping", "--require-protected", &outsider])?;
    ensure!(clear == Some(CLEAR), "an outsider where protection is required: {clear:?}");
    let id = pair.a.id()?;
    pair.server.admin(&["member", "set", &id, "--mode", "closed"])?;
    pair.a.wait_status("mode", "closed")?;
    let dropped = pair.a.ges_output(&["ping", &outsider])?.status.code();
    ensure!(dropped == Some(DROPPED), "an outsider in closed mode: {dropped:?}");
    pair.a.stop()?;
    let absent = pair.a.ges_output(&["status"])?.status.code();
    ensure!(absent == Some(ABSENT), "status without agent: {absent:?}");
    Ok(())
}

fn metrics() -> Result<()> {
    const LISTEN: &str = "127.0.0.1:9469";
    let lab = Lab::switched(1500)?;
    let server = Server::start(&lab.ms)?;
    server.group(GROUP)?;
    let mut a = Agent::prepare(&lab.a, &server, TokenRequest::new(GROUP, "open"))?;
    a.add_args(&["--metrics", LISTEN]);
    a.start()?;
    let b = Agent::enrol(&lab.b, &server, GROUP, "open")?;
    let pair = Pair { a, b, server, lab };
    pair.exchange(false)?;
    let text = pair.lab.a.enter(|| {
        let mut connection = TcpStream::connect(LISTEN).context("connecting to the metrics")?;
        write!(connection, "GET /metrics HTTP/1.1\r\nHost: {LISTEN}\r\nConnection: close\r\n\r\n")?;
        let mut text = String::new();
        connection.read_to_string(&mut text)?;
        Ok(text)
    })?;
    ensure!(text.starts_with("HTTP/1.1 200"), "{text}");
    for name in ["ges_flows", "ges_packets_total", "ges_negotiations_total", "ges_build_info"] {
        ensure!(text.contains(name), "no {name} in:\n{text}");
    }
    Ok(())
}
