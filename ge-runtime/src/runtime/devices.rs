//! Everything the engine thread holds open: TUNs, packet sockets, data sockets, ICMP, links, and
//! the hook itself, which the control plane shares.

use super::data_sockets::DataSockets;
use super::event_loop::vnet_for_stack;
use super::offered;
use super::port::{Port, direction};
use crate::error::KernelError;
use crate::forwarding;
use crate::hook::{Guard, Hook, HookConfig, HookedInterface, RouterConfig};
use crate::ledger::{Ledger, Place};
use crate::links::{self, Link, LinkWatch};
use crate::message_socket::MessageSocket;
use crate::offload::Offload;
use crate::options::RunOptions;
use crate::packet_socket::PacketSocket;
use crate::program::Program;
use crate::report::{KernelReport, SocketReport, TunReport};
use crate::tun::{Tun, TunQueue};
use crate::udp_socket::probe_segments;
use ge_core::coalesce::Gather;
use ge_core::flow::Direction;
use ge_core::io::{InterfaceInfo, KernelVerdict, PACKET_AT, Transmit, VNET_LEN};
use ge_core::limits::{DATA_PORT, MARK};
use ge_core::{Interface, Mode};
use std::collections::BTreeSet;
use std::io::{self, IoSlice};
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use tracing::{info, warn};

/// The hook, shared with the control plane: it lets the agent's own connections to the
/// management server through. `None` once it was taken away.
pub(super) type SharedHook = Arc<Mutex<Option<Hook>>>;

/// One interface under the hook.
pub(super) struct Attached {
    pub(super) interface: Interface,
    info: InterfaceInfo,
    pub(super) tun: Tun,
    packets: PacketSocket,
}

impl Attached {
    fn open(
        info: InterfaceInfo,
        program: Program,
        number: usize,
        workers: u8,
        ledger: &Arc<Ledger>,
    ) -> Result<Self, KernelError> {
        let name = format!("{}{number}", program.name());
        let tun = Tun::open_queues(&name, program, workers, ledger)?;
        let packets = PacketSocket::open(info.interface.0, MARK, ledger)?;
        Ok(Self { interface: info.interface, info, tun, packets })
    }

    fn hooked(&self) -> HookedInterface {
        HookedInterface::new(&self.info, self.tun.name(), self.tun.ifindex())
    }

    /// See [`direction`].
    pub(super) fn direction(&self, frame: &[u8]) -> Option<Direction> {
        direction(frame, self.interface, self.info.mac)
    }

    /// The queue of a thread beside the engine.
    fn port(&self, worker: u8) -> Port {
        Port {
            interface: self.interface,
            mac: self.info.mac,
            mtu: self.info.mtu,
            queue: self.tun.queue(worker).clone(),
        }
    }

    /// Puts a captured frame back where it was going, in clear.
    pub(super) fn put_back(&self, frame: &[u8]) {
        // What was not taken is counted.
        let _ = self.packets.put_back(frame);
    }

    /// Hands a captured frame's IP packet to the local stack.
    pub(super) fn deliver(&self, frame: &[u8]) {
        let Some(vnet) = vnet_for_stack(frame) else { return };
        self.tun.queue(0).deliver_parts(&[IoSlice::new(&vnet), IoSlice::new(&frame[PACKET_AT..])]);
    }
}

pub(super) struct Devices {
    program: Program,
    ledger: Arc<Ledger>,
    pub(super) attached: Vec<Attached>,
    pub(super) data: DataSockets,
    /// Of the threads beside the engine, which send and receive by them.
    beside: Vec<Arc<DataSockets>>,
    pub(super) links: LinkWatch,
    messages: MessageSocket,
    hook: SharedHook,
    /// Addresses of the management server; those that are this machine's own stay reachable.
    servers: Vec<SocketAddr>,
    /// Ports of the management server, also where it is named and not numbered.
    server_ports: Vec<u16>,
    /// Names to hook; empty means every interface with a global route.
    wanted: Vec<String>,
    next_tun: usize,
    /// Every address of the machine, as last listed.
    addresses: BTreeSet<IpAddr>,
    /// The kernel may hold verdicts that are no longer ours: the sets must be emptied.
    flush: bool,
}

impl Devices {
    /// Opens what a start needs and closes it again: so a missing interface, a missing permission
    /// and another agent are found before a server is asked and a token is used up.
    pub(super) fn rehearse(options: &RunOptions) -> Result<(), KernelError> {
        match links::select(&options.interfaces) {
            Ok(_) | Err(KernelError::NoDefaultRoute { .. }) => {}
            Err(error) => return Err(error),
        }
        if options.program == Program::Gen {
            let offered = match offered(options) {
                Err(KernelError::NoDefaultRoute { .. }) => Vec::new(),
                offered => offered?,
            };
            forwarding::require(&offered)?;
        }
        let ledger = Arc::new(Ledger::new(options.offloads));
        DataSockets::bind(DATA_PORT, &ledger)?;
        MessageSocket::open(MARK, options.program)?;
        Ok(())
    }

    /// Opens everything and installs the hook last: until then nothing of the machine's traffic
    /// is touched, and if anything fails nothing is left behind. Without named interfaces a
    /// machine may start before it has a default route; what comes up later is attached then.
    pub(super) fn open(
        options: &RunOptions,
        servers: &[SocketAddr],
        mode: Mode,
        guard: Guard,
        ledger: Arc<Ledger>,
    ) -> Result<Self, KernelError> {
        let ports: Vec<u16> = servers.iter().map(SocketAddr::port).collect();
        let links = LinkWatch::open()?;
        let program = options.program;
        let chosen = match links::select(&options.interfaces) {
            Err(error @ KernelError::NoDefaultRoute { .. }) => {
                warn!(%error, "nothing is protected until an interface gets a default route");
                Vec::new()
            }
            chosen => chosen?,
        };
        let addresses = addresses(&links::list()?);
        probe_segments(&ledger);
        let data = DataSockets::bind(DATA_PORT, &ledger)?;
        let beside = data.bind_beside(options.workers()).unwrap_or_else(|error| {
            warn!(%error, "the data path has one thread only");
            Vec::new()
        });
        let beside: Vec<_> = beside.into_iter().map(Arc::new).collect();
        let workers = workers(&beside);
        let messages = MessageSocket::open(MARK, program)?;
        let mut next_tun = 0;
        let mut attached = Vec::new();
        for info in chosen {
            attached.push(Attached::open(info, program, next_tun, workers, &ledger)?);
            next_tun += 1;
        }
        let wanted = options.interfaces.clone();
        let mut config = config(mode, program, &attached, servers)?;
        config.guard = Guard { server_ports: ports.clone(), ..guard };
        let hook = Hook::install(&config)?;
        for Attached { info, .. } in &attached {
            info!(interface = info.name, mtu = info.mtu, "under the hook");
        }
        Ok(Self {
            program,
            ledger,
            attached,
            data,
            beside,
            links,
            messages,
            hook: Arc::new(Mutex::new(Some(hook))),
            servers: servers.to_vec(),
            server_ports: ports,
            wanted,
            next_tun,
            addresses,
            flush: false,
        })
    }

    pub(super) const fn ledger(&self) -> &Arc<Ledger> {
        &self.ledger
    }

    /// Threads of the data path, the engine's among them.
    pub(super) fn workers(&self) -> u8 {
        workers(&self.beside)
    }

    /// The data sockets of the threads beside the engine.
    pub(super) fn beside(&self) -> &[Arc<DataSockets>] {
        &self.beside
    }

    /// Where the interface is in the list of those under the hook.
    pub(super) fn index_of(&self, interface: Interface) -> Option<usize> {
        self.attached.iter().position(|attached| attached.interface == interface)
    }

    /// The same of the interface whose TUN has this queue; `None` once it has another TUN.
    pub(super) fn index_of_queue(&self, queue: &TunQueue) -> Option<usize> {
        self.attached.iter().position(|attached| attached.tun.has(queue))
    }

    /// The queues of a thread beside the engine.
    pub(super) fn ports(&self, worker: u8) -> Vec<Port> {
        self.attached.iter().map(|attached| attached.port(worker)).collect()
    }

    pub(super) fn shared_hook(&self) -> SharedHook {
        Arc::clone(&self.hook)
    }

    /// The hook, unless it was taken away. Every operation on it is one transaction, so that a
    /// holder that panicked left it whole.
    fn with_hook(
        &self,
        act: impl FnOnce(&mut Hook) -> Result<(), KernelError>,
    ) -> Result<(), KernelError> {
        lock(&self.hook).as_mut().map_or(Ok(()), act)
    }

    /// Brings interfaces and rules to what they should be: attaches what came, lets go what went,
    /// and rewrites the table if it is not the wanted one. What is written is compared with what
    /// the kernel was last given, not with what was wanted before, so that a step that failed is
    /// done by the next call.
    ///
    /// # Errors
    /// The first thing that failed; the rest was done all the same.
    pub(super) fn reconcile(&mut self, mode: Mode, guard: &Guard) -> Result<(), KernelError> {
        let attached = self.attach_present();
        let mut wanted = config(mode, self.program, &self.attached, &self.servers)?;
        wanted.guard = self.with_ports(guard);
        let flush = self.flush;
        self.with_hook(|hook| {
            let unguarded =
                |config: &HookConfig| HookConfig { guard: Guard::default(), ..config.clone() };
            if flush || unguarded(hook.config()) != unguarded(&wanted) {
                hook.reinstall(&wanted)
            } else if hook.config().guard != wanted.guard {
                hook.set_guard(wanted.guard)
            } else {
                Ok(())
            }
        })?;
        self.flush = false;
        attached
    }

    /// Answers from these ports must come in, whatever must be protected.
    pub(super) fn hear_ports(&mut self, ports: &[u16]) {
        self.server_ports = ports.to_vec();
    }

    /// The guard, with what must be let in so that the server is heard.
    fn with_ports(&self, guard: &Guard) -> Guard {
        Guard { server_ports: self.server_ports.clone(), ..guard.clone() }
    }

    fn attach_present(&mut self) -> Result<(), KernelError> {
        let present = links::list()?;
        let routed = links::default_route_interfaces()?;
        self.addresses = addresses(&present);
        self.attached.retain(|attached| {
            present.iter().any(|link| link.info.interface == attached.interface)
        });
        let mut result = Ok(());
        for link in present.into_iter().filter(|link| link.ethernet) {
            let info = link.info;
            if let Some(at) = self.attached.iter().position(|a| a.interface == info.interface) {
                self.attached[at].info = info;
            } else if self.is_wanted(&info, &routed) {
                let name = info.name.clone();
                let number = self.next_tun;
                let opened =
                    Attached::open(info, self.program, number, self.workers(), &self.ledger);
                self.next_tun += 1;
                match opened {
                    Ok(attached) => {
                        info!(interface = name, "under the hook");
                        self.attached.push(attached);
                    }
                    Err(error) => result = Err(error),
                }
            }
        }
        result
    }

    /// Lets an interface go whose TUN is broken. Its packets die in the hook until
    /// [`Devices::reconcile`] attaches it anew.
    pub(super) fn detach(&mut self, index: usize) {
        if index < self.attached.len() {
            let gone = self.attached.remove(index);
            warn!(interface = gone.info.name, "its TUN was taken away; it gets a new one");
        }
    }

    fn is_wanted(&self, info: &InterfaceInfo, routed: &BTreeSet<Interface>) -> bool {
        if self.wanted.is_empty() {
            return routed.contains(&info.interface);
        }
        self.wanted.contains(&info.name)
    }

    /// Interfaces under the hook, and every address of the machine, as last listed.
    pub(super) fn interfaces(&self) -> (Vec<InterfaceInfo>, Vec<IpAddr>) {
        let hooked = self.attached.iter().map(|a| a.info.clone()).collect();
        (hooked, self.addresses.iter().copied().collect())
    }

    /// The address the kernel would talk to `remote` from, and the hooked interface that has it.
    pub(super) fn own_address_for(&self, remote: IpAddr) -> Option<(IpAddr, Interface)> {
        let any: IpAddr = match remote {
            IpAddr::V4(_) => Ipv4Addr::UNSPECIFIED.into(),
            IpAddr::V6(_) => Ipv6Addr::UNSPECIFIED.into(),
        };
        // Connecting a datagram socket sends nothing; it asks the kernel for the route.
        let socket = std::net::UdpSocket::bind(SocketAddr::new(any, 0)).ok()?;
        socket.connect(SocketAddr::new(remote, DATA_PORT)).ok()?;
        let local = socket.local_addr().ok()?.ip();
        let owner = self
            .attached
            .iter()
            .find(|attached| attached.info.addresses.iter().any(|(ip, _)| *ip == local));
        owner.map(|attached| (local, attached.interface))
    }

    pub(super) fn transmit(&self, transmit: &Transmit) {
        if let Err(error) = self.messages.send(transmit) {
            self.ledger.losses.add(Place::Message, 1, &error);
        }
    }

    /// Where packets go that were opened from a datagram that came in by `interface`: to the TUN of
    /// that interface, if it is under the hook, so that the kernel's own rules can tell them apart.
    pub(super) fn deliver(&self, interface: Interface, gather: &Gather<'_>) {
        let by = self.attached.iter().find(|attached| attached.interface == interface);
        match by.or_else(|| self.attached.first()) {
            Some(attached) => attached.tun.queue(0).deliver(gather),
            None => nobody_to_hand_to(&self.ledger, gather.payload.len()),
        }
    }

    /// Whether opened segments and opened datagrams are to be merged.
    pub(super) fn merges(&self) -> [bool; 2] {
        [Offload::MergeTcp, Offload::MergeUdp].map(|offload| self.ledger.is_on(offload))
    }

    /// What the kernel says about sockets and TUNs.
    pub(super) fn report(&self) -> KernelReport {
        let packets = self.attached.iter().filter_map(|attached| {
            let name = format!("packet {}", attached.info.name);
            Some(SocketReport::new(name, attached.packets.memory().ok()?))
        });
        let tuns = self.attached.iter().filter_map(|attached| {
            let counts = attached.tun.counts().ok()?;
            Some(TunReport::new(attached.tun.name(), &attached.info.name, counts))
        });
        let beside = (1..).zip(&self.beside).flat_map(|(thread, sockets)| sockets.report(thread));
        let sockets = self.data.report(0).chain(beside).chain(packets);
        KernelReport { sockets: sockets.collect(), tuns: tuns.collect() }
    }

    /// Hands an IP packet the engine made to the local stack.
    pub(super) fn deliver_packet(&self, packet: &[u8]) {
        if let Some(attached) = self.attached.first() {
            attached
                .tun
                .queue(0)
                .deliver_parts(&[IoSlice::new(&[0; VNET_LEN]), IoSlice::new(packet)]);
        }
    }

    /// Hands verdicts to the kernel. False if it did not take them: then it may still pass in
    /// clear what is protected by now, and [`Devices::reconcile`] must empty the sets.
    pub(super) fn apply(&mut self, verdicts: &[KernelVerdict]) -> bool {
        let applied = self.with_hook(|hook| hook.apply(verdicts));
        if let Err(error) = &applied {
            warn!(%error, "the kernel did not take verdicts; its sets are emptied");
            self.flush = true;
        }
        applied.is_ok()
    }

    /// Gives the hook up and leaves its rules in force. Whoever waits for this agent to be gone
    /// must find the rules without an owner.
    pub(super) fn leave_hook(&self) {
        drop(lock(&self.hook).take());
    }

    pub(super) fn remove_hook(&self) {
        if let Some(hook) = lock(&self.hook).take()
            && let Err(error) = hook.remove()
        {
            warn!(%error, "the packet hook was not removed; it goes with this process");
        }
    }
}

/// Threads of the data path, those with these sockets and the engine's: as many as were asked for, at
/// most, which is a small number.
const fn workers(beside: &[Arc<DataSockets>]) -> u8 {
    1 + beside.len() as u8
}

/// Without an interface there is no TUN.
pub(super) fn nobody_to_hand_to(ledger: &Ledger, packets: usize) {
    let error = io::Error::from_raw_os_error(libc::ENODEV);
    ledger.losses.add(Place::Deliver, packets as u64, &error);
}

/// See [`Devices::with_hook`] for why a poisoned lock is still good.
pub(super) fn lock(hook: &SharedHook) -> MutexGuard<'_, Option<Hook>> {
    hook.lock().unwrap_or_else(PoisonError::into_inner)
}

fn addresses(links: &[Link]) -> BTreeSet<IpAddr> {
    links.iter().flat_map(|link| &link.info.addresses).map(|(address, _)| *address).collect()
}

fn config(
    mode: Mode,
    program: Program,
    attached: &[Attached],
    servers: &[SocketAddr],
) -> Result<HookConfig, KernelError> {
    let is_own = |server: &&SocketAddr| {
        attached.iter().any(|a| a.info.addresses.iter().any(|(ip, _)| *ip == server.ip()))
    };
    let router = match program {
        Program::Ges => None,
        Program::Gen => Some(RouterConfig {
            addresses: addresses(&links::list()?).into_iter().collect(),
            servers: servers.to_vec(),
        }),
    };
    Ok(HookConfig {
        mode,
        data_port: DATA_PORT,
        mark: MARK,
        serves: servers.iter().filter(is_own).copied().collect(),
        interfaces: attached.iter().map(Attached::hooked).collect(),
        router,
        guard: Guard::default(),
    })
}
