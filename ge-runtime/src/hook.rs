//! The hook: every IP packet that enters or leaves an interface goes to a TUN, and no route, rule
//! or address is changed for it.
//!
//! One nf_tables table of the netdev family holds, per interface, an ingress and an egress chain
//! whose last rule is `fwd` to that interface's TUN (`ruleset.rs` draws them). Who owns the table
//! decides what a dead agent leaves behind:
//!
//! - **open**: our netlink socket owns it. When the process ends, however it ends, the kernel
//!   removes the table and the machine is as before.
//! - **closed**: it is owned *and* persistent. It stays, the TUN does not, and `fwd` to a device
//!   that is gone drops: the machine fails closed. The next agent replaces the orphan in one
//!   transaction, with no packet in between. Linux before 6.9 does not know persistent tables;
//!   there the table has no owner, which fails closed just the same.
//!
//! An owned table cannot be touched by another process, not by `nft flush ruleset` either.

mod guard;
mod ruleset;
mod sets;

pub use guard::{GUARD, Guard};

use crate::error::KernelError;
use crate::nft::{Batch, CommitError, NftSocket, TABLE_F_OWNER, TABLE_F_PERSIST};
use ge_core::Mode;
use ge_core::addr::FlowAddr;
use ge_core::io::{InterfaceInfo, KernelVerdict};
use std::io;
use std::net::{IpAddr, Ipv4Addr, SocketAddr};

/// Name of the table, as `nft list tables` shows it.
pub const TABLE: &str = "gsagent";

/// First release with the netfilter egress hook.
const OLDEST_KERNEL: (u32, u32) = (5, 17);

/// Verdicts in one transaction: nine lists of elements of at most 56 bytes stay well below the
/// socket's buffer.
const VERDICTS_PER_TRANSACTION: usize = 1024;

/// One interface under the hook, and the TUN its packets go to.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct HookedInterface {
    /// The kernel's index.
    pub ifindex: u32,
    /// Its name.
    pub name: String,
    /// Its Ethernet address, by which outgoing and incoming frames are told apart.
    pub mac: [u8; 6],
    /// Directed broadcast addresses of its networks.
    pub broadcasts: Vec<Ipv4Addr>,
    /// Its own addresses.
    pub addresses: Vec<IpAddr>,
    /// Name of the TUN, for error messages and listings.
    pub tun_name: String,
    /// The TUN's index.
    pub tun_ifindex: u32,
}

impl HookedInterface {
    /// `info`, with packets going to this TUN.
    #[must_use]
    pub fn new(info: &InterfaceInfo, tun_name: &str, tun_ifindex: u32) -> Self {
        Self {
            ifindex: info.interface.0,
            name: info.name.clone(),
            mac: info.mac,
            broadcasts: info.addresses.iter().filter_map(directed_broadcast).collect(),
            addresses: info.addresses.iter().map(|(address, _)| *address).collect(),
            tun_name: tun_name.to_owned(),
            tun_ifindex,
        }
    }
}

/// What the hook is to do.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct HookConfig {
    /// Open or closed.
    pub mode: Mode,
    /// UDP port of sealed data; arriving datagrams for it go to our socket, not to the TUN.
    pub data_port: u16,
    /// Mark of everything the agent sends itself.
    pub mark: u32,
    /// Where a management server on this machine may listen: reachable in clear for everybody,
    /// since agents need it before they have keys. It proves itself by its own TLS.
    pub serves: Vec<SocketAddr>,
    /// Interfaces.
    pub interfaces: Vec<HookedInterface>,
    /// What a router needs besides.
    pub router: Option<RouterConfig>,
    /// What stays refused without the agent, in open mode too.
    pub guard: Guard,
}

impl HookConfig {
    /// Whoever talks to a management server must be let past the agent by its port, which a shortcut to
    /// the agent would not ask for.
    fn spared(&self, verdict: KernelVerdict) -> KernelVerdict {
        let on_the_way = self.router.iter().flat_map(|router| &router.servers);
        let is_server = |host: FlowAddr| {
            self.serves.iter().chain(on_the_way.clone()).any(|server| server.ip() == host.0)
        };
        match verdict {
            KernelVerdict::Protect { pair, .. }
                if is_server(pair.local) || is_server(pair.remote) =>
            {
                KernelVerdict::Forget { pair }
            }
            _ => verdict,
        }
    }
}

/// What the hook of a router must know: most packets there are for other machines.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RouterConfig {
    /// Every address of the machine, sorted. Sealed data for one of them is for our socket; all
    /// other is between other agents.
    pub addresses: Vec<IpAddr>,
    /// Management servers: machines behind a closed router must reach theirs before they have keys.
    pub servers: Vec<SocketAddr>,
}

/// The installed hook. Dropping it without [`Hook::remove`] is what the death of the process is:
/// see the module's text.
pub struct Hook {
    socket: NftSocket,
    config: HookConfig,
    own: Vec<(SocketAddr, u16)>,
}

impl Hook {
    /// Installs the hook, in place of one that a dead agent left behind.
    ///
    /// The TUNs must exist; interfaces must be Ethernet. Bind the data socket first: on kernels
    /// without persistent tables it is what a second agent stumbles over.
    ///
    /// # Errors
    /// Too old a kernel, missing parts, no permission, another agent, an interface that went away.
    /// Nothing is changed then, but that the guard may be in force already: it only refuses.
    pub fn install(config: &HookConfig) -> Result<Self, KernelError> {
        check_kernel(&kernel_release())?;
        let socket = NftSocket::open().map_err(no_netfilter)?;
        let hook = Self { socket, config: config.clone(), own: Vec::new() };
        hook.write()?;
        Ok(hook)
    }

    /// Replaces interfaces, mode and all else in one transaction. Own connections stay, verdicts
    /// go: the engine gives them again.
    ///
    /// # Errors
    /// As [`Hook::install`]; the old rules stay in force then.
    pub fn reinstall(&mut self, config: &HookConfig) -> Result<(), KernelError> {
        let old = std::mem::replace(&mut self.config, config.clone());
        self.write().inspect_err(|_| self.config = old)
    }

    /// Replaces what stays refused without the agent, and nothing else.
    ///
    /// # Errors
    /// As [`Hook::install`]; the old guard stays in force then.
    pub fn set_guard(&mut self, guard: Guard) -> Result<(), KernelError> {
        let old = std::mem::replace(&mut self.config.guard, guard);
        self.write_guard().inspect_err(|_| self.config.guard = old)
    }

    /// Changes the mode. As [`Hook::reinstall`].
    ///
    /// # Errors
    /// As [`Hook::reinstall`].
    pub fn set_mode(&mut self, mode: Mode) -> Result<(), KernelError> {
        self.reinstall(&HookConfig { mode, ..self.config.clone() })
    }

    /// What is installed.
    #[must_use]
    pub const fn config(&self) -> &HookConfig {
        &self.config
    }

    /// Hands verdicts to the kernel, or takes them back. Forgetting what is not there is no error,
    /// and a verdict given again starts its lifetime anew.
    ///
    /// # Errors
    /// The sets are full (`ENFILE`), or the table is gone. Packets of the pairs then go on coming
    /// to the TUN, which is slower and not less safe.
    pub fn apply(&self, verdicts: &[KernelVerdict]) -> Result<(), KernelError> {
        for part in verdicts.chunks(VERDICTS_PER_TRANSACTION) {
            let mut batch = Batch::new(TABLE);
            let part: Vec<_> = part.iter().map(|verdict| self.config.spared(*verdict)).collect();
            sets::change(&mut batch, &part);
            self.commit(batch)?;
        }
        Ok(())
    }

    /// Lets the answers of one of our own TCP connections pass (its packets leave by the mark).
    /// Call it between `bind` and `connect`.
    ///
    /// # Errors
    /// The set is full, or the table is gone.
    pub fn add_own(&mut self, remote: SocketAddr, local_port: u16) -> Result<(), KernelError> {
        let mut batch = Batch::new(TABLE);
        sets::add_own(&mut batch, remote, local_port);
        self.commit(batch)?;
        self.own.push((remote, local_port));
        Ok(())
    }

    /// Ends [`Hook::add_own`].
    ///
    /// # Errors
    /// The table is gone.
    pub fn remove_own(&mut self, remote: SocketAddr, local_port: u16) -> Result<(), KernelError> {
        self.own.retain(|own| *own != (remote, local_port));
        let mut batch = Batch::new(TABLE);
        sets::delete_own(&mut batch, remote, local_port);
        self.commit(batch)
    }

    /// Takes the hook away, in either mode. The guard stays: what must be protected is refused until
    /// the next agent, or [`Hook::remove_stale`].
    ///
    /// # Errors
    /// A failed system call; the table is then still there.
    pub fn remove(self) -> Result<(), KernelError> {
        self.commit(ruleset::remove(TABLE))
    }

    /// Takes away what a dead agent left behind; nothing there is no error.
    ///
    /// # Errors
    /// [`KernelError::AnotherAgent`] if a living one owns it; no permission.
    pub fn remove_stale() -> Result<(), KernelError> {
        let socket = NftSocket::open().map_err(no_netfilter)?;
        socket.commit(ruleset::remove(TABLE)).map_err(refusal)?;
        socket.commit(ruleset::remove(GUARD)).map_err(refusal)
    }

    /// Whether the table is there, whoever made it.
    ///
    /// # Errors
    /// No permission, or no nf_tables.
    pub fn installed() -> Result<bool, KernelError> {
        let socket = NftSocket::open().map_err(no_netfilter)?;
        socket.has_table(TABLE).map_err(|error| KernelError::io("read the firewall tables", error))
    }

    /// Whether a guard is there, whoever made it.
    ///
    /// # Errors
    /// As [`Hook::installed`].
    pub fn guards() -> Result<bool, KernelError> {
        let socket = NftSocket::open().map_err(no_netfilter)?;
        socket.has_table(GUARD).map_err(|error| KernelError::io("read the firewall tables", error))
    }

    /// In either mode the guard outlives us.
    fn write_guard(&self) -> Result<(), KernelError> {
        let batch = |flags| guard::replace(&self.config, flags);
        match self.socket.commit(batch(TABLE_F_OWNER | TABLE_F_PERSIST)) {
            // Before Linux 6.9.
            Err(error) if is_flag_refusal(&error) => self.commit(batch(0)),
            result => result.map_err(refusal),
        }
    }

    /// The guard first: it refuses, so that nothing is let pass by a step that fails.
    fn write(&self) -> Result<(), KernelError> {
        self.write_guard()?;
        let flags = match self.config.mode {
            Mode::Open => TABLE_F_OWNER,
            Mode::Closed => TABLE_F_OWNER | TABLE_F_PERSIST,
        };
        match self.socket.commit(self.ruleset(flags)) {
            // Before Linux 6.9. Fail closed without an owner, rather than open with one.
            Err(error) if flags & TABLE_F_PERSIST != 0 && is_flag_refusal(&error) => {
                self.commit(self.ruleset(0))
            }
            result => result.map_err(refusal),
        }
    }

    fn ruleset(&self, flags: u32) -> Batch {
        let mut batch = ruleset::replace(&self.config, TABLE, flags);
        for (remote, local_port) in &self.own {
            sets::add_own(&mut batch, *remote, *local_port);
        }
        batch
    }

    fn commit(&self, batch: Batch) -> Result<(), KernelError> {
        self.socket.commit(batch).map_err(refusal)
    }
}

fn directed_broadcast((address, length): &(IpAddr, u8)) -> Option<Ipv4Addr> {
    let IpAddr::V4(address) = address else { return None };
    // /31 and /32 have none (RFC 3021).
    let host = u32::MAX.checked_shr(u32::from(*length)).filter(|_| *length < 31)?;
    Some(Ipv4Addr::from(u32::from(*address) | host))
}

fn kernel_release() -> String {
    nix::sys::utsname::uname()
        .map_or_else(|_| String::new(), |name| name.release().to_string_lossy().into_owned())
}

/// Releases that cannot be read are let through: the transaction will tell.
fn check_kernel(release: &str) -> Result<(), KernelError> {
    let mut numbers = release.split(|c: char| !c.is_ascii_digit()).map(str::parse::<u32>);
    match (numbers.next(), numbers.next()) {
        (Some(Ok(major)), Some(Ok(minor))) if (major, minor) < OLDEST_KERNEL => {
            Err(KernelError::TooOld { found: release.to_owned() })
        }
        _ => Ok(()),
    }
}

fn is_flag_refusal(error: &CommitError) -> bool {
    error.object.starts_with("table ") && matches!(error.errno, libc::EOPNOTSUPP | libc::EINVAL)
}

fn no_netfilter(error: io::Error) -> KernelError {
    match error.raw_os_error() {
        Some(libc::EPROTONOSUPPORT) => {
            KernelError::Missing { part: "netfilter", option: "CONFIG_NF_TABLES" }
        }
        _ => KernelError::io("open a netlink socket", error),
    }
}

/// Which sentence an error number is depends on the object it came for.
fn refusal(error: CommitError) -> KernelError {
    let on = |start: &str| error.object.starts_with(start);
    match error.errno {
        libc::EPERM if error.whole => {
            KernelError::Permission { act: "change the firewall tables".into() }
        }
        libc::EPERM if on("table ") || on("removal of table ") => KernelError::AnotherAgent,
        libc::EINVAL | libc::EOPNOTSUPP if error.whole || on("table ") => {
            KernelError::Missing { part: "nf_tables", option: "CONFIG_NF_TABLES" }
        }
        libc::EOPNOTSUPP if on("chain out_") => {
            KernelError::Missing { part: "egress hook", option: "CONFIG_NETFILTER_EGRESS" }
        }
        libc::EOPNOTSUPP if on("chain in_") => {
            KernelError::Missing { part: "ingress hook", option: "CONFIG_NETFILTER_INGRESS" }
        }
        libc::ENOENT if on("rule ") => {
            KernelError::Missing { part: "\"fwd\" rule", option: "CONFIG_NFT_FWD_NETDEV" }
        }
        errno => KernelError::Refused {
            object: error.object.into_owned(),
            source: io::Error::from_raw_os_error(errno),
            detail: if error.detail.is_empty() {
                String::new()
            } else {
                format!(" ({})", error.detail)
            },
        },
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn kernel_releases() {
        for (release, fits) in [
            ("5.16.20-generic", false),
            ("4.19.0", false),
            ("5.17.0", true),
            ("5.17-rc1", true),
            ("6.1.0-25-amd64", true),
            ("10.0", true),
            ("strange", true),
        ] {
            assert_eq!(check_kernel(release).is_ok(), fits, "{release}");
        }
    }

    #[test]
    fn directed_broadcasts() {
        for (address, length, broadcast) in [
            ("192.0.2.7", 24, Some("192.0.2.255")),
            ("10.1.2.3", 8, Some("10.255.255.255")),
            ("192.0.2.7", 31, None),
            ("192.0.2.7", 32, None),
            ("2001:db8::1", 64, None),
        ] {
            let found = directed_broadcast(&(address.parse().unwrap(), length));
            assert_eq!(found, broadcast.map(|text| text.parse().unwrap()), "{address}/{length}");
        }
    }
}
