//! The control socket from outside: round trips, garbage, second agents, leftovers.
#![allow(clippy::unwrap_used, clippy::panic, reason = "tests")]

mod engine;

use engine::Agent;
use ge_runtime::control::{Answer, Client, ClientError, ControlSocket, REQUEST_MAX, Request};
use ge_runtime::exit::Exit;
use ge_runtime::options::RunError;
use ge_runtime::program::Program;
use ge_runtime::report::Verdict;
use std::io::{Read, Write};
use std::net::IpAddr;
use std::os::unix::fs::PermissionsExt;
use std::os::unix::net::UnixStream;

fn loopback() -> IpAddr {
    "127.0.0.1".parse().unwrap()
}

#[test]
fn questions_are_answered_in_turn_on_one_connection() {
    let agent = Agent::start("clear");
    let mut client = Client::connect(agent.socket()).unwrap();
    let Answer::Status(status) = client.ask(&Request::Status { details: false }).unwrap() else {
        panic!()
    };
    assert_eq!((status.counts.clear, status.flows.len()), (1, 1));
    let none =
        client.ask(&Request::Flows { verdict: Some(Verdict::Dropped), would_drop: false }).unwrap();
    assert!(matches!(none, Answer::Flows(flows) if flows.flows.is_empty()));
    let all = client.ask(&Request::Flows { verdict: None, would_drop: false }).unwrap();
    assert!(matches!(all, Answer::Flows(flows) if flows.flows.len() == 1));
    let probe = client.ask(&Request::Probe { address: loopback() }).unwrap();
    let Answer::Probe(probe) = probe else { panic!() };
    assert_eq!(probe.flow.unwrap().verdict, Verdict::Clear);
    let Answer::Metrics { text } = client.ask(&Request::Metrics {}).unwrap() else { panic!() };
    assert!(text.contains("ges_flows{verdict=\"clear\"} 1\n"), "{text}");
    assert!(text.ends_with("# EOF\n"));
}

#[test]
fn an_echo_comes_back() {
    let agent = Agent::start("clear");
    let mut client = Client::connect(agent.socket()).unwrap();
    let request = Request::Echo { address: loopback(), sequence: 9 };
    match client.ask(&request) {
        Ok(Answer::Echo(echo)) => {
            assert_eq!(echo.sequence, 9);
            assert!(echo.round_trip_seconds.is_some());
        }
        // An ordinary user on a host that allows no ping sockets may not send one.
        Err(ClientError::Refused(refusal)) if !nix::unistd::geteuid().is_root() => {
            assert!(refusal.message.contains("could not be sent"), "{refusal:?}");
        }
        other => panic!("{other:?}"),
    }
}

#[test]
fn addresses_of_no_one_host_are_refused() {
    let agent = Agent::start("clear");
    for address in ["0.0.0.0", "224.0.0.1", "255.255.255.255", "::", "ff02::1", "fe80::1"] {
        let address = address.parse().unwrap();
        for request in [Request::Probe { address }, Request::Echo { address, sequence: 1 }] {
            let mut client = Client::connect(agent.socket()).unwrap();
            let error = client.ask(&request).unwrap_err();
            assert_eq!(error.exit_code(), Exit::Usage, "{request:?}");
        }
    }
}

#[test]
fn garbage_ends_the_connection_and_changes_nothing() {
    let agent = Agent::start("clear");
    let long = [b'x'; REQUEST_MAX * 4];
    let cases: [&[u8]; 5] =
        [b"\n", b"\0\0\0\n", b"stop\n", b"{\"request\":\"stop\",\"x\":1}\n", &long];
    for case in cases {
        let mut stream = UnixStream::connect(agent.socket()).unwrap();
        // The far end may hang up in the middle of it.
        let _ = stream.write_all(case);
        let mut answer = Vec::new();
        let _ = stream.read_to_end(&mut answer);
        let text = String::from_utf8(answer).unwrap();
        assert!(text.contains("\"answer\":\"refused\""), "{text}");
        assert!(text.contains("\"code\":2"), "{text}");
    }
    assert!(agent.is_running());
    let mut client = Client::connect(agent.socket()).unwrap();
    assert!(client.ask(&Request::Status { details: false }).is_ok());
}

#[test]
fn half_a_request_changes_nothing() {
    let agent = Agent::start("clear");
    let mut stream = UnixStream::connect(agent.socket()).unwrap();
    stream.write_all(b"{\"request\":\"stop\"").unwrap();
    drop(stream);
    let mut client = Client::connect(agent.socket()).unwrap();
    assert!(client.ask(&Request::Status { details: false }).is_ok());
    assert!(agent.is_running());
}

#[test]
fn more_programs_than_places_are_told_so() {
    let agent = Agent::start("clear");
    // Idle connections take the places; the first one too many is answered without being asked.
    let mut idle = Vec::new();
    let refused = loop {
        let mut client = Client::connect(agent.socket()).unwrap();
        match client.ask(&Request::Status { details: false }) {
            Ok(_) => idle.push(client),
            Err(error) => break error,
        }
        assert!(idle.len() <= 1000, "there is a limit");
    };
    assert_eq!(refused.exit_code(), Exit::TimedOut, "{refused}");
    assert!(!idle.is_empty());
}

#[test]
fn stopping_ends_with_the_agent() {
    let mut agent = Agent::start("clear");
    let mut client = Client::connect(agent.socket()).unwrap();
    assert!(matches!(client.ask(&Request::Stop {}), Ok(Answer::Stopping {})));
    let waiting = std::thread::spawn(move || client.wait_gone());
    let socket = agent.socket().to_owned();
    agent.wait_stopped();
    waiting.join().unwrap().unwrap();
    assert!(matches!(Client::connect(&socket), Err(ClientError::NotRunning { .. })));
}

#[test]
fn a_live_agent_is_left_alone() {
    let agent = Agent::start("clear");
    let error = ControlSocket::bind(Program::Ges, agent.socket()).unwrap_err();
    assert!(matches!(error, RunError::AnotherAgent { .. }), "{error}");
    assert!(error.to_string().starts_with("another agent is running on this host"));
    let mut client = Client::connect(agent.socket()).unwrap();
    assert!(client.ask(&Request::Status { details: false }).is_ok());
}

#[test]
fn a_dead_agents_socket_is_replaced_and_another_file_is_not() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("sub/ges.sock");
    std::fs::create_dir(directory.path().join("sub")).unwrap();
    // A listener that is gone leaves its file, as a killed agent does.
    drop(std::os::unix::net::UnixListener::bind(&path).unwrap());
    assert!(path.exists());
    let socket = ControlSocket::bind(Program::Ges, &path).unwrap();
    let mode = std::fs::metadata(&path).unwrap().permissions().mode();
    assert_eq!(mode & 0o007, 0, "strangers cannot connect");
    drop(socket);
    assert!(!path.exists(), "a stopped agent leaves nothing");

    std::fs::write(&path, "a document").unwrap();
    assert!(ControlSocket::bind(Program::Ges, &path).is_err());
    assert_eq!(std::fs::read_to_string(&path).unwrap(), "a document");
}

#[test]
fn of_agents_started_at_once_one_runs() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("ges.sock");
    drop(std::os::unix::net::UnixListener::bind(&path).unwrap());
    let starts: Vec<_> = (0..8)
        .map(|_| {
            let path = path.clone();
            std::thread::spawn(move || ControlSocket::bind(Program::Ges, &path))
        })
        .collect();
    // All results are kept until the end, so that no winner makes room for another.
    let results: Vec<_> = starts.into_iter().map(|start| start.join().unwrap()).collect();
    assert_eq!(results.iter().filter(|result| result.is_ok()).count(), 1);
    let others = results.iter().filter_map(|result| result.as_ref().err());
    assert!(others.into_iter().all(|error| matches!(error, RunError::AnotherAgent { .. })));
}
