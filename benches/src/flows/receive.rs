//! The receiving end.

use super::poll::Poll;
use super::{OMIT, OVERRUN, raise_descriptors};
use anyhow::{Context, Result, bail};
use nix::sys::epoll::EpollFlags;
use serde_json::json;
use std::io::{ErrorKind, Read};
use std::net::{Ipv4Addr, TcpListener, TcpStream};
use std::time::{Duration, Instant};

const BUFFER: usize = 256 * 1024;
/// The listener's number; connections count from 0.
const LISTENER: usize = usize::MAX;
/// Nothing for so long: the sender is gone.
const PATIENCE: Duration = Duration::from_secs(90);

/// How often it looks whether the time is over.
const TURN: Duration = Duration::from_millis(50);
/// What was sent last arrives within this time.
const DRAIN: Duration = Duration::from_millis(500);

struct Flow {
    stream: TcpStream,
    bytes: u64,
}

/// Receives so many connections at the most, and says what came.
pub(super) fn run(most: usize, port: u16, time: Duration) -> Result<()> {
    raise_descriptors(most)?;
    let listener = TcpListener::bind((Ipv4Addr::UNSPECIFIED, port)).context("listening")?;
    // The standard library's backlog of 128 is less than what asks at once.
    nix::sys::socket::listen(&listener, nix::sys::socket::Backlog::new(4096)?)?;
    println!("ready");
    let Summary { flows, silent, bytes, counted } = count(&listener, time)?;
    let seconds = time.as_secs_f64();
    println!(
        "{}",
        json!({ "bytes": bytes, "counted": counted, "seconds": seconds, "flows": flows, "silent": silent })
    );
    Ok(())
}

/// What came of it.
struct Summary {
    flows: usize,
    /// Flows that carried nothing in the counted time.
    silent: usize,
    bytes: u64,
    counted: u64,
}

/// Counts until every connection has ended, or the sending has: the end of some may have been lost.
fn count(listener: &TcpListener, time: Duration) -> Result<Summary> {
    listener.set_nonblocking(true)?;
    let mut poll = Poll::new()?;
    poll.add(listener, LISTENER, EpollFlags::EPOLLIN)?;
    let (mut flows, mut open, mut buffer) = (Vec::new(), 0_usize, vec![0; BUFFER]);
    let mut window = Window::new(time);
    while (flows.is_empty() || open > 0) && !window.is_over() {
        let ready = poll.wait(window.first.map_or(PATIENCE, |_| TURN))?;
        if ready.is_empty() && window.first.is_none() {
            bail!("nothing came for {} s", PATIENCE.as_secs());
        }
        for number in ready {
            if number == LISTENER {
                open += accept(listener, &poll, &mut flows)?;
                continue;
            }
            let flow: &mut Flow = &mut flows[number];
            match flow.stream.read(&mut buffer) {
                Ok(0) => {
                    poll.remove(&flow.stream)?;
                    open -= 1;
                }
                Ok(length) => flow.bytes += window.count(length as u64),
                Err(error) if error.kind() == ErrorKind::WouldBlock => {}
                // The sender ends with a reset, so that no connection lingers.
                Err(_) => {
                    poll.remove(&flow.stream)?;
                    open -= 1;
                }
            }
        }
    }
    let silent = flows.iter().filter(|flow| flow.bytes == 0).count();
    Ok(Summary { flows: flows.len(), silent, bytes: window.all, counted: window.counted })
}

fn accept(listener: &TcpListener, poll: &Poll, flows: &mut Vec<Flow>) -> Result<usize> {
    let before = flows.len();
    loop {
        match listener.accept() {
            Ok((stream, _)) => {
                stream.set_nonblocking(true)?;
                poll.add(&stream, flows.len(), EpollFlags::EPOLLIN)?;
                flows.push(Flow { stream, bytes: 0 });
            }
            Err(error) if error.kind() == ErrorKind::WouldBlock => {
                return Ok(flows.len() - before);
            }
            Err(error) => return Err(error).context("accepting"),
        }
    }
}

/// The span that counts, from [`OMIT`] after the first byte on.
struct Window {
    first: Option<Instant>,
    time: Duration,
    all: u64,
    counted: u64,
}

impl Window {
    const fn new(time: Duration) -> Self {
        Self { first: None, time, all: 0, counted: 0 }
    }

    /// The sender has stopped, and what it sent has arrived.
    fn is_over(&self) -> bool {
        let end = OMIT + self.time + OVERRUN + DRAIN;
        self.first.is_some_and(|first| first.elapsed() > end)
    }

    /// Notes bytes that came now; gives back how many of them count.
    fn count(&mut self, bytes: u64) -> u64 {
        self.all += bytes;
        let since = self.first.get_or_insert_with(Instant::now).elapsed();
        if since < OMIT || since >= OMIT + self.time {
            return 0;
        }
        self.counted += bytes;
        bytes
    }
}

#[cfg(test)]
mod tests {
    use super::super::send::{Order, run};
    use super::count;
    use std::net::{Ipv4Addr, TcpListener};
    use std::time::Duration;

    #[test]
    fn every_connection_carries_something_and_is_counted_once() {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
        let port = listener.local_addr().unwrap().port();
        let time = Duration::from_millis(200);
        let receiver = std::thread::spawn(move || count(&listener, time));
        let first = Ipv4Addr::new(127, 0, 0, 1);
        run(&Order { flows: 20, port, time, first, addresses: 1 }).unwrap();
        let summary = receiver.join().unwrap().unwrap();
        assert_eq!((summary.flows, summary.silent), (20, 0));
        assert!(summary.counted > 0 && summary.counted < summary.bytes);
    }
}
