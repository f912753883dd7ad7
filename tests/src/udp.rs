//! Datagrams that are sent back as they came.

use crate::host::Host;
use anyhow::{Context, Result, ensure};
use std::net::{IpAddr, UdpSocket};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

/// Longest wait for one answer: the whole retry ladder and some more.
const DEADLINE: Duration = Duration::from_secs(5);
/// How often the far end looks whether it shall stop.
const TICK: Duration = Duration::from_millis(50);

/// Sends one datagram of each of `sizes` bytes from `from` to `address` of `to`, where it is sent
/// back; each must arrive unchanged, both ways, before the next is sent.
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
        let any: IpAddr = if address.is_ipv4() { [0; 4].into() } else { [0u16; 8].into() };
        let socket = UdpSocket::bind((any, 0))?;
        socket.connect(at)?;
        socket.set_read_timeout(Some(DEADLINE))?;
        sizes.iter().try_for_each(|&size| one(&socket, size))
    });
    stop.store(true, Ordering::Relaxed);
    let reflected = reflector.join().unwrap_or_else(|_| anyhow::bail!("the far end panicked"));
    result.and(reflected)
}

fn one(socket: &UdpSocket, size: usize) -> Result<()> {
    let sent: Vec<u8> = (0..size).map(|at| (at * 7 + size) as u8).collect();
    socket.send(&sent).with_context(|| format!("sending {size} bytes"))?;
    let mut buffer = vec![0; 65_536];
    let length =
        socket.recv(&mut buffer).with_context(|| format!("{size} bytes did not return"))?;
    ensure!(buffer[..length] == sent, "{size} bytes came back changed ({length} bytes)");
    Ok(())
}

fn reflect(socket: &UdpSocket, stop: &AtomicBool) -> Result<()> {
    socket.set_read_timeout(Some(TICK))?;
    let mut buffer = vec![0; 65_536];
    while !stop.load(Ordering::Relaxed) {
        match socket.recv_from(&mut buffer) {
            Ok((length, from)) => drop(socket.send_to(&buffer[..length], from)?),
            Err(error) if error.kind() == std::io::ErrorKind::WouldBlock => {}
            Err(error) => return Err(error).context("the far end"),
        }
    }
    Ok(())
}
