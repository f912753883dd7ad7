//! A packet capture of our own: what a wire tap between two machines would have seen.
//!
//! One thread reads the ring of an `AF_PACKET` socket on an interface of the switch and keeps *counts* by
//! addresses and [`Kind`], so that a run of any length needs little memory. A marker given at the
//! start is searched in every byte of every frame. The kernel says how many frames it had no room
//! for; a test that proves an absence must ask [`Tally::complete`].

mod frame;
mod ring;

pub use frame::{Kind, Packet, describe};

use crate::host::Host;
use crate::wait::wait_until;
use anyhow::{Result, bail, ensure};
use memchr::memmem::Finder;
use ring::Ring;
use std::collections::BTreeMap;
use std::net::IpAddr;
use std::os::fd::{AsRawFd, FromRawFd, OwnedFd};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use std::thread::JoinHandle;
use std::time::Duration;

/// Clear frames described in full, to say in a failure what leaked.
const SAMPLES: usize = 12;
/// How long the thread waits for frames before it looks whether it shall stop. Longer than the
/// kernel keeps frames in a block that is not full, so that silence means that nothing waits.
const POLL_MS: libc::c_int = 40;

/// What was seen so far.
#[derive(Clone, Debug, Default)]
pub struct Tally {
    /// Frames by source, destination and kind.
    pub frames: BTreeMap<(IpAddr, IpAddr, Kind), u64>,
    /// Bytes by the same.
    pub bytes: BTreeMap<(IpAddr, IpAddr, Kind), u64>,
    /// Frames that contain the marker.
    pub marker: u64,
    /// Frames the kernel had no room for.
    pub lost: u64,
    samples: Vec<String>,
    /// Kind of each datagram whose first fragment was seen.
    fragmented: BTreeMap<(IpAddr, IpAddr, u32), Kind>,
}

impl Tally {
    fn add(&mut self, frame: &[u8], marker: Option<&Finder<'_>>) {
        if marker.is_some_and(|marker| marker.find(frame).is_some()) {
            self.marker += 1;
        }
        let Some(mut packet) = Packet::parse(frame) else { return };
        if let Some(fragment) = packet.fragment {
            let datagram = (packet.from, packet.to, fragment.id);
            if fragment.is_first {
                self.fragmented.insert(datagram, packet.kind);
            } else if let Some(kind) = self.fragmented.get(&datagram) {
                packet.kind = *kind;
            }
        }
        let key = (packet.from, packet.to, packet.kind);
        *self.frames.entry(key).or_default() += 1;
        *self.bytes.entry(key).or_default() += frame.len() as u64;
        if packet.kind.is_clear() && self.samples.len() < SAMPLES {
            self.samples.push(describe(&packet, frame));
        }
    }

    /// Frames between two machines, both directions, of the kinds `wanted`.
    #[must_use]
    pub fn between(&self, one: &Host, other: &Host, wanted: fn(Kind) -> bool) -> u64 {
        let is_pair = |from: &IpAddr, to: &IpAddr| {
            let (x, y) = (one.addresses(), other.addresses());
            (x.contains(from) && y.contains(to)) || (y.contains(from) && x.contains(to))
        };
        self.frames
            .iter()
            .filter(|((from, to, kind), _)| is_pair(from, to) && wanted(*kind))
            .map(|(_, count)| count)
            .sum()
    }

    /// Sealed datagrams between two machines.
    #[must_use]
    pub fn sealed(&self, one: &Host, other: &Host) -> u64 {
        self.between(one, other, |kind| kind == Kind::Sealed)
    }

    /// Plaintext of programs between two machines.
    #[must_use]
    pub fn clear(&self, one: &Host, other: &Host) -> u64 {
        self.between(one, other, Kind::is_clear)
    }

    /// The first frames that went in clear, between whomever, with their first bytes.
    #[must_use]
    pub fn samples(&self) -> String {
        self.samples.join("\n  ")
    }

    /// That no plaintext went between two machines and that nothing was overlooked.
    ///
    /// # Errors
    /// With the first frames that went in clear.
    pub fn ensure_no_clear(&self, one: &Host, other: &Host) -> Result<()> {
        let clear = self.clear(one, other);
        ensure!(
            clear == 0,
            "{clear} frames in clear between {} and {}; the first of all:\n  {}",
            one.name,
            other.name,
            self.samples()
        );
        self.complete()
    }

    /// That the kernel lost no frame, without which an absence proves nothing.
    ///
    /// # Errors
    /// If it did.
    pub fn complete(&self) -> Result<()> {
        ensure!(self.lost == 0, "the capture lost {} frames: it proves nothing", self.lost);
        Ok(())
    }
}

/// A running capture; stops when dropped.
pub struct Capture {
    tally: Arc<Mutex<Tally>>,
    /// How often the thread has read all there was.
    passes: Arc<AtomicU64>,
    stop: Arc<AtomicBool>,
    thread: Option<JoinHandle<Result<()>>>,
}

impl Capture {
    /// Starts on interface `dev` of `host`, in both directions. Frames sent before this returns are
    /// not seen, all later ones are.
    ///
    /// # Errors
    /// If the interface does not exist or a packet socket is refused.
    pub fn start(host: &Host, dev: &str, marker: Option<&[u8]>) -> Result<Self> {
        Self::start_with(host, dev, marker, ring::BLOCKS)
    }

    /// [`Capture::start`] for a link on which little happens: less memory of the kernel's.
    ///
    /// # Errors
    /// As [`Capture::start`].
    pub fn start_small(host: &Host, dev: &str, marker: Option<&[u8]>) -> Result<Self> {
        Self::start_with(host, dev, marker, ring::BLOCKS_SMALL)
    }

    fn start_with(host: &Host, dev: &str, marker: Option<&[u8]>, blocks: usize) -> Result<Self> {
        let (socket, ring) = host.enter(|| open(dev, blocks))?;
        let tally = Arc::new(Mutex::new(Tally::default()));
        let stop = Arc::new(AtomicBool::new(false));
        let passes = Arc::new(AtomicU64::new(0));
        let thread = std::thread::spawn({
            let (tally, stop, passes) =
                (Arc::clone(&tally), Arc::clone(&stop), Arc::clone(&passes));
            let marker = marker.map(|marker| Finder::new(marker).into_owned());
            move || read(&socket, ring, marker.as_ref(), &tally, &passes, &stop)
        });
        Ok(Self { tally, passes, stop, thread: Some(thread) })
    }

    /// Everything that was on the wire before the call.
    ///
    /// # Errors
    /// If the capture has ended.
    pub fn so_far(&self) -> Result<Tally> {
        // By then the kernel has handed over every block with frames of before the call …
        std::thread::sleep(ring::RETIRE * 2);
        let seen = self.passes.load(Ordering::Relaxed);
        // … and a pass that began after that, the second from now at the latest, has read them.
        wait_until("the capture to catch up", Duration::from_secs(10), || {
            Ok(self.passes.load(Ordering::Relaxed) >= seen + 2)
        })?;
        Ok(self.tally())
    }

    /// What was read so far; frames of the last moments may be missing.
    #[must_use]
    pub fn tally(&self) -> Tally {
        self.tally.lock().unwrap_or_else(std::sync::PoisonError::into_inner).clone()
    }

    /// Stops after everything that waits was read.
    ///
    /// # Errors
    /// If reading failed.
    pub fn finish(mut self) -> Result<Tally> {
        self.stop.store(true, Ordering::Relaxed);
        if let Some(thread) = self.thread.take() {
            match thread.join() {
                Ok(result) => result?,
                Err(_) => bail!("the capture panicked"),
            }
        }
        Ok(self.tally())
    }
}

impl Drop for Capture {
    fn drop(&mut self) {
        self.stop.store(true, Ordering::Relaxed);
    }
}

/// A packet socket with its ring, bound to `dev` of the calling thread's namespace.
fn open(dev: &str, blocks: usize) -> Result<(OwnedFd, Ring)> {
    let protocol = (libc::ETH_P_ALL as u16).to_be();
    let name = std::ffi::CString::new(dev)?;
    // SAFETY: plain system calls; every pointer is to a live local of the size given.
    unsafe {
        // Protocol 0 receives nothing, so that no frame of another interface slips in before bind.
        let fd = libc::socket(libc::AF_PACKET, libc::SOCK_RAW | libc::SOCK_CLOEXEC, 0);
        if fd < 0 {
            return Err(last_error("opening a packet socket"));
        }
        let fd = OwnedFd::from_raw_fd(fd);
        let ring = Ring::new(&fd, blocks)?;
        let index = libc::if_nametoindex(name.as_ptr());
        if index == 0 {
            return Err(last_error(&format!("looking up {dev}")));
        }
        let mut address: libc::sockaddr_ll = std::mem::zeroed();
        address.sll_family = libc::AF_PACKET as u16;
        address.sll_protocol = protocol;
        address.sll_ifindex = libc::c_int::try_from(index)?;
        let length = size_of::<libc::sockaddr_ll>() as libc::socklen_t;
        if libc::bind(fd.as_raw_fd(), (&raw const address).cast(), length) < 0 {
            return Err(last_error(&format!("binding to {dev}")));
        }
        Ok((fd, ring))
    }
}

fn read(
    socket: &OwnedFd,
    mut ring: Ring,
    marker: Option<&Finder<'_>>,
    tally: &Mutex<Tally>,
    passes: &AtomicU64,
    stop: &AtomicBool,
) -> Result<()> {
    let mut stopping = false;
    loop {
        if !stopping && stop.load(Ordering::Relaxed) {
            // Else a busy link would always have one more frame.
            refuse_all(socket)?;
            stopping = true;
        }
        let mut waiting = libc::pollfd { fd: socket.as_raw_fd(), events: libc::POLLIN, revents: 0 };
        // SAFETY: one pollfd, and it lives.
        let ready = unsafe { libc::poll(&raw mut waiting, 1, POLL_MS) };
        if waiting.revents & libc::POLLERR != 0 {
            forget_error(socket)?;
        }
        let mut tally = tally.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
        let mut any = false;
        while ring.read_block(|frame| tally.add(frame, marker)) {
            any = true;
        }
        tally.lost += lost(socket)?;
        passes.fetch_add(1, Ordering::Relaxed);
        if stopping && ready == 0 && !any {
            return Ok(());
        }
    }
}

/// An interface that goes down is a fact about the lab, and its later frames still come; the error
/// has to be read, or it is reported for ever.
fn forget_error(socket: &OwnedFd) -> Result<()> {
    let mut error: libc::c_int = 0;
    let mut length = size_of::<libc::c_int>() as libc::socklen_t;
    // SAFETY: both pointers are to live locals, the length is that of the first.
    let result = unsafe {
        libc::getsockopt(
            socket.as_raw_fd(),
            libc::SOL_SOCKET,
            libc::SO_ERROR,
            (&raw mut error).cast(),
            &raw mut length,
        )
    };
    ensure!(result == 0, last_error("reading the capture's error"));
    let expected = matches!(error, 0 | libc::ENETDOWN);
    ensure!(expected, "the capture: {}", std::io::Error::from_raw_os_error(error));
    Ok(())
}

/// Lets no further frame into the socket; those that wait stay.
fn refuse_all(socket: &OwnedFd) -> Result<()> {
    // One instruction of classic BPF: return 0, keep no byte.
    let mut code =
        libc::sock_filter { code: (libc::BPF_RET | libc::BPF_K) as u16, jt: 0, jf: 0, k: 0 };
    let program = libc::sock_fprog { len: 1, filter: &raw mut code };
    // SAFETY: the kernel copies the program, which lives, with its length.
    let result = unsafe {
        libc::setsockopt(
            socket.as_raw_fd(),
            libc::SOL_SOCKET,
            libc::SO_ATTACH_FILTER,
            (&raw const program).cast(),
            size_of::<libc::sock_fprog>() as libc::socklen_t,
        )
    };
    ensure!(result == 0, last_error("closing the capture"));
    Ok(())
}

/// Frames dropped since the last call; the kernel resets its count on reading.
fn lost(socket: &OwnedFd) -> Result<u64> {
    let mut stats = libc::tpacket_stats_v3 { tp_packets: 0, tp_drops: 0, tp_freeze_q_cnt: 0 };
    let mut length = size_of::<libc::tpacket_stats_v3>() as libc::socklen_t;
    // SAFETY: both pointers are to live locals, the length is that of the first.
    let result = unsafe {
        libc::getsockopt(
            socket.as_raw_fd(),
            libc::SOL_PACKET,
            libc::PACKET_STATISTICS,
            (&raw mut stats).cast(),
            &raw mut length,
        )
    };
    ensure!(result == 0, last_error("reading capture statistics"));
    Ok(u64::from(stats.tp_drops))
}

fn last_error(what: &str) -> anyhow::Error {
    anyhow::Error::from(std::io::Error::last_os_error()).context(what.to_owned())
}
