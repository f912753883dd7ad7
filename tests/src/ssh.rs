//! A real `sshd` and a real `ssh` in the lab, with keys and settings of their own.

use crate::host::Host;
use crate::process::Process;
use crate::wait::wait_until;
use anyhow::{Context, Result, ensure};
use std::io::{BufRead, BufReader, Write};
use std::net::{IpAddr, SocketAddr, TcpStream};
use std::path::Path;
use std::process::{Child, ChildStdin, ChildStdout, Command, Stdio};
use std::time::Duration;

const PORT: u16 = 2222;

/// An ssh server on one machine and what a client needs to enter it.
pub struct Ssh {
    server: Host,
    client: Host,
    _sshd: Process,
}

impl Ssh {
    /// Makes keys, starts `sshd` on every address of `server`, to be entered from `client`.
    ///
    /// # Errors
    /// If one of the programs refuses.
    pub fn start(server: &Host, client: &Host) -> Result<Self> {
        std::fs::create_dir_all("/run/sshd").context("making sshd's directory")?;
        for (host, name) in [(server, "host_key"), (client, "user_key")] {
            let file = host.path(name).to_string_lossy().into_owned();
            host.run(&["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-f", &file])?;
        }
        std::fs::copy(client.path("user_key.pub"), server.path("authorized_keys"))?;
        let config = server.path("sshd_config");
        std::fs::write(&config, settings(server))?;
        let program = crate::programs::installed("sshd").context("sshd is not installed")?;
        let mut command = server.command(program);
        command.args(["-D", "-e", "-f"]).arg(&config);
        let sshd = server.spawn("sshd", command)?;
        let at = SocketAddr::new(server.v4.into(), PORT);
        let look = || server.enter(|| Ok(TcpStream::connect(at).is_ok()));
        wait_until("sshd to listen", Duration::from_secs(10), look)?;
        Ok(Self { server: server.clone(), client: client.clone(), _sshd: sshd })
    }

    /// `ssh ADDRESS WORDS`, run to its end; what it printed.
    ///
    /// # Errors
    /// If it does not exit with 0.
    pub fn run(&self, address: IpAddr, words: &[&str]) -> Result<String> {
        let output = self.command(address, words).stdin(Stdio::null()).output()?;
        ensure!(
            output.status.success(),
            "ssh to {address}: {}",
            String::from_utf8_lossy(&output.stderr).trim_end()
        );
        Ok(String::from_utf8_lossy(&output.stdout).into_owned())
    }

    /// A connection that sends every line back, until dropped.
    ///
    /// # Errors
    /// If it cannot be started.
    pub fn open(&self, address: IpAddr) -> Result<Conversation> {
        let mut command = self.command(address, &["cat"]);
        command.stdin(Stdio::piped()).stdout(Stdio::piped());
        let mut child = command.spawn().context("starting ssh")?;
        let to = child.stdin.take().context("a pipe to ssh")?;
        let from = BufReader::new(child.stdout.take().context("a pipe from ssh")?);
        Ok(Conversation { child, to, from, said: 0 })
    }

    fn command(&self, address: IpAddr, words: &[&str]) -> Command {
        let port = PORT.to_string();
        let mut command = self.client.command("ssh");
        command.args(["-F", "none", "-p", &port, "-l", "root", "-i"]);
        command.arg(self.client.path("user_key"));
        for option in [
            "BatchMode=yes",
            "IdentitiesOnly=yes",
            "StrictHostKeyChecking=no",
            "UserKnownHostsFile=/dev/null",
            "GlobalKnownHostsFile=/dev/null",
            "ConnectTimeout=15",
            "LogLevel=ERROR",
        ] {
            command.args(["-o", option]);
        }
        command.arg(address.to_string()).args(words);
        let log = std::fs::OpenOptions::new().create(true).append(true).open(self.log());
        command.stderr(log.map_or_else(|_| Stdio::null(), Stdio::from));
        command
    }

    fn log(&self) -> std::path::PathBuf {
        self.client.path(&format!("ssh-to-{}.log", self.server.name))
    }
}

/// An open ssh connection.
pub struct Conversation {
    child: Child,
    to: ChildStdin,
    from: BufReader<ChildStdout>,
    said: u32,
}

impl Conversation {
    /// Sends a line and waits until it is back.
    ///
    /// # Errors
    /// If the connection is gone or something else comes back.
    pub fn say(&mut self) -> Result<()> {
        self.said += 1;
        let line = format!("line {}\n", self.said);
        self.to.write_all(line.as_bytes()).context("writing to ssh")?;
        self.to.flush().context("writing to ssh")?;
        let mut back = String::new();
        self.from.read_line(&mut back).context("reading from ssh")?;
        ensure!(back == line, "sent {line:?}, got {back:?}: the connection is gone");
        Ok(())
    }
}

impl Drop for Conversation {
    fn drop(&mut self) {
        // Already ended is as good as killed.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

fn settings(server: &Host) -> String {
    let file = |name: &str| -> String { Path::display(&server.path(name)).to_string() };
    format!(
        "Port {PORT}\n\
         HostKey {}\n\
         AuthorizedKeysFile {}\n\
         PidFile none\n\
         UsePAM no\n\
         StrictModes no\n\
         PermitRootLogin prohibit-password\n\
         PasswordAuthentication no\n\
         UseDNS no\n",
        file("host_key"),
        file("authorized_keys")
    )
}
