//! Who is at the other end of the control socket, by the kernel's word, and what that one may do.

use crate::program::Program;
use nix::sys::socket::{getsockopt, sockopt::PeerCredentials};
use nix::unistd::Group;
use std::io;
use std::os::fd::{AsFd, AsRawFd};

/// `SO_PEERGROUPS` of `asm-generic/socket.h`; the libc crate has no name for it.
const SO_PEERGROUPS: libc::c_int = 59;
/// Supplementary groups looked at. Linux allows 65,536; a user in more than this is root's doing.
const GROUPS_MAX: usize = 1024;

/// The process at the other end, as it was when it connected.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Peer {
    /// Effective user.
    pub uid: u32,
    /// Process, or 0 if it lies outside our PID namespace.
    pub pid: i32,
    /// Effective and supplementary groups.
    pub gids: Vec<u32>,
}

/// What a peer may ask. Ordered: each includes the one before.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Access {
    /// Nothing.
    None,
    /// State, probes and metrics.
    Read,
    /// Also stop the agent.
    Full,
}

impl Peer {
    /// Asks the kernel who holds the other end of `socket`.
    pub fn of(socket: &impl AsFd) -> io::Result<Self> {
        let credentials = getsockopt(&socket.as_fd(), PeerCredentials)?;
        let mut gids = supplementary_groups(socket)?;
        gids.push(credentials.gid());
        Ok(Self { uid: credentials.uid(), pid: credentials.pid(), gids })
    }

    /// What this peer may ask of an agent that runs as `own_uid` on a host where the group
    /// that bears the program's name has the number `group`.
    #[must_use]
    pub fn access(&self, own_uid: u32, group: Option<u32>) -> Access {
        if self.uid == 0 || self.uid == own_uid {
            Access::Full
        } else if group.is_some_and(|gid| self.gids.contains(&gid)) {
            Access::Read
        } else {
            Access::None
        }
    }
}

/// Number of the system group whose members may read the agent's state without being root, if the
/// host has it.
#[must_use]
pub(super) fn group_id(program: Program) -> Option<u32> {
    Group::from_name(program.name()).ok().flatten().map(|group| group.gid.as_raw())
}

fn supplementary_groups(socket: &impl AsFd) -> io::Result<Vec<u32>> {
    let mut gids = vec![0u32; GROUPS_MAX];
    let mut bytes = libc::socklen_t::try_from(size_of_val(gids.as_slice()))
        .expect("invariant: GROUPS_MAX numbers fit a socklen_t");
    // SAFETY: the kernel writes at most `bytes` bytes of gid_t (u32 on Linux) into `gids`, which
    // is that long, and stores the number written in `bytes`.
    let result = unsafe {
        libc::getsockopt(
            socket.as_fd().as_raw_fd(),
            libc::SOL_SOCKET,
            SO_PEERGROUPS,
            gids.as_mut_ptr().cast(),
            &raw mut bytes,
        )
    };
    if result != 0 {
        return Err(io::Error::last_os_error());
    }
    gids.truncate(bytes as usize / size_of::<u32>());
    Ok(gids)
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::unix::net::UnixStream;

    #[test]
    fn access_truth_table() {
        let group = Some(990);
        let cases = [
            (0, vec![0], 500, group, Access::Full),
            (500, vec![500], 500, group, Access::Full),
            (1000, vec![1000, 990], 500, group, Access::Read),
            (1000, vec![1000], 500, group, Access::None),
            (1000, vec![1000, 990], 500, None, Access::None),
            (1000, vec![0], 0, group, Access::None),
        ];
        for (uid, gids, own_uid, group, access) in cases {
            let peer = Peer { uid, pid: 1, gids };
            assert_eq!(peer.access(own_uid, group), access, "{peer:?}");
        }
    }

    #[test]
    fn the_kernel_names_us() {
        let (here, _there) = UnixStream::pair().unwrap();
        let peer = Peer::of(&here).unwrap();
        assert_eq!(peer.uid, nix::unistd::geteuid().as_raw());
        assert_eq!(peer.pid, nix::unistd::getpid().as_raw());
        assert!(peer.gids.contains(&nix::unistd::getegid().as_raw()));
    }
}
