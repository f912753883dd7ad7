//! Whether the kernel segments, and into how many datagrams: by sending tiny ones to ourselves.

use crate::ledger::{Ledger, SEGMENTS_MIN};
use crate::offload::Offload;
use nix::sys::socket::{ControlMessage, MsgFlags, SockaddrIn, sendmsg};
use std::io::{self, IoSlice};
use std::net::{SocketAddr, UdpSocket};
use std::os::fd::AsRawFd;

/// `UDP_MAX_SEGMENTS` since Linux 6.9.
const SEGMENTS_MAX: u32 = 128;

/// Tries `UDP_SEGMENT` on a loopback socket and writes down what came of it. Where nothing can be
/// sent to loopback at all, nothing is known: then it counts as there, with the number that every
/// kernel takes, and a data socket that finds otherwise falls back.
pub fn probe_segments(ledger: &Ledger) {
    for segments in [SEGMENTS_MAX, SEGMENTS_MIN] {
        match send_to_self(segments) {
            Ok(()) => return ledger.set_segments(segments),
            Err(error) if is_refusal(&error) => {
                if segments == SEGMENTS_MIN {
                    ledger.refused(Offload::UdpSend, &error);
                }
            }
            Err(_) => return,
        }
    }
}

/// `segments` datagrams of one byte in one call, from a socket to itself, where they are dropped.
fn send_to_self(segments: u32) -> io::Result<()> {
    let socket = UdpSocket::bind("127.0.0.1:0")?;
    let SocketAddr::V4(own) = socket.local_addr()? else {
        return Err(io::ErrorKind::Unsupported.into());
    };
    let bytes = vec![0; usize::try_from(segments).unwrap_or_default()];
    let control = [ControlMessage::UdpGsoSegments(&1)];
    let to = SockaddrIn::from(own);
    sendmsg(socket.as_raw_fd(), &[IoSlice::new(&bytes)], &control, MsgFlags::empty(), Some(&to))?;
    Ok(())
}

/// A kernel before 4.18 takes the control message for none of its own and says EINVAL.
fn is_refusal(error: &io::Error) -> bool {
    matches!(
        error.raw_os_error(),
        Some(libc::EINVAL | libc::EIO | libc::EMSGSIZE | libc::ENOPROTOOPT)
    )
}
