//! Two hosts: each a thread that lives in its own network namespace.

use crate::probe::PATIENCE;
use ge_runtime::links::LinkWatch;
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use std::os::fd::AsFd;
use std::process::Command;
use std::sync::mpsc::{Sender, channel};
use std::thread::JoinHandle;

type Job = Box<dyn FnOnce() + Send>;

/// A thread in a network namespace of its own. The namespace ends with the thread, or with the
/// last socket opened in it.
pub(crate) struct Namespace {
    jobs: Option<Sender<Job>>,
    thread: Option<JoinHandle<()>>,
    thread_id: i32,
}

impl Namespace {
    pub(crate) fn new() -> Self {
        let (jobs, inbox) = channel::<Job>();
        let (ready, started) = channel();
        let thread = std::thread::spawn(move || {
            nix::sched::unshare(nix::sched::CloneFlags::CLONE_NEWNET).expect(
                "these tests make network namespaces: run them as root, or under `unshare -rn`",
            );
            ready.send(nix::unistd::gettid().as_raw()).unwrap();
            inbox.iter().for_each(|job| job());
        });
        let thread_id = started.recv().expect("the namespace did not start");
        let namespace = Self { jobs: Some(jobs), thread: Some(thread), thread_id };
        namespace.sh("ip link set lo up");
        namespace
    }

    /// Runs a function inside; what it opens belongs to the namespace.
    pub(crate) fn run<T: Send + 'static>(
        &self,
        function: impl FnOnce() -> T + Send + 'static,
    ) -> T {
        let (answer, result) = channel();
        let job = Box::new(move || drop(answer.send(function())));
        self.jobs.as_ref().unwrap().send(job).expect("the namespace has ended");
        result.recv().expect("a step inside the namespace failed, see above")
    }

    /// Runs a shell command inside, which must succeed; what it printed.
    pub(crate) fn sh(&self, command: &str) -> String {
        let (ok, output) = self.try_sh(command);
        assert!(ok, "{command}: {output}");
        output
    }

    /// Runs a shell command inside; whether it succeeded, and what it printed.
    pub(crate) fn try_sh(&self, command: &str) -> (bool, String) {
        let command = command.to_owned();
        self.run(move || {
            let output = Command::new("sh").args(["-c", &command]).output().unwrap();
            let text = [output.stdout, output.stderr].concat();
            (output.status.success(), String::from_utf8_lossy(&text).into_owned())
        })
    }

    /// Waits until the kernel uses a wire whose two ends are up. It notices later, on a thread of its
    /// own, and drops without a word what is sent before.
    fn await_wire(&self, device: &str) {
        let watch = self.run(|| LinkWatch::open().unwrap());
        while !self.sh(&format!("ip -o link show dev {device}")).contains("state UP") {
            let mut fds = [PollFd::new(watch.as_fd(), PollFlags::POLLIN)];
            let changes = poll(&mut fds, PollTimeout::try_from(PATIENCE).unwrap()).unwrap();
            assert_eq!(changes, 1, "{device} does not come up");
            watch.drain().unwrap();
        }
    }
}

impl Drop for Namespace {
    fn drop(&mut self) {
        drop(self.jobs.take());
        let _ = self.thread.take().map(JoinHandle::join);
    }
}

/// A machine behind host a of a pair, which is its router. Neither end of the pair has a route for
/// what it does not need.
///
/// ```text
/// inside  10.8.0.2/24  fd08::2/64 --- lan0  .1  a  eth0 10.9.0.1 --- eth0 10.9.0.2  b
/// ```
pub(crate) fn inside_of(pair: &Pair) -> Namespace {
    let inside = Namespace::new();
    pair.a.sh(&format!("ip link add lan0 type veth peer name eth0 netns {}", inside.thread_id));
    pair.a.sh("echo 1 > /proc/sys/net/ipv4/ip_forward && \
         echo 1 > /proc/sys/net/ipv6/conf/all/forwarding && \
         ip addr add 10.8.0.1/24 dev lan0 && ip addr add fd08::1/64 dev lan0 nodad && \
         ip link set lan0 up");
    inside.sh("ip addr add 10.8.0.2/24 dev eth0 && ip addr add fd08::2/64 dev eth0 nodad && \
         ip link set eth0 up && ip route add default via 10.8.0.1 && \
         ip route add default via fd08::1");
    pair.b.sh("ip route add 10.8.0.0/24 via 10.9.0.1 && ip route add fd08::/64 via fd09::1");
    pair.a.await_wire("lan0");
    inside.await_wire("eth0");
    inside
}

/// Two hosts with a wire between their interfaces `eth0`.
///
/// ```text
/// a  10.9.0.1/24  fd09::1/64  02:00:00:00:00:0a
/// b  10.9.0.2/24  fd09::2/64  02:00:00:00:00:0b
/// ```
pub(crate) struct Pair {
    pub(crate) a: Namespace,
    pub(crate) b: Namespace,
}

pub(crate) const MAC_A: [u8; 6] = [2, 0, 0, 0, 0, 0x0a];
pub(crate) const MAC_B: [u8; 6] = [2, 0, 0, 0, 0, 0x0b];

impl Pair {
    pub(crate) fn new() -> Self {
        let (a, b) = (Namespace::new(), Namespace::new());
        a.sh(&format!("ip link add eth0 type veth peer name eth0 netns {}", b.thread_id));
        for (host, number, mac) in [(&a, 1, "0a"), (&b, 2, "0b")] {
            host.sh(&format!(
                "ip link set eth0 address 02:00:00:00:00:{mac} && \
                 ip addr add 10.9.0.{number}/24 brd + dev eth0 && \
                 ip addr add fd09::{number}/64 dev eth0 nodad && \
                 ip link set eth0 addrgenmode none && ip link set eth0 up && \
                 ip addr add fe80::{number}/64 dev eth0 nodad"
            ));
        }
        a.await_wire("eth0");
        b.await_wire("eth0");
        Self { a, b }
    }
}

/// Pings twice; whether both were answered.
pub(crate) fn pings(from: &Namespace, to: &str) -> bool {
    from.try_sh(&format!("ping -n -q -c 2 -i 0.1 -W 1 {to}")).0
}

/// Pings that nobody should answer; whether nobody did.
pub(crate) fn silent(from: &Namespace, to: &str) -> bool {
    let (_, output) = from.try_sh(&format!("ping -n -q -c 2 -i 0.1 -W 1 {to}"));
    assert!(output.contains("2 packets transmitted"), "ping did not send: {output}");
    output.contains(" 0 received")
}
