//! The sending end.

use super::poll::Poll;
use super::{OMIT, OVERRUN, WRITE, raise_descriptors};
use anyhow::{Context, Result, ensure};
use nix::sys::epoll::EpollFlags;
use nix::sys::socket::sockopt::{Linger, SocketError};
use nix::sys::socket::{
    AddressFamily, SockFlag, SockType, SockaddrIn, connect, getsockopt, setsockopt, socket,
};
use std::collections::VecDeque;
use std::io::{ErrorKind, Write};
use std::net::{Ipv4Addr, SocketAddrV4, TcpStream};
use std::os::fd::AsRawFd;
use std::time::{Duration, Instant};

/// Connections being made at a time: below what an agent lets one stranger ask at once.
const CONNECTING: usize = 64;
/// All must stand by then.
const CONNECT_DEADLINE: Duration = Duration::from_secs(60);

/// What is to be sent.
pub(super) struct Order {
    pub(super) flows: usize,
    pub(super) port: u16,
    pub(super) time: Duration,
    pub(super) first: Ipv4Addr,
    pub(super) addresses: u32,
}

impl Order {
    /// Where a connection goes: round and round the addresses.
    fn address(&self, flow: usize) -> SocketAddrV4 {
        let offset = flow as u32 % self.addresses.max(1);
        SocketAddrV4::new(Ipv4Addr::from(u32::from(self.first) + offset), self.port)
    }
}

pub(super) fn run(order: &Order) -> Result<()> {
    raise_descriptors(order.flows)?;
    let flows = connect_all(order)?;
    println!("connected");
    let mut poll = Poll::new()?;
    for (number, flow) in flows.iter().enumerate() {
        poll.add(flow, number, EpollFlags::EPOLLOUT)?;
    }
    let (block, end) = (vec![0x5a; WRITE], Instant::now() + OMIT + order.time + OVERRUN);
    loop {
        let left = end.saturating_duration_since(Instant::now());
        if left.is_zero() {
            break;
        }
        for number in poll.wait(left)? {
            match (&flows[number]).write(&block) {
                Ok(_) => {}
                Err(error) if error.kind() == ErrorKind::WouldBlock => {}
                Err(error) => return Err(error).context("a connection broke"),
            }
        }
    }
    println!("sent");
    for flow in &flows {
        // Ended by a reset: nobody waits, and the ports are free for the next run.
        setsockopt(flow, Linger, &libc::linger { l_onoff: 1, l_linger: 0 })?;
    }
    Ok(())
}

/// Makes all connections, some at a time; one that fails is made again.
fn connect_all(order: &Order) -> Result<Vec<TcpStream>> {
    let (mut poll, start) = (Poll::new()?, Instant::now());
    let mut waiting: VecDeque<usize> = (0..order.flows).collect();
    let mut connecting: Vec<Option<TcpStream>> = (0..order.flows).map(|_| None).collect();
    let mut made = Vec::new();
    let mut under_way = 0;
    while made.len() < order.flows {
        let elapsed = start.elapsed();
        ensure!(
            elapsed < CONNECT_DEADLINE,
            "{} of {} connections stand after {} s",
            made.len(),
            order.flows,
            elapsed.as_secs()
        );
        while under_way < CONNECTING
            && let Some(number) = waiting.pop_front()
        {
            let stream = begin(order.address(number))?;
            poll.add(&stream, number, EpollFlags::EPOLLOUT)?;
            connecting[number] = Some(stream);
            under_way += 1;
        }
        for number in poll.wait(CONNECT_DEADLINE)? {
            let Some(stream) = connecting[number].take() else { continue };
            poll.remove(&stream)?;
            under_way -= 1;
            if getsockopt(&stream, SocketError)? == 0 {
                made.push(stream);
            } else {
                waiting.push_back(number);
            }
        }
    }
    Ok(made)
}

fn begin(to: SocketAddrV4) -> Result<TcpStream> {
    let flags = SockFlag::SOCK_CLOEXEC | SockFlag::SOCK_NONBLOCK;
    let fd = socket(AddressFamily::Inet, SockType::Stream, flags, None).context("a socket")?;
    match connect(fd.as_raw_fd(), &SockaddrIn::from(to)) {
        Ok(()) | Err(nix::Error::EINPROGRESS) => Ok(fd.into()),
        Err(error) => Err(error).with_context(|| format!("connecting to {to}")),
    }
}
