//! One end of a tunnel that does nothing but seal: the product's hook, its sockets, its sealing, and
//! fixed keys. No negotiation, no tables, no decision: two formats differ by nothing else.

use super::explicit::Explicit;
use super::tcp_shaped::{TcpShaped, is_tcp};
use super::udp_shaped::UdpShaped;
use super::{Format, Side};
use anyhow::{Context, Result};
use ge_core::coalesce::Gather;
use ge_core::id::SessionIndex;
use ge_core::io::{ETHERNET_LEN, PACKET_AT, VNET_LEN};
use ge_core::limits::{DATA_PORT, MARK};
use ge_core::membership::Secret32;
use ge_core::traffic::{AeadKind, Opener, Sealer};
use ge_core::wire::ip;
use ge_core::wire::vnet::VnetHeader;
use ge_runtime::hook::{Guard, Hook, HookConfig, HookedInterface};
use ge_runtime::links;
use ge_runtime::packet_socket::PacketSocket;
use ge_runtime::program::Program;
use ge_runtime::tun::{READ_LEN, Tun};
use ge_runtime::udp_socket::UdpSocket;
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use nix::sys::signal::{SigSet, Signal};
use nix::sys::signalfd::SignalFd;
use std::io::IoSlice;
use std::os::fd::AsFd;
use std::sync::Arc;

/// As the product's event loop has them.
const FRAMES_PER_TURN: usize = 64;
const BUFFERS_PER_TURN: usize = 16;
const BATCH_BYTES: usize = 256 * 1024;
const DEVICE: &str = "native0";

/// See the module.
pub(super) struct End {
    format: Format,
    interface: u32,
    mac: [u8; 6],
    tun: Tun,
    packets: PacketSocket,
    datagrams: UdpSocket,
    sealer: Sealer,
    opener: Opener,
    udp: UdpShaped,
    tcp: TcpShaped,
    explicit: Explicit,
    _hook: Hook,
}

impl End {
    /// Opens the devices and puts the interface under the hook.
    pub(super) fn open(format: Format, device: &str, side: Side) -> Result<Self> {
        let present = links::list()?;
        let link = present.into_iter().find(|link| link.info.name == device);
        let info = link.with_context(|| format!("no device {device}"))?.info;
        let (interface, mac) = (info.interface.0, info.mac);
        let ledger = Arc::default();
        let tun = Tun::open(DEVICE, Program::Ges, &ledger)?;
        let hook = Hook::install(&HookConfig {
            mode: ge_core::Mode::Open,
            data_port: DATA_PORT,
            mark: MARK,
            serves: Vec::new(),
            interfaces: vec![HookedInterface::new(&info, DEVICE, tun.ifindex())],
            router: None,
            guard: Guard::default(),
        })?;
        let keys = [Secret32([1; 32]), Secret32([2; 32])];
        let (own, other) = match side {
            Side::First => (&keys[0], &keys[1]),
            Side::Second => (&keys[1], &keys[0]),
        };
        Ok(Self {
            format,
            interface,
            mac,
            packets: PacketSocket::open(interface, MARK, &ledger)?,
            datagrams: UdpSocket::bind_v4(DATA_PORT, MARK, &ledger)?,
            sealer: Sealer::new(own, AeadKind::Aes256Gcm, SessionIndex(1)),
            opener: Opener::new(other, AeadKind::Aes256Gcm),
            udp: UdpShaped::default(),
            explicit: Explicit::default(),
            tcp: TcpShaped::new(format == Format::OwnNumbers, format != Format::NarrowWindows),
            tun,
            _hook: hook,
        })
    }

    /// Works until SIGTERM, then says what went by.
    pub(super) fn run(mut self) -> Result<()> {
        let mut signals = SigSet::empty();
        signals.add(Signal::SIGTERM);
        signals.thread_block()?;
        let ended = SignalFd::new(&signals)?;
        println!("ready");
        let mut buffer = vec![0; READ_LEN];
        loop {
            let ready = |fd| PollFd::new(fd, PollFlags::POLLIN);
            let mut fds = [
                ready(self.tun.queue(0).as_fd()),
                ready(self.datagrams.as_fd()),
                ready(ended.as_fd()),
            ];
            poll(&mut fds, PollTimeout::NONE)?;
            let [frames, datagrams, end] = fds.map(|fd| fd.any().unwrap_or(false));
            if end {
                self.say();
                return Ok(());
            }
            if frames {
                self.read_frames(&mut buffer);
            }
            if datagrams {
                self.read_datagrams(&mut buffer);
            }
        }
    }

    fn read_frames(&mut self, buffer: &mut [u8]) {
        for _ in 0..FRAMES_PER_TURN {
            let Ok(len) = self.tun.queue(0).read(buffer) else { break };
            self.frame(&mut buffer[..len]);
            if self.udp.batch.bytes() >= BATCH_BYTES {
                self.send();
            }
        }
        self.send();
    }

    fn frame(&mut self, frame: &mut [u8]) {
        let Some(Ok(view)) = frame.get(PACKET_AT..).map(ip::parse) else { return };
        let leaves = frame[VNET_LEN + 6..VNET_LEN + 12] == self.mac;
        let sealed = is_tcp(frame, &view) && self.format != Format::Plain;
        match (leaves, sealed) {
            (true, false) => self.put_back(frame),
            (false, false) => self.deliver(frame),
            (true, true) if self.format == Format::Datagrams => {
                let (udp, sealer) = (&mut self.udp, &mut self.sealer);
                udp.outgoing(frame, &view, self.interface, sealer);
            }
            (true, true) if self.format == Format::Explicit => {
                let (packets, sealer) = (&self.packets, &mut self.sealer);
                let send = |bytes: &[u8]| drop(packets.put_back(bytes));
                self.explicit.outgoing(frame, &view, sealer, send);
            }
            (false, true) if self.format == Format::Explicit => {
                let (tun, opener) = (&self.tun, &mut self.opener);
                let taken = self
                    .explicit
                    .incoming(frame, &view, opener, |parts| tun.queue(0).writev(parts));
                self.explicit.count.refused += u64::from(taken.is_none());
            }
            (true, true) => {
                let (packets, sealer) = (&self.packets, &mut self.sealer);
                // A full queue loses packets as any queue does.
                self.tcp.outgoing(frame, &view, sealer, |bytes| drop(packets.put_back(bytes)));
            }
            (false, true) => {
                let (tun, opener) = (&self.tun, &mut self.opener);
                let taken =
                    self.tcp.incoming(frame, &view, opener, |parts| tun.queue(0).writev(parts));
                self.tcp.count.refused += u64::from(taken.is_none());
            }
        }
    }

    fn send(&mut self) {
        let packets = &self.packets;
        self.tcp.flush(|bytes| drop(packets.put_back(bytes)));
        self.explicit.flush(|bytes| drop(packets.put_back(bytes)));
        for run in self.udp.batch.runs() {
            self.tcp.count.frames_out += 1;
            self.tcp.count.segments_out += run.count() as u64;
            drop(self.datagrams.send(run));
        }
        self.udp.batch.clear();
    }

    fn read_datagrams(&mut self, buffer: &mut [u8]) {
        for _ in 0..BUFFERS_PER_TURN {
            let Ok(got) = self.datagrams.recv(buffer) else { break };
            self.tcp.count.frames_in += 1;
            self.tcp.count.segments_in += got.count() as u64;
            let tun = &self.tun;
            let deliver = |gather: Gather<'_>| {
                let mut parts = vec![IoSlice::new(&gather.vnet), IoSlice::new(gather.header)];
                let pieces = gather.payload.iter().map(|range| &gather.buffer[range.clone()]);
                parts.extend(pieces.map(IoSlice::new));
                drop(tun.queue(0).writev(&parts));
            };
            self.udp.incoming(buffer, &got, &mut self.opener, deliver);
        }
    }

    fn put_back(&self, frame: &[u8]) {
        drop(self.packets.put_back(frame));
    }

    fn deliver(&self, frame: &[u8]) {
        let vnet = VnetHeader::parse(frame).and_then(|vnet| vnet.shifted(-(ETHERNET_LEN as i16)));
        let Ok(vnet) = vnet else { return };
        drop(
            self.tun
                .queue(0)
                .writev(&[IoSlice::new(&vnet.emit()), IoSlice::new(&frame[PACKET_AT..])]),
        );
    }

    fn say(&self) {
        let explicit = self.format == Format::Explicit;
        let count = if explicit { self.explicit.count } else { self.tcp.count };
        println!(
            "{{\"frames_out\":{},\"segments_out\":{},\"frames_in\":{},\"segments_in\":{},\"refused\":{}}}",
            count.frames_out, count.segments_out, count.frames_in, count.segments_in, count.refused
        );
    }
}
