//! Two data paths on the real kernel, without a management server:
//!
//! ```text
//!   namespace A                         namespace B
//!   10.9.0.1/24 va  ------ veth ------  vb 10.9.0.2/24
//!   fd09::1/64                          fd09::2/64
//!   agent (open)                        agent (open)
//! ```
//! The domain's keys are made here. Programs of the system talk between the hosts' own addresses.
#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

#[path = "data_path/domain.rs"]
mod domain;

use domain::Domain;
use ge_core::Mode;
use ge_runtime::command::{self, Command, CommandSender};
use ge_runtime::metrics::Metrics;
use ge_runtime::options::RunOptions;
use ge_runtime::program::Program as Agent;
use ge_runtime::report::SharedFacts;
use ge_runtime::runtime::DataPath;
use nix::sched::{CloneFlags, unshare};
use std::process::Command as Program;
use std::sync::{Arc, mpsc};
use std::thread::JoinHandle;
use std::time::SystemTime;

/// A namespace, held by a thread that runs an agent in it.
struct Host {
    namespace: String,
    commands: CommandSender,
    start: mpsc::Sender<()>,
    thread: JoinHandle<()>,
}

fn host(domain: &Domain, number: u8, interface: &'static str, mode: Mode) -> Host {
    let (identity, membership) = domain.member(number, mode);
    let (start, started) = mpsc::channel::<()>();
    let (tell, told) = mpsc::channel();
    let (commands, receiver) = command::channel().unwrap();
    let thread = std::thread::spawn(move || {
        unshare(CloneFlags::CLONE_NEWNET).expect("a network namespace (run as root)");
        let id = format!("/proc/{}/task/{}/ns/net", std::process::id(), nix::unistd::gettid());
        tell.send(id).unwrap();
        started.recv().unwrap();
        let options =
            RunOptions { interfaces: vec![interface.to_owned()], ..RunOptions::new(Agent::Ges) };
        let path = DataPath::open(
            identity,
            Some(membership),
            &options,
            &[],
            receiver,
            Arc::new(Metrics::new()),
            SharedFacts::new(SystemTime::now(), &options),
        )
        .unwrap();
        tell.send(String::new()).unwrap();
        path.run().unwrap();
    });
    let namespace = told.recv().unwrap();
    // The second message says that the agent runs; whoever starts it waits for it there.
    std::mem::forget(told);
    Host { namespace, commands, start, thread }
}

impl Host {
    fn run(&self, line: &str) -> String {
        let output = Program::new("nsenter")
            .arg(format!("--net={}", self.namespace))
            .args(["sh", "-c", line])
            .output()
            .unwrap();
        let text = String::from_utf8_lossy(&output.stdout).into_owned();
        let errors = String::from_utf8_lossy(&output.stderr);
        assert!(output.status.success(), "{line}: {}\n{text}{errors}", output.status);
        text
    }

    fn stop(self) {
        self.commands.send(Command::Stop).unwrap();
        self.thread.join().unwrap();
    }

    fn snapshot(&self) -> ge_core::io::Snapshot {
        let (reply, answer) = tokio::sync::oneshot::channel();
        self.commands.send(Command::Snapshot(reply)).unwrap();
        answer.blocking_recv().unwrap()
    }
}

fn pair(mode_a: Mode, mode_b: Mode) -> (Host, Host) {
    let domain = Domain::new();
    let a = host(&domain, 1, "va", mode_a);
    let b = host(&domain, 2, "vb", mode_b);
    a.run("ip link add va type veth peer name vb");
    a.run(&format!("ip link set vb netns {}", tid(&b.namespace)));
    for (host, dev, n) in [(&a, "va", 1), (&b, "vb", 2)] {
        host.run(&format!(
            "ip link set lo up; ip addr add 10.9.0.{n}/24 dev {dev}; \
             ip addr add fd09::{n}/64 dev {dev} nodad; ip link set {dev} up"
        ));
    }
    a.start.send(()).unwrap();
    b.start.send(()).unwrap();
    a.snapshot();
    b.snapshot();
    (a, b)
}

/// The thread whose namespace it is: `ip` takes it like a process.
fn tid(namespace: &str) -> &str {
    namespace.split('/').nth(4).unwrap()
}

#[test]
fn programs_talk_protected_on_their_own_addresses() {
    let (a, b) = pair(Mode::Open, Mode::Open);
    print!("{}", a.run("ping -c 3 -i 0.2 -W 2 10.9.0.2"));
    print!("{}", a.run("ping -c 3 -i 0.2 -W 2 fd09::2"));
    for host in [&a, &b] {
        let snapshot = host.snapshot();
        println!("{snapshot:?}");
        assert!(snapshot.flows.iter().all(|flow| flow.verdict == "protected"));
        assert_eq!(snapshot.flows.len(), 2);
    }
    a.stop();
    b.stop();
}
