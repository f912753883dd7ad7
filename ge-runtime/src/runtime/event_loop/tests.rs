//! The loop with real devices and real threads beside it, in a network namespace of its own.
//!
//! ```text
//! eth0 10.9.0.1/24 --- wire   nobody there; under the hook of a closed agent without keys
//! ```

use super::*;
use crate::command::{self, CommandSender};
use crate::options::RunOptions;
use crate::program::Program;
use crate::report::KernelReport;
use ge_core::DropReason;
use ge_core::io::Counters;
use ge_core::limits::DATA_PORT;
use ge_core::membership::{Identity, Secret32};
use nix::sched::{CloneFlags, unshare};
use std::net::{Ipv4Addr, SocketAddr, UdpSocket};
use std::num::NonZeroU8;
use std::process::Command as Process;
use std::time::SystemTime;
use tokio::sync::oneshot;

/// How long something that should come may take, at most.
const PATIENCE: Duration = Duration::from_secs(10);

/// Runs a test on a thread that has the namespace, which ends with it.
fn alone(test: impl FnOnce() + Send + 'static) {
    let thread = std::thread::spawn(|| {
        unshare(CloneFlags::CLONE_NEWNET).expect("a network namespace (run as root)");
        sh("ip link set lo up");
        sh("ip link add eth0 mtu 9000 type veth peer name wire mtu 9000");
        sh("ip link set wire up && ip link set eth0 up");
        sh("ip addr add 10.9.0.1/24 dev eth0");
        sh("ip neigh add 10.9.0.2 lladdr 02:00:00:00:00:0b dev eth0");
        test();
    });
    thread.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic));
}

fn sh(line: &str) {
    let output = Process::new("sh").args(["-c", line]).output().unwrap();
    assert!(output.status.success(), "{line}: {}", String::from_utf8_lossy(&output.stderr));
}

/// A loop that is not run yet, so that its own thread does nothing; those beside it have begun.
fn waiting_loop(workers: u8) -> (EventLoop, CommandSender) {
    let options = RunOptions {
        interfaces: vec!["eth0".to_owned()],
        workers: NonZeroU8::new(workers),
        ..RunOptions::new(Program::Ges)
    };
    let facts = SharedFacts::new(SystemTime::now(), &options);
    let guard = Guard::default();
    let devices = Devices::open(&options, &[], Mode::Closed, guard, facts.ledger()).unwrap();
    let (identity, noise_static) = (Secret32([1; 32]), Secret32([2; 32]));
    let engine = Engine::new(Identity { identity, noise_static }, [3; 32]);
    let (sender, commands) = command::channel().unwrap();
    let mut event_loop =
        EventLoop::new(engine, devices, commands, Arc::new(Metrics::new()), facts).unwrap();
    event_loop.refresh_interfaces();
    (event_loop, sender)
}

/// Does it again and again, until it says that enough came of it.
fn repeat_until(enough: &str, mut act: impl FnMut() -> bool) {
    let begun = std::time::Instant::now();
    while !act() {
        assert!(begun.elapsed() < PATIENCE, "never: {enough}");
    }
}

fn tuns(report: &KernelReport) -> Vec<(&str, &str)> {
    report.tuns.iter().map(|tun| (&tun.name[..], &tun.interface[..])).collect()
}

/// Runs it, asks it for something, and stops it.
fn ask<T: Send + 'static>(
    event_loop: EventLoop,
    commands: &CommandSender,
    question: impl FnOnce(oneshot::Sender<T>) -> Command,
) -> T {
    let (reply, answer) = oneshot::channel();
    commands.send(question(reply)).unwrap();
    let thread = std::thread::spawn(|| assert!(matches!(event_loop.run(), Ended::Stopped)));
    let answer = answer.blocking_recv().unwrap();
    commands.send(Command::Stop).unwrap();
    thread.join().unwrap();
    answer
}

#[test]
fn two_reports_of_one_broken_tun_replace_it_once() {
    alone(|| {
        let (mut event_loop, commands) = waiting_loop(3);
        assert_eq!(tuns(&event_loop.devices.report()), [("ges0", "eth0")]);
        sh("ip link del ges0");
        // Each of the two threads beside finds its own queue gone.
        event_loop.poll.clear();
        (0..HANDED).for_each(|_| event_loop.poll.leave_out());
        event_loop.poll.watch(&event_loop.handed);
        let mut reports = Vec::new();
        while reports.len() < 2 {
            event_loop.poll.wait(Some(PATIENCE)).unwrap();
            assert!(event_loop.poll.is_ready(HANDED), "{} of 2 threads said so", reports.len());
            let handed = event_loop.handed.take(true);
            reports.extend(handed.filter(|item| matches!(item, Handed::Broken(_))));
        }
        // Both wait when the loop comes to them, as if neither had been taken yet.
        let (again, handed) = inbox().unwrap();
        reports.into_iter().for_each(|report| again.push(report));
        event_loop.handed = handed;
        event_loop.watch();
        event_loop.poll.wait(Some(PATIENCE)).unwrap();
        event_loop.take_handed(clock::now()).unwrap();
        assert_eq!(tuns(&event_loop.devices.report()), [("ges1", "eth0")]);
        let report = ask(event_loop, &commands, Command::Kernel);
        assert_eq!(tuns(&report), [("ges1", "eth0")]);
    });
}

/// Packets that had no room on their way to the engine, by the engine's own count: leaving, arriving.
fn had_no_room(counters: &Counters) -> [u64; 2] {
    let at = DropReason::QueueFull as usize;
    [counters.dropped_out[at], counters.dropped_in[at]]
}

#[test]
fn what_finds_the_queue_to_the_engine_full_is_counted() {
    alone(|| {
        let (mut event_loop, commands) = waiting_loop(2);
        let mut lost = || {
            event_loop.engine.look_at_threads(clock::now());
            had_no_room(&event_loop.engine.snapshot(clock::now()).counters)
        };
        // With two threads the kernel gives all negotiation messages to the one beside the engine.
        let message = [&b"GE"[..], &[0; 998]].concat();
        let outside = UdpSocket::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
        let port = SocketAddr::from((Ipv4Addr::LOCALHOST, DATA_PORT));
        repeat_until("datagrams are lost", || {
            outside.send_to(&message, port).unwrap();
            lost()[1] > 0
        });
        assert_eq!(lost()[0], 0);
        // Of these flows it has some.
        let programs: Vec<_> =
            (0..32).map(|_| UdpSocket::bind((Ipv4Addr::new(10, 9, 0, 1), 0)).unwrap()).collect();
        repeat_until("frames are lost", || {
            for program in &programs {
                program.send_to(&[0; 8900], "10.9.0.2:7").unwrap();
            }
            lost()[0] > 0
        });
        let snapshot = ask(event_loop, &commands, Command::Snapshot);
        let [out, in_] = had_no_room(&snapshot.counters);
        assert!(out > 0 && in_ > 0, "{out} and {in_}");
    });
}
