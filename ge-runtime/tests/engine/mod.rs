//! A running front end in front of a thread that answers commands as the engine thread does.
//! Shared by the tests of the control socket and of the commands that use it.
#![allow(dead_code, unreachable_pub, reason = "each test program uses a part of it")]
#![allow(clippy::unwrap_used, reason = "a failed step of the set-up fails the test")]

use ge_core::addr::FlowAddr;
use ge_core::io::{Counters, FlowSnapshot, Snapshot};
use ge_core::{GeId, Mode};
use ge_runtime::command::{self, Command, CommandReceiver, Explained, ProbeReply};
use ge_runtime::frontend::Frontend;
use ge_runtime::metrics::Metrics;
use ge_runtime::options::RunOptions;
use ge_runtime::program::Program;
use ge_runtime::report::{KernelReport, SharedFacts};
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use std::net::IpAddr;
use std::os::fd::AsFd;
use std::path::Path;
use std::sync::Arc;
use std::thread::JoinHandle;
use std::time::{Duration, SystemTime};
use tempfile::TempDir;
use tokio::runtime::Runtime;
use tokio::sync::oneshot;

/// An agent without packets: real sockets, real command queue.
pub struct Agent {
    pub directory: TempDir,
    pub options: RunOptions,
    runtime: Option<Runtime>,
    engine: Option<JoinHandle<()>>,
}

impl Agent {
    /// Starts one that is enrolled, with one row to 127.0.0.1 under `verdict`.
    pub fn start(verdict: &'static str) -> Self {
        Self::start_with(Some(GeId([7; 16])), verdict)
    }

    pub fn start_with(agent: Option<GeId>, verdict: &'static str) -> Self {
        let directory = tempfile::tempdir().unwrap();
        let options = RunOptions {
            socket: directory.path().join("ges.sock"),
            state: directory.path().join("state"),
            ..RunOptions::new(Program::Ges)
        };
        let frontend = Frontend::bind(&options).unwrap();
        let (sender, receiver) = command::channel().unwrap();
        let (stopped, when_stopped) = oneshot::channel();
        let runtime = Runtime::new().unwrap();
        let facts = SharedFacts::new(SystemTime::now(), &options);
        runtime.spawn(async move {
            tokio::select! {
                result = frontend.serve(sender, facts, Arc::new(Metrics::new())) => result.unwrap(),
                _ = when_stopped => {}
            }
        });
        let engine = std::thread::spawn(move || {
            answer_commands(&receiver, &snapshot(agent, verdict));
            let _ = stopped.send(());
        });
        Self { directory, options, runtime: Some(runtime), engine: Some(engine) }
    }

    pub fn socket(&self) -> &Path {
        &self.options.socket
    }

    /// Waits until somebody stopped the engine, then ends as a program does: connections close.
    pub fn wait_stopped(&mut self) {
        self.engine.take().unwrap().join().unwrap();
        self.runtime.take().unwrap().shutdown_timeout(Duration::from_secs(10));
    }

    /// True while nobody stopped the engine.
    pub fn is_running(&self) -> bool {
        self.engine.as_ref().is_some_and(|engine| !engine.is_finished())
    }
}

impl Drop for Agent {
    fn drop(&mut self) {
        // A test that failed must not wait for an engine nobody will stop.
        if let Some(runtime) = self.runtime.take() {
            runtime.shutdown_background();
        }
    }
}

fn answer_commands(receiver: &CommandReceiver, snapshot: &Snapshot) {
    loop {
        let mut fds = [PollFd::new(receiver.as_fd(), PollFlags::POLLIN)];
        poll(&mut fds, PollTimeout::NONE).unwrap();
        receiver.clear_wake();
        while let Some(command) = receiver.try_recv() {
            match command {
                Command::Snapshot(reply) => _ = reply.send(snapshot.clone()),
                Command::Kernel(reply) => _ = reply.send(KernelReport::default()),
                Command::Probe { remote, reply } => {
                    let flow = snapshot.flows.iter().find(|flow| flow.remote.0 == remote).cloned();
                    _ = reply.send(ProbeReply { flow, took: Duration::from_micros(900) });
                }
                Command::Explain { reply, .. } => _ = reply.send(Explained::Strangers),
                Command::Stop => return,
                _ => {}
            }
        }
    }
}

fn snapshot(agent: Option<GeId>, verdict: &'static str) -> Snapshot {
    let local: IpAddr = "127.0.0.1".parse().unwrap();
    let row = FlowSnapshot {
        local: FlowAddr(local),
        remote: FlowAddr(local),
        verdict,
        reason: "no-answer",
        would_drop: None,
        peer: None,
        ends: None,
        path: Vec::new(),
        denial: None,
        asking: false,
        ask_again: None,
        left: None,
        age: Duration::from_secs(1),
        idle: Duration::ZERO,
        bytes_in: 1,
        bytes_out: 2,
        packets_in: 3,
        packets_out: 4,
    };
    Snapshot {
        agent,
        mode: Mode::Open,
        observe: false,
        version: 1,
        groups: Vec::new(),
        certificate_left: 86_400,
        flows: vec![row],
        sessions: 0,
        negotiations: 0,
        held: 0,
        under_load: false,
        counters: Counters::new(),
        threads: Vec::new(),
    }
}
