//! The smallest agent: it hooks `eth0` of a host, lets every packet pass, and remembers what it
//! saw.

use crate::namespace::{MAC_A, Namespace};
use ge_core::Mode;
use ge_core::io::{ETHERNET_LEN, VNET_LEN};
use ge_runtime::hook::{Hook, HookConfig, HookedInterface, RouterConfig};
use ge_runtime::ledger::Ledger;
use ge_runtime::links;
use ge_runtime::packet_socket::PacketSocket;
use ge_runtime::program::Program;
use ge_runtime::tun::{READ_LEN, Tun};
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use std::io::{ErrorKind, IoSlice};
use std::os::fd::{AsFd, OwnedFd};
use std::sync::{Arc, Mutex};
use std::thread::JoinHandle;

pub(crate) const PORT: u16 = 5865;
pub(crate) const MARK: u32 = 0x5865;

/// One packet as it was read from the TUN.
#[derive(Clone)]
pub(crate) struct Seen {
    /// Its Ethernet source is the interface's address.
    pub(crate) outgoing: bool,
    /// vnet header, Ethernet header, packet.
    pub(crate) bytes: Vec<u8>,
}

impl Seen {
    pub(crate) fn ether_type(&self) -> u16 {
        u16::from_be_bytes([self.bytes[VNET_LEN + 12], self.bytes[VNET_LEN + 13]])
    }

    /// `gso_type` of the vnet header; 0 for a packet that is no super-packet.
    pub(crate) fn gso_type(&self) -> u8 {
        self.bytes[1]
    }
}

/// What the agent does with packets.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum Policy {
    Pass,
    Drop,
}

/// A running agent on `eth0` of host a.
pub(crate) struct Agent {
    pub(crate) hook: Hook,
    pub(crate) config: HookConfig,
    seen: Arc<Mutex<Vec<Seen>>>,
    /// Closing it ends the thread.
    stop: OwnedFd,
    thread: JoinHandle<()>,
}

impl Agent {
    pub(crate) fn start(host: &Namespace, mode: Mode, policy: Policy) -> Self {
        Self::start_as(host, mode, policy, None)
    }

    /// One that is a router, if it has what a router needs.
    pub(crate) fn start_as(
        host: &Namespace,
        mode: Mode,
        policy: Policy,
        router: Option<RouterConfig>,
    ) -> Self {
        Self::start_with(host, mode, policy, router, &Arc::default())
    }

    /// One that writes `ledger`, and has no offloads that are off there.
    pub(crate) fn start_with(
        host: &Namespace,
        mode: Mode,
        policy: Policy,
        router: Option<RouterConfig>,
        ledger: &Arc<Ledger>,
    ) -> Self {
        let ledger = Arc::clone(ledger);
        let seen = Arc::new(Mutex::new(Vec::new()));
        let (stopped, stop) = nix::unistd::pipe().unwrap();
        let list = Arc::clone(&seen);
        let (hook, config, thread) = host.run(move || {
            let program = if router.is_some() { Program::Gen } else { Program::Ges };
            let tun = Tun::open("ges0", program, &ledger).unwrap();
            let info = links::select(&["eth0".to_owned()]).unwrap().remove(0);
            let back = PacketSocket::open(info.interface.0, MARK, &ledger).unwrap();
            let interface = HookedInterface::new(&info, tun.name(), tun.ifindex());
            let config = HookConfig {
                mode,
                data_port: PORT,
                mark: MARK,
                serves: Vec::new(),
                interfaces: vec![interface],
                router,
                guard: ge_runtime::hook::Guard::default(),
            };
            let hook = Hook::install(&config).unwrap();
            let thread = std::thread::spawn(move || pump(&tun, &back, &stopped, &list, policy));
            (hook, config, thread)
        });
        Self { hook, config, seen, stop, thread }
    }

    /// What was seen since the last call of [`Agent::seen`], which goes on waiting for it.
    pub(crate) fn all_seen(&self) -> Vec<Seen> {
        self.seen.lock().unwrap().clone()
    }

    /// What was seen since the last call.
    pub(crate) fn seen(&self) -> Vec<Seen> {
        std::mem::take(&mut self.seen.lock().unwrap())
    }

    /// IP packets of a kind among what was seen since the last call: `(outgoing, incoming)`.
    pub(crate) fn count(&self, ether_type: u16) -> (usize, usize) {
        let seen = self.seen();
        let of = |outgoing: bool| {
            let fits = |seen: &&Seen| seen.ether_type() == ether_type && seen.outgoing == outgoing;
            seen.iter().filter(fits).count()
        };
        (of(true), of(false))
    }

    /// Ends as `SIGKILL` would end it: every descriptor is closed, nothing is taken back.
    pub(crate) fn kill(self) {
        drop(self.hook);
        drop(self.stop);
        self.thread.join().unwrap();
    }

    /// Ends in good order.
    pub(crate) fn stop(self) {
        self.hook.remove().unwrap();
        drop(self.stop);
        self.thread.join().unwrap();
    }
}

fn pump(
    tun: &Tun,
    back: &PacketSocket,
    stopped: &OwnedFd,
    seen: &Mutex<Vec<Seen>>,
    policy: Policy,
) {
    let mut buf = vec![0; READ_LEN];
    loop {
        let mut fds = [
            PollFd::new(tun.queue(0).as_fd(), PollFlags::POLLIN),
            PollFd::new(stopped.as_fd(), PollFlags::POLLIN),
        ];
        poll(&mut fds, PollTimeout::NONE).unwrap();
        if fds[1].any() == Some(true) {
            return;
        }
        let len = match tun.queue(0).read(&mut buf) {
            Ok(len) => len,
            Err(error) if error.kind() == ErrorKind::WouldBlock => continue,
            Err(error) => panic!("TUN: {error}"),
        };
        let frame = &mut buf[..len];
        let ether = &frame[VNET_LEN..];
        if ether.len() < ETHERNET_LEN || !matches!(ether[12..14], [8, 0] | [0x86, 0xdd]) {
            continue;
        }
        let outgoing = ether[6..12] == MAC_A;
        seen.lock().unwrap().push(Seen { outgoing, bytes: frame.to_vec() });
        match (policy, outgoing) {
            (Policy::Drop, _) => {}
            (Policy::Pass, true) => back.put_back(frame).unwrap(),
            (Policy::Pass, false) => deliver(tun, frame),
        }
    }
}

/// Takes the Ethernet header off, and off the offsets that count from it.
fn deliver(tun: &Tun, frame: &mut [u8]) {
    let (vnet, packet) = frame.split_at_mut(VNET_LEN);
    for at in [2, 6] {
        let offset = u16::from_ne_bytes([vnet[at], vnet[at + 1]]);
        let shifted = offset.saturating_sub(14).to_ne_bytes();
        vnet[at..at + 2].copy_from_slice(&shifted);
    }
    tun.queue(0).writev(&[IoSlice::new(vnet), IoSlice::new(&packet[ETHERNET_LEN..])]).unwrap();
}
