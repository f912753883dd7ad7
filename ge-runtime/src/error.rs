//! What the kernel can refuse, each as one sentence that names the fix.

use std::io;

/// A refusal of the kernel, in words for the person who runs the agent.
#[derive(Debug, thiserror::Error)]
pub enum KernelError {
    /// A capability is missing.
    #[error("no permission to {act}: run as root, or with CAP_NET_ADMIN and CAP_NET_RAW")]
    Permission {
        /// What was tried.
        act: String,
    },
    /// The egress hook came with Linux 5.17.
    #[error("Linux {found} is too old: the agent needs 5.17 or newer; boot a newer kernel")]
    TooOld {
        /// Release as `uname -r` prints it.
        found: String,
    },
    /// A part of the kernel is not built in and cannot be loaded.
    #[error("the kernel has no {part}; use a kernel with {option}, or load the module")]
    Missing {
        /// The part, for people.
        part: &'static str,
        /// The build option that brings it.
        option: &'static str,
    },
    /// Table or port are held by a living process.
    #[error(
        "another agent is already running in this network namespace; stop it first \
         (`systemctl stop ges gen`, or end the other `ges run` or `gen run`)"
    )]
    AnotherAgent,
    /// `/dev/net/tun` cannot be opened because it does not exist.
    #[error(
        "there is no /dev/net/tun; load it with `modprobe tun`, or pass the device into the container"
    )]
    NoTun,
    /// `/dev/net/tun` is there but not for this user.
    #[error(
        "no permission to open /dev/net/tun: run as root, or give it the usual mode with \
         `chmod 666 /dev/net/tun` (using it needs CAP_NET_ADMIN all the same)"
    )]
    TunAccess,
    /// A router that does not forward.
    #[error(
        "this machine does not forward {version}, so it is no router; switch it on with `sysctl -w \
         {setting}=1`, and for good in /etc/sysctl.d"
    )]
    NotForwarding {
        /// IPv4 or IPv6.
        version: &'static str,
        /// Name of the kernel's setting.
        setting: &'static str,
    },
    /// A name that was asked for is not there.
    #[error("there is no interface named {name}; there are: {present}")]
    NoInterface {
        /// Name asked for.
        name: String,
        /// Names present, separated by commas.
        present: String,
    },
    /// Interfaces without Ethernet addresses cannot be hooked.
    #[error("interface {name} is not an Ethernet interface; name one of: {present}")]
    NotEthernet {
        /// Name asked for.
        name: String,
        /// Ethernet interfaces present, separated by commas.
        present: String,
    },
    /// Nothing was named and nothing has a default route.
    #[error("no interface has a default route; name one with --interface, there are: {present}")]
    NoDefaultRoute {
        /// Names present, separated by commas.
        present: String,
    },
    /// The nf_tables transaction failed at one object.
    #[error("the kernel refused {object}: {source}{detail}")]
    Refused {
        /// Table, chain, rule, set or element.
        object: String,
        /// The kernel's error number.
        source: io::Error,
        /// The kernel's own words, if it gave any, in brackets.
        detail: String,
    },
    /// Any other failed system call.
    #[error("cannot {act}: {source}")]
    Io {
        /// What was tried.
        act: String,
        /// The kernel's error number.
        source: io::Error,
    },
}

impl KernelError {
    /// Turns a failed call into an error, telling apart what a person can mend.
    pub(crate) fn io(act: impl Into<String>, source: impl Into<io::Error>) -> Self {
        let (act, source) = (act.into(), source.into());
        match source.raw_os_error() {
            Some(libc::EPERM | libc::EACCES) => Self::Permission { act },
            _ => Self::Io { act, source },
        }
    }
}
