//! Datagrams that are sent back as they came.

use crate::host::Host;
use anyhow::{Context, Result, bail, ensure};
use nix::sys::socket::{setsockopt, sockopt};
use std::net::{IpAddr, UdpSocket};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

/// Longest wait for one answer.
const DEADLINE: Duration = Duration::from_secs(1);
/// Sends of one datagram: it may be lost once on each way, and the whole retry ladder may pass.
const TRIES: u32 = 4;
/// How often the far end looks whether it shall stop.
const TICK: Duration = Duration::from_millis(50);

/// Sends one datagram of each of `sizes` bytes from `from` to `address` of `to`, where it is sent
/// back; each must return unchanged before the next is sent.
///
/// # Errors
/// If one does not.
pub fn echo(from: &Host, to: &Host, address: IpAddr, sizes: &[usize]) -> Result<()> {
    let socket = to.enter(|| UdpSocket::bind((address, 0)).context("binding"))?;
    let at = socket.local_addr()?;
    let stop = Arc::new(AtomicBool::new(false));
    let reflector = to.thread({
        let stop = Arc::clone(&stop);
        move || reflect(&socket, &stop)
    });
    let result = from.enter(|| {
        let socket = like(address)?;
        socket.connect(at)?;
        socket.set_read_timeout(Some(DEADLINE))?;
        sizes.iter().try_for_each(|&size| one(&socket, size))
    });
    stop.store(true, Ordering::Relaxed);
    let reflected = reflector.join().unwrap_or_else(|_| anyhow::bail!("the far end panicked"));
    result.and(reflected)
}

/// Sends `COUNT` datagrams of `size` bytes in one call, which the kernel cuts on the way (`UDP_SEGMENT`), and
/// the last of them shorter; each must arrive at `address` of `to` as one, unchanged and in order.
///
/// # Errors
/// If one does not.
pub fn burst(from: &Host, to: &Host, address: IpAddr, size: u16) -> Result<()> {
    const COUNT: usize = 40;
    let sent: Vec<u8> = (0..COUNT * usize::from(size) - 1).map(|at| (at / 3) as u8).collect();
    let expected: Vec<&[u8]> = sent.chunks(usize::from(size)).collect();
    let receiver = to.enter(|| UdpSocket::bind((address, 0)).context("binding"))?;
    receiver.set_read_timeout(Some(DEADLINE))?;
    let at = receiver.local_addr()?;
    for _ in 0..TRIES {
        from.enter(|| {
            let socket = like(address)?;
            setsockopt(&socket, sockopt::UdpGsoSegment, &i32::from(size))?;
            socket.send_to(&sent, at).context("sending")
        })?;
        let mut arrived = Vec::new();
        let mut buffer = vec![0; 65_536];
        while arrived.len() < COUNT {
            match receiver.recv(&mut buffer) {
                Ok(length) => arrived.push(buffer[..length].to_vec()),
                Err(error) if is_loss(&error) => break,
                Err(error) => return Err(error).context("receiving"),
            }
        }
        // Some may be lost, none may be another's.
        let known = arrived.iter().all(|datagram| expected.contains(&datagram.as_slice()));
        ensure!(known, "a datagram of a burst of {size} bytes each arrived changed");
        if arrived == expected {
            return Ok(());
        }
    }
    bail!("no burst of {COUNT} datagrams arrived whole in {TRIES} tries")
}

/// A socket of the IP version of `address`.
fn like(address: IpAddr) -> Result<UdpSocket> {
    let any: IpAddr = if address.is_ipv4() { [0; 4].into() } else { [0u16; 8].into() };
    UdpSocket::bind((any, 0)).context("binding")
}

/// Sends until the same bytes are back. A datagram may be lost on the way: where the path is
/// narrower than the link, either system learns so by losing one.
fn one(socket: &UdpSocket, size: usize) -> Result<()> {
    let sent: Vec<u8> = (0..size).map(|at| (at * 7 + size) as u8).collect();
    let mut buffer = vec![0; 65_536];
    for _ in 0..TRIES {
        let result = socket.send(&sent).and_then(|_| socket.recv(&mut buffer));
        match result {
            Ok(length) => {
                let same = buffer[..length] == sent;
                ensure!(same, "{size} bytes came back changed ({length} bytes)");
                return Ok(());
            }
            Err(error) if is_loss(&error) => {}
            Err(error) => return Err(error).with_context(|| format!("sending {size} bytes")),
        }
    }
    bail!("{size} bytes did not return in {TRIES} tries")
}

/// No answer in time, or the system says that the path is too narrow.
fn is_loss(error: &std::io::Error) -> bool {
    error.kind() == std::io::ErrorKind::WouldBlock || error.raw_os_error() == Some(libc::EMSGSIZE)
}

fn reflect(socket: &UdpSocket, stop: &AtomicBool) -> Result<()> {
    socket.set_read_timeout(Some(TICK))?;
    let mut buffer = vec![0; 65_536];
    while !stop.load(Ordering::Relaxed) {
        match socket.recv_from(&mut buffer) {
            Ok((length, from)) => drop(socket.send_to(&buffer[..length], from)?),
            Err(error) if is_loss(&error) => {}
            Err(error) => return Err(error).context("the far end"),
        }
    }
    Ok(())
}
