//! Programs as they come with the system, from one machine of the lab to another.

use crate::host::Host;
use crate::process::Process;
use crate::ssh::Ssh;
use crate::stream::MARKER;
use crate::wait::wait_until;
use anyhow::{Context, Result, ensure};
use serde_json::Value;
use std::net::{IpAddr, SocketAddr, TcpStream};
use std::time::Duration;

/// What [`all`] needs beside `ip`.
pub const PROGRAMS: &[&str] = &["curl", "python3", "iperf3", "ping"];
/// What [`ssh`] needs. `sshd` changes users, which a user namespace with one user cannot.
pub const SSH: &[&str] = &["root", "sshd", "ssh", "ssh-keygen"];

const DEADLINE: Duration = Duration::from_secs(10);
const WEB_PORT: u16 = 8080;
/// Bytes of the file that is fetched.
const FILE: usize = 4 << 20;

/// `ping`, `curl` and `iperf3` from one machine to the other, to both its addresses.
///
/// # Errors
/// If one of them fails.
pub fn all(from: &Host, to: &Host) -> Result<()> {
    for at in to.addresses() {
        full_size_ping(from, at)?;
        curl(from, to, at)?;
        iperf3(from, to, at, &[], received_bytes)?;
    }
    Ok(())
}

/// A command over ssh, to both addresses.
///
/// # Errors
/// If it prints something else than it must.
pub fn ssh(from: &Host, to: &Host) -> Result<()> {
    let ssh = Ssh::start(to, from)?;
    for at in to.addresses() {
        let said = ssh.run(at, &["echo", "hello", "there"])?;
        ensure!(said == "hello there\n", "ssh printed {said:?}");
    }
    Ok(())
}

/// Packets that fill the link.
///
/// # Errors
/// If one is not answered, after the first ones, which may be answered by "too big": the program is
/// told the size.
pub fn full_size_ping(from: &Host, at: IpAddr) -> Result<()> {
    let (size, at) = (if at.is_ipv4() { "1472" } else { "1452" }, at.to_string());
    let ping = ["ping", "-c", "3", "-i", "0.2", "-W", "5", "-s", size, &at];
    from.output(&ping)?;
    from.run(&ping).context("full-size packets")?;
    Ok(())
}

/// Fetches a file with the marker all over.
///
/// # Errors
/// If it is not fetched as it is.
pub fn curl(from: &Host, to: &Host, at: IpAddr) -> Result<()> {
    let dir = to.path("www");
    std::fs::create_dir_all(&dir)?;
    let content: Vec<u8> = MARKER.iter().copied().cycle().take(FILE).collect();
    std::fs::write(dir.join("file"), &content)?;
    let _server = http_server(to, SocketAddr::new(at, WEB_PORT), &dir)?;
    let fetched = from.path("fetched");
    let url = format!("http://{}/file", SocketAddr::new(at, WEB_PORT));
    let out = fetched.to_string_lossy();
    from.run(&["curl", "-sS", "-g", "--fail", "--max-time", "20", "-o", &out, &url])?;
    ensure!(std::fs::read(&fetched)? == content, "the fetched file differs");
    Ok(())
}

/// `python3 -m http.server`, once it accepts connections of its own machine.
///
/// # Errors
/// If it does not.
pub fn http_server(host: &Host, at: SocketAddr, dir: &std::path::Path) -> Result<Process> {
    let mut command = host.command("python3");
    let (address, port) = (at.ip().to_string(), at.port().to_string());
    command.args(["-m", "http.server", &port, "--bind", &address, "--directory"]).arg(dir);
    let server = host.spawn("http.server", command)?;
    let look = || host.enter(|| Ok(TcpStream::connect(at).is_ok()));
    wait_until(&format!("{at} to listen"), DEADLINE, look)?;
    Ok(server)
}

/// `iperf3` with `extra` arguments; `check` looks at what it says in the end.
///
/// # Errors
/// If it fails, or `check` says so.
pub fn iperf3(
    from: &Host,
    to: &Host,
    at: IpAddr,
    extra: &[&str],
    check: fn(&Value) -> Result<()>,
) -> Result<()> {
    let at = at.to_string();
    let mut command = to.command("iperf3");
    command.args(["-s", "-1", "-B", &at]);
    let mut server = to.spawn("iperf3", command)?;
    // A look by connecting would use up the one test the server grants. 0x1451 is 5201.
    wait_until("iperf3 to listen", DEADLINE, || {
        let sockets = to.run(&["cat", "/proc/net/tcp", "/proc/net/tcp6"])?;
        Ok(sockets.contains(":1451 "))
    })?;
    let mut argv = vec!["iperf3", "-c", &at, "-t", "2", "-J"];
    argv.extend(extra);
    let json: Value = serde_json::from_str(&from.run(&argv)?).context("iperf3 -J")?;
    check(&json["end"]).with_context(|| format!("to {at}"))?;
    server.wait(DEADLINE)?;
    Ok(())
}

/// TCP carried something.
///
/// # Errors
/// If not.
pub fn received_bytes(end: &Value) -> Result<()> {
    let bytes = end["sum_received"]["bytes"].as_u64().context("no sum_received")?;
    ensure!(bytes > 1 << 20, "{bytes} bytes in two seconds");
    println!("{:.2} Gbit/s", end["sum_received"]["bits_per_second"].as_f64().unwrap_or(0.0) / 1e9);
    Ok(())
}
