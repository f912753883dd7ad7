//! A file on its way from one machine to another: HTTP over TCP, both ends ours, both ends hashing.
//!
//! The server makes the body as it goes: pseudo-random bytes with [`MARKER`] every kilobyte, so
//! that any segment of it is recognised on a wire. The client notes the longest time without a
//! byte, which is what a user sees as a stall.

use crate::host::Host;
use anyhow::{Context, Result, bail, ensure};
use sha2::{Digest, Sha256};
use std::io::{BufRead, BufReader, Read, Write};
use std::net::{IpAddr, SocketAddr, TcpListener, TcpStream};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

/// Text that stands in every kilobyte of a body.
pub const MARKER: &[u8] = b"READ-ME-ON-THE-WIRE-IF-YOU-CAN";

const BLOCK: usize = 64 * 1024;
const MARKER_EVERY: usize = 1024;
/// Longest silence before either end gives up.
const PATIENCE: Duration = Duration::from_secs(20);

/// How a finished transfer went.
#[derive(Debug)]
pub struct Report {
    /// Bytes of the body.
    pub bytes: u64,
    /// SHA-256 of what was sent.
    pub sent: String,
    /// SHA-256 of what arrived.
    pub received: String,
    /// Longest time the client waited for the next byte.
    pub longest_gap: Duration,
    /// From the request to the last byte.
    pub took: Duration,
}

impl Report {
    /// That both ends saw the same bytes.
    ///
    /// # Errors
    /// If they did not.
    pub fn ensure_intact(&self) -> Result<()> {
        ensure!(
            self.sent == self.received,
            "sent SHA-256 {} but received {} after {} bytes",
            self.sent,
            self.received,
            self.bytes
        );
        Ok(())
    }
}

/// A transfer under way.
pub struct Stream {
    progress: Arc<Progress>,
    server: JoinHandle<Result<(u64, String)>>,
    client: JoinHandle<Result<(u64, String)>>,
    start: Instant,
}

#[derive(Default)]
struct Progress {
    received: AtomicU64,
    longest_gap_us: AtomicU64,
    done: AtomicBool,
    stop: AtomicBool,
}

impl Stream {
    /// Starts to send `length` bytes from `from` (its address `address`) to `to`. With `None` it
    /// goes on until [`Stream::finish`].
    ///
    /// # Errors
    /// If the server cannot listen.
    pub fn start(from: &Host, address: IpAddr, to: &Host, length: Option<u64>) -> Result<Self> {
        let listener = from.enter(|| TcpListener::bind((address, 0)).context("listening"))?;
        let at = listener.local_addr()?;
        let progress = Arc::new(Progress::default());
        let server = from.thread({
            let progress = Arc::clone(&progress);
            move || serve(&listener, length, &progress)
        });
        let client = to.thread({
            let progress = Arc::clone(&progress);
            move || {
                let result = download(at, &progress);
                progress.done.store(true, Ordering::Relaxed);
                result
            }
        });
        Ok(Self { progress, server, client, start: Instant::now() })
    }

    /// Bytes that arrived so far.
    #[must_use]
    pub fn received(&self) -> u64 {
        self.progress.received.load(Ordering::Relaxed)
    }

    /// Longest time without a byte so far.
    #[must_use]
    pub fn longest_gap(&self) -> Duration {
        Duration::from_micros(self.progress.longest_gap_us.load(Ordering::Relaxed))
    }

    /// True once the client has everything, or gave up.
    #[must_use]
    pub fn is_done(&self) -> bool {
        self.progress.done.load(Ordering::Relaxed)
    }

    /// Ends an endless transfer after the block under way, waits for the rest, compares.
    ///
    /// # Errors
    /// If either end failed.
    pub fn finish(self) -> Result<Report> {
        self.progress.stop.store(true, Ordering::Relaxed);
        let client = join(self.client).context("the receiving end");
        let server = join(self.server).context("the sending end");
        let (bytes, received) = client?;
        let (_, sent) = server?;
        let longest_gap =
            Duration::from_micros(self.progress.longest_gap_us.load(Ordering::Relaxed));
        Ok(Report { bytes, sent, received, longest_gap, took: self.start.elapsed() })
    }
}

/// Sends `length` bytes and waits for the end.
///
/// # Errors
/// If either end failed or the bytes differ.
pub fn transfer(from: &Host, address: IpAddr, to: &Host, length: u64) -> Result<Report> {
    let stream = Stream::start(from, address, to, Some(length))?;
    // Not `finish` at once: it would cut the body short.
    while !stream.is_done() {
        std::thread::sleep(Duration::from_millis(2));
    }
    let report = stream.finish()?;
    report.ensure_intact()?;
    ensure!(report.bytes == length, "{} of {length} bytes arrived", report.bytes);
    Ok(report)
}

fn join<T>(thread: JoinHandle<Result<T>>) -> Result<T> {
    thread.join().unwrap_or_else(|_| bail!("a transfer thread panicked"))
}

fn serve(
    listener: &TcpListener,
    length: Option<u64>,
    progress: &Progress,
) -> Result<(u64, String)> {
    let mut connection = accept(listener, progress)?;
    connection.set_read_timeout(Some(PATIENCE))?;
    connection.set_write_timeout(Some(PATIENCE))?;
    let mut request = BufReader::new(&connection);
    let mut line = String::new();
    while request.read_line(&mut line)? > 2 {
        line.clear();
    }
    connection.write_all(b"HTTP/1.1 200 OK\r\nConnection: close\r\n\r\n")?;
    let (mut hash, mut sent, mut block) = (Sha256::new(), 0, Body::new());
    while length.map_or_else(|| !progress.stop.load(Ordering::Relaxed), |length| sent < length) {
        let left = length.map_or(BLOCK as u64, |length| (length - sent).min(BLOCK as u64));
        let bytes = &block.next()[..usize::try_from(left)?];
        connection.write_all(bytes)?;
        hash.update(bytes);
        sent += left;
    }
    Ok((sent, hex::encode(hash.finalize())))
}

/// Accepts one connection, but not after the client has given up.
fn accept(listener: &TcpListener, progress: &Progress) -> Result<TcpStream> {
    listener.set_nonblocking(true)?;
    loop {
        match listener.accept() {
            Ok((connection, _)) => {
                connection.set_nonblocking(false)?;
                return Ok(connection);
            }
            Err(error) if error.kind() == std::io::ErrorKind::WouldBlock => {
                if progress.done.load(Ordering::Relaxed) {
                    bail!("nobody came");
                }
                std::thread::sleep(Duration::from_millis(1));
            }
            Err(error) => return Err(error).context("accepting"),
        }
    }
}

fn download(at: SocketAddr, progress: &Progress) -> Result<(u64, String)> {
    let mut connection = TcpStream::connect_timeout(&at, PATIENCE).context("connecting")?;
    connection.set_read_timeout(Some(PATIENCE))?;
    write!(connection, "GET /file HTTP/1.1\r\nHost: {at}\r\n\r\n")?;
    let mut reader = BufReader::with_capacity(BLOCK, connection);
    let mut line = String::new();
    while reader.read_line(&mut line).context("reading the answer")? > 2 {
        line.clear();
    }
    let (mut hash, mut received, mut buffer) = (Sha256::new(), 0, vec![0; BLOCK]);
    let mut last = Instant::now();
    loop {
        let length =
            reader.read(&mut buffer).with_context(|| format!("reading after {received} bytes"))?;
        let gap = u64::try_from(last.elapsed().as_micros()).unwrap_or(u64::MAX);
        progress.longest_gap_us.fetch_max(gap, Ordering::Relaxed);
        last = Instant::now();
        if length == 0 {
            return Ok((received, hex::encode(hash.finalize())));
        }
        hash.update(&buffer[..length]);
        received += length as u64;
        progress.received.store(received, Ordering::Relaxed);
    }
}

/// Blocks of pseudo-random bytes, each different, with the marker in every kilobyte.
struct Body {
    state: u64,
    block: Vec<u8>,
}

impl Body {
    fn new() -> Self {
        Self { state: 0x9e37_79b9_7f4a_7c15, block: vec![0; BLOCK] }
    }

    fn next(&mut self) -> &[u8] {
        for word in self.block.chunks_exact_mut(8) {
            // xorshift64: cheap and never repeats within any file we send.
            self.state ^= self.state << 13;
            self.state ^= self.state >> 7;
            self.state ^= self.state << 17;
            word.copy_from_slice(&self.state.to_le_bytes());
        }
        for line in self.block.chunks_exact_mut(MARKER_EVERY) {
            line[..MARKER.len()].copy_from_slice(MARKER);
        }
        &self.block
    }
}
