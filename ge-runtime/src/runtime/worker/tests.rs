//! One thread with sockets of its own, driven by hand.

use super::super::inbox::inbox;
use super::*;
use ge_core::coalesce::PIECES_MAX;
use ge_core::engine::Engine;
use ge_core::membership::{Identity, Secret32};
use nix::sys::socket::{SockaddrIn, getsockname};
use std::net::Ipv4Addr;
use std::os::fd::{AsFd, AsRawFd};

fn fast_path() -> FastPath {
    let (identity, noise_static) = (Secret32([1; 32]), Secret32([2; 32]));
    let mut engine = Engine::new(Identity { identity, noise_static }, [3; 32]);
    engine.spread(2).remove(0)
}

#[test]
fn a_stop_among_datagrams_is_not_forgotten() {
    let ledger = Arc::default();
    let data = DataSockets::bind(0, &ledger).unwrap();
    let socket = data.get(IpVersion::V4).unwrap().as_fd().as_raw_fd();
    let port = getsockname::<SockaddrIn>(socket).unwrap().port();
    let sender = std::net::UdpSocket::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
    // Of different lengths, so that each is a receive of its own; more than are taken in one go.
    for len in 1..=2 * PIECES_MAX {
        sender.send_to(&vec![0; len], (Ipv4Addr::LOCALHOST, port)).unwrap();
    }
    let (outbox, tasks) = inbox().unwrap();
    let (engine, _handed) = inbox().unwrap();
    let mut worker = Worker::new(fast_path(), Arc::new(data), tasks, engine, Vec::new(), ledger);
    outbox.push(Task::Stop);
    assert!(worker.read_datagrams(IpVersion::V4, clock::now().mono));
}
