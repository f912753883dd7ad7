//! The management server in the lab, driven through its command line only.

use crate::host::Host;
use crate::process::Process;
use crate::programs::built;
use crate::wait::wait_until;
use anyhow::{Context, Result, ensure};
use serde_json::Value;
use std::net::{SocketAddr, TcpStream};
use std::path::PathBuf;
use std::process::Output;
use std::time::Duration;

/// Port the server listens on.
pub const PORT: u16 = 7443;

/// What a token shall allow.
#[derive(Clone, Copy)]
pub struct TokenRequest<'a> {
    /// Group to join; several with commas between.
    pub group: &'a str,
    /// `open` or `closed`.
    pub mode: &'a str,
    /// How often it may be used.
    pub uses: u32,
    /// How long it is good, as the command line takes it.
    pub expires: &'a str,
    /// `host` or `router`.
    pub kind: &'a str,
    /// Ranges a router may stand for.
    pub prefixes: &'a [String],
}

impl<'a> TokenRequest<'a> {
    /// One use within an hour.
    #[must_use]
    pub fn new(group: &'a str, mode: &'a str) -> Self {
        Self { group, mode, uses: 1, expires: "1h", kind: "host", prefixes: &[] }
    }
}

/// A management server with its data directory.
pub struct Server {
    /// Its machine.
    pub host: Host,
    data: PathBuf,
    process: Option<Process>,
}

impl Server {
    /// Initialises a server on `host` and starts it.
    ///
    /// # Errors
    /// If either command fails or nobody listens in the end.
    pub fn start(host: &Host) -> Result<Self> {
        Self::start_in(host, host.path("mgmt"))
    }

    /// [`Server::start`] with data directory `data`.
    ///
    /// # Errors
    /// As [`Server::start`].
    pub fn start_in(host: &Host, data: PathBuf) -> Result<Self> {
        let mut server = Self { host: host.clone(), data, process: None };
        let listen = server.address().to_string();
        server.admin(&["init", "--listen", &listen])?;
        server.resume()?;
        Ok(server)
    }

    /// Starts it again on the same data.
    ///
    /// # Errors
    /// If nobody listens in the end.
    pub fn resume(&mut self) -> Result<()> {
        let mut command = self.host.command(built("mgmt-server")?);
        command.arg("run").arg("--data").arg(&self.data);
        let mut process = self.host.spawn("mgmt-server", command)?;
        let address = self.address();
        wait_until("the management server to listen", Duration::from_secs(15), || {
            ensure!(process.exit()?.is_none(), "mgmt-server ended at once: {}", process.log());
            self.host.enter(|| Ok(TcpStream::connect(address).is_ok()))
        })?;
        self.process = Some(process);
        Ok(())
    }

    /// Kills it (SIGKILL).
    ///
    /// # Errors
    /// If the kernel refuses.
    pub fn kill(&mut self) -> Result<()> {
        self.process.take().map_or(Ok(()), |mut process| process.kill())
    }

    /// Where it listens.
    #[must_use]
    pub fn address(&self) -> SocketAddr {
        SocketAddr::new(self.host.v4.into(), PORT)
    }

    /// Its URL.
    #[must_use]
    pub fn url(&self) -> String {
        format!("https://{}", self.address())
    }

    /// `mgmt-server ARGS --data DIR`, whatever comes of it.
    ///
    /// # Errors
    /// If it cannot be started.
    pub fn admin_output(&self, args: &[&str]) -> Result<Output> {
        let mut command = self.host.command(built("mgmt-server")?);
        command.args(args).arg("--data").arg(&self.data);
        command.output().context("running mgmt-server")
    }

    /// `mgmt-server ARGS --data DIR`; what it printed.
    ///
    /// # Errors
    /// If it does not exit with 0.
    pub fn admin(&self, args: &[&str]) -> Result<String> {
        let output = self.admin_output(args)?;
        ensure!(
            output.status.success(),
            "mgmt-server {}: {}",
            args.join(" "),
            String::from_utf8_lossy(&output.stderr).trim_end()
        );
        Ok(String::from_utf8_lossy(&output.stdout).into_owned())
    }

    /// Makes a group.
    ///
    /// # Errors
    /// As [`Server::admin`].
    pub fn group(&self, name: &str) -> Result<()> {
        self.admin(&["group", "create", name]).map(drop)
    }

    /// A bare token.
    ///
    /// # Errors
    /// As [`Server::admin`].
    pub fn token(&self, want: TokenRequest<'_>) -> Result<String> {
        let uses = want.uses.to_string();
        let mut args = vec![
            "token",
            "create",
            "--mode",
            want.mode,
            "--uses",
            &uses,
            "--expires",
            want.expires,
            "--kind",
            want.kind,
            "--quiet",
        ];
        args.extend(want.group.split(',').flat_map(|group| ["--group", group]));
        args.extend(want.prefixes.iter().flat_map(|prefix| ["--prefix", prefix]));
        Ok(self.admin(&args)?.trim().to_owned())
    }

    /// `member list --json`, its members.
    ///
    /// # Errors
    /// As [`Server::admin`], or if it is no such JSON.
    pub fn members(&self) -> Result<Vec<Value>> {
        let text = self.admin(&["member", "list", "--json"])?;
        let json: Value = serde_json::from_str(&text).context("member list --json")?;
        let members = json.get("members").and_then(Value::as_array);
        Ok(members.with_context(|| format!("no members in {text}"))?.clone())
    }
}
