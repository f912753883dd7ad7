//! An agent in the lab, of a host or of a router, driven through its command line only.

use crate::host::{DEV, Host};
use crate::process::Process;
use crate::programs::built;
use crate::server::{Server, TokenRequest};
use crate::wait::{wait_for, wait_until};
use anyhow::{Context, Result, bail, ensure};
use nix::sched::{CloneFlags, unshare};
use serde_json::Value;
use std::net::IpAddr;
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::Output;
use std::time::Duration;

/// How long an agent may take to enrol and to put its hook in place.
const START_DEADLINE: Duration = Duration::from_secs(15);

/// An agent: state directory, control socket, and the process while it runs.
pub struct Agent {
    /// Its machine.
    pub host: Host,
    program: Program,
    server: String,
    state: PathBuf,
    token_file: PathBuf,
    socket: PathBuf,
    device: String,
    extra: Vec<String>,
    /// Host name of its machine, if it is to be told from the others by it.
    called: Option<String>,
    process: Option<Process>,
}

/// Which program it is, and what differs.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Program {
    Ges,
    Gen,
}

impl Program {
    const fn name(self) -> &'static str {
        match self {
            Self::Ges => "ges",
            Self::Gen => "gen",
        }
    }

    /// The flag that names an interface, and the variable that names the control socket.
    const fn settings(self) -> (&'static str, &'static str) {
        match self {
            Self::Ges => ("--interface", "GES_SOCKET"),
            Self::Gen => ("--outside", "GEN_SOCKET"),
        }
    }
}

/// What a router agent is to be.
#[derive(Clone, Copy)]
pub struct RouterRequest<'a> {
    /// Group to join.
    pub group: &'a str,
    /// `open` or `closed`.
    pub mode: &'a str,
    /// Its interface that leads outside.
    pub outside: &'a str,
    /// Subnets it offers; its token allows them.
    pub protect: &'a [String],
}

impl Agent {
    /// [`Agent::enrol`] for a router.
    ///
    /// # Errors
    /// As [`Agent::enrol`].
    pub fn enrol_router(host: &Host, server: &Server, want: RouterRequest<'_>) -> Result<Self> {
        let mut agent = Self::prepare_router(host, server, want, want.protect)?;
        agent.start()?;
        Ok(agent)
    }

    /// [`Agent::enrol_router`] up to the point where it could be started, with a token that allows
    /// `prefixes`.
    ///
    /// # Errors
    /// If there is no token.
    pub fn prepare_router(
        host: &Host,
        server: &Server,
        want: RouterRequest<'_>,
        prefixes: &[String],
    ) -> Result<Self> {
        let token = TokenRequest::new(want.group, want.mode);
        let token = server.token(TokenRequest { kind: "router", prefixes, ..token })?;
        let mut agent = Self::with_token(host, "gen", &server.url(), &token)?;
        agent.make_router(want.outside, want.protect);
        Ok(agent)
    }

    /// Makes it the agent of a router, with its interface that leads outside and the subnets it
    /// offers. Before it is started.
    pub fn make_router(&mut self, outside: &str, protect: &[String]) {
        self.program = Program::Gen;
        self.set_device(outside);
        for prefix in protect {
            self.add_args(&["--protect", prefix]);
        }
    }

    /// True while it was started and not ended by us.
    #[must_use]
    pub const fn is_running(&self) -> bool {
        self.process.is_some()
    }

    /// Gets a token for `group` and `mode` (`open` or `closed`), starts the agent, waits until it
    /// is enrolled.
    ///
    /// # Errors
    /// If it is not up in time; its log is in the error.
    pub fn enrol(host: &Host, server: &Server, group: &str, mode: &str) -> Result<Self> {
        let mut agent = Self::prepare(host, server, TokenRequest::new(group, mode))?;
        agent.start()?;
        Ok(agent)
    }

    /// [`Agent::enrol`] up to the point where it could be started.
    ///
    /// # Errors
    /// If there is no token.
    pub fn prepare(host: &Host, server: &Server, want: TokenRequest<'_>) -> Result<Self> {
        Self::with_token(host, "ges", &server.url(), &server.token(want)?)
    }

    /// An agent called `name` that will use `token` at `server`.
    ///
    /// # Errors
    /// If its files cannot be written.
    pub fn with_token(host: &Host, name: &str, server: &str, token: &str) -> Result<Self> {
        let agent = Self {
            host: host.clone(),
            program: Program::Ges,
            server: server.to_owned(),
            state: host.path(&format!("{name}.state")),
            token_file: host.path(&format!("{name}.token")),
            socket: host.path(&format!("{name}.sock")),
            device: DEV.to_owned(),
            extra: Vec::new(),
            called: None,
            process: None,
        };
        write_private(&agent.token_file, token)?;
        Ok(agent)
    }

    /// Hooks `device` instead of `eth0`.
    pub fn set_device(&mut self, device: &str) {
        device.clone_into(&mut self.device);
    }

    /// Gives its machine a host name, which becomes its name at the server.
    #[must_use]
    pub fn called(mut self, name: &str) -> Self {
        self.called = Some(name.to_owned());
        self
    }

    /// Adds arguments to `run`.
    pub fn add_args(&mut self, args: &[&str]) {
        self.extra.extend(args.iter().map(|&arg| arg.to_owned()));
    }

    /// Gives `run` these arguments instead of those that were added.
    pub fn set_args(&mut self, args: &[&str]) {
        self.extra.clear();
        self.add_args(args);
    }

    /// Starts it and waits until it is enrolled and its hook stands.
    ///
    /// # Errors
    /// If it is not up in time; its log is in the error.
    pub fn start(&mut self) -> Result<()> {
        self.launch()?;
        self.wait_up()
    }

    /// Starts it without waiting.
    ///
    /// # Errors
    /// If it cannot be started.
    pub fn launch(&mut self) -> Result<()> {
        let name = self.program.name();
        let (interface, socket) = self.program.settings();
        let mut command = self.host.command(built(name)?);
        command
            .env(socket, &self.socket)
            .args(["run", "--server", &self.server, interface, &self.device])
            .arg("--token-file")
            .arg(&self.token_file)
            .arg("--state")
            .arg(&self.state)
            .args(&self.extra);
        if let Some(called) = self.called.clone() {
            // SAFETY: two system calls between fork and exec, without memory of the parent's.
            unsafe {
                command.pre_exec(move || {
                    unshare(CloneFlags::CLONE_NEWUTS)?;
                    match libc::sethostname(called.as_ptr().cast(), called.len()) {
                        0 => Ok(()),
                        _ => Err(std::io::Error::last_os_error()),
                    }
                });
            }
        }
        self.process = Some(self.host.spawn(name, command)?);
        Ok(())
    }

    /// Waits until it is enrolled and its hook stands.
    ///
    /// # Errors
    /// If it is not up in time; its log is in the error.
    pub fn wait_up(&mut self) -> Result<()> {
        let what = format!("the agent on {} to come up", self.host.name);
        let waited = wait_until(&what, START_DEADLINE, || {
            let process = self.process.as_mut().context("the agent was not started")?;
            if let Some(code) = process.exit()? {
                bail!("{} on {} ended with {code}", self.program.name(), self.host.name);
            }
            Ok(self.status().is_ok_and(|status| status["agent"].is_string()))
        });
        let log = || self.process.as_ref().map(Process::log).unwrap_or_default();
        waited.with_context(|| format!("its log:\n{}", log().trim_end()))
    }

    /// Starts it and waits until it ends by itself, as it must after bad input.
    ///
    /// # Errors
    /// If it goes on.
    pub fn run_to_end(&mut self) -> Result<(i32, String)> {
        self.launch()?;
        let mut process = self.process.take().context("the agent was not started")?;
        let code = process.wait(START_DEADLINE)?;
        Ok((code, process.log()))
    }

    /// Its program with ARGS beside the agent, whatever comes of it.
    ///
    /// # Errors
    /// If it cannot be started.
    pub fn ges_output(&self, args: &[&str]) -> Result<Output> {
        let mut command = self.host.command(built(self.program.name())?);
        command.env(self.program.settings().1, &self.socket).args(args);
        command.output().with_context(|| format!("running {}", self.program.name()))
    }

    /// Its program with ARGS beside the agent; what it printed.
    ///
    /// # Errors
    /// If it does not exit with 0.
    pub fn ges(&self, args: &[&str]) -> Result<String> {
        let output = self.ges_output(args)?;
        ensure!(
            output.status.success(),
            "{} {} on {}: {}{}",
            self.program.name(),
            args.join(" "),
            self.host.name,
            String::from_utf8_lossy(&output.stdout),
            String::from_utf8_lossy(&output.stderr).trim_end()
        );
        Ok(String::from_utf8_lossy(&output.stdout).into_owned())
    }

    /// Starts its program with ARGS beside the agent; it goes on.
    ///
    /// # Errors
    /// If it cannot be started.
    pub fn spawn(&self, name: &str, args: &[&str]) -> Result<Process> {
        let mut command = self.host.command(built(self.program.name())?);
        command.env(self.program.settings().1, &self.socket).args(args);
        self.host.spawn(name, command)
    }

    /// `ges status --json`.
    ///
    /// # Errors
    /// If it fails or prints something else.
    pub fn status(&self) -> Result<Value> {
        serde_json::from_str(&self.ges(&["status", "--json"])?).context("ges status --json")
    }

    /// `details` of `ges status --details --json`.
    ///
    /// # Errors
    /// If it fails or prints something else.
    pub fn details(&self) -> Result<Value> {
        let text = self.ges(&["status", "--details", "--json"])?;
        let status: Value = serde_json::from_str(&text).context("ges status --details --json")?;
        Ok(status["details"].clone())
    }

    /// The row of the flow to `remote`, if there is one; where a router has several, the first.
    ///
    /// # Errors
    /// If `ges flows --json` fails or prints something else.
    pub fn flow(&self, remote: IpAddr) -> Result<Option<Value>> {
        self.find_flow(|row| row["remote"] == remote.to_string().as_str())
    }

    fn find_flow(&self, wanted: impl Fn(&Value) -> bool) -> Result<Option<Value>> {
        let json: Value =
            serde_json::from_str(&self.ges(&["flows", "--json"])?).context("ges flows --json")?;
        let rows = json["flows"].as_array().context("no flows in ges flows --json")?;
        Ok(rows.iter().find(|row| wanted(row)).cloned())
    }

    /// Verdict of the flow to `remote`: `protected`, `clear`, `transit`, `dropped`, `pending`, or
    /// `none`.
    ///
    /// # Errors
    /// As [`Agent::flow`].
    pub fn verdict(&self, remote: IpAddr) -> Result<String> {
        Ok(verdict_of(self.flow(remote)?.as_ref()))
    }

    /// Waits until the flow to `remote` has `verdict`.
    ///
    /// # Errors
    /// If it has another one when time is up.
    pub fn wait_verdict(&self, remote: IpAddr, verdict: &str) -> Result<()> {
        self.wait_flow(&format!("to {remote}"), verdict, || self.flow(remote))
    }

    /// Waits until a router's flow from `local`, a machine behind it, to `remote` has `verdict`.
    /// `remote` may talk with others behind the router too, such as the management server.
    ///
    /// # Errors
    /// If it has another one when time is up.
    pub fn wait_verdict_from(&self, local: IpAddr, remote: IpAddr, verdict: &str) -> Result<()> {
        let ends = [local, remote].map(|end| end.to_string());
        let between =
            |row: &Value| row["local"] == ends[0].as_str() && row["remote"] == ends[1].as_str();
        let what = format!("from {local} to {remote}");
        self.wait_flow(&what, verdict, || self.find_flow(between))
    }

    fn wait_flow(
        &self,
        what: &str,
        verdict: &str,
        flow: impl Fn() -> Result<Option<Value>>,
    ) -> Result<()> {
        let mut last = String::new();
        wait_until(&format!("verdict {verdict}"), Duration::from_secs(10), || {
            last = verdict_of(flow()?.as_ref());
            Ok(last == verdict)
        })
        .with_context(|| format!("{} {what} is {last}", self.host.name))
    }

    /// Waits until the agent uses the key of `epoch` or a later one for its first group.
    ///
    /// # Errors
    /// If it does not in time.
    pub fn wait_epoch(&self, epoch: u64) -> Result<()> {
        let what = format!("epoch {epoch} on {}", self.host.name);
        wait_until(&what, Duration::from_secs(10), || Ok(self.epoch()? >= epoch))
    }

    /// Epoch of the key used for sending in its first group.
    ///
    /// # Errors
    /// If it is in no group.
    pub fn epoch(&self) -> Result<u64> {
        self.status()?["groups"][0]["epoch"].as_u64().context("no group epoch in ges status")
    }

    /// Its id, as the server lists it.
    ///
    /// # Errors
    /// If it is not enrolled.
    pub fn id(&self) -> Result<String> {
        let status = self.status()?;
        Ok(status["agent"].as_str().context("not enrolled")?.to_owned())
    }

    /// Waits until `ges status` shows `value` under `key`.
    ///
    /// # Errors
    /// If it does not in time.
    pub fn wait_status(&self, key: &str, value: &str) -> Result<()> {
        wait_for(&format!("{key} = {value}"), Duration::from_secs(10), || {
            Ok((self.status()?[key] == value).then_some(()))
        })
    }

    /// Packets that each thread of the data path sealed and opened.
    ///
    /// # Errors
    /// If the agent does not say.
    pub fn thread_packets(&self) -> Result<Vec<u64>> {
        let metrics = self.ges(&["metrics"])?;
        let counts = metrics.lines().filter(|line| line.contains("_thread_packets_total{"));
        counts
            .map(|line| line.rsplit(' ').next().unwrap_or_default().parse().context("a counter"))
            .collect()
    }

    /// Process id of the running agent.
    ///
    /// # Errors
    /// If it does not run.
    pub fn pid(&self) -> Result<u32> {
        Ok(self.process.as_ref().context("the agent does not run")?.pid())
    }

    /// Kills it (SIGKILL).
    ///
    /// # Errors
    /// If the kernel refuses.
    pub fn kill(&mut self) -> Result<()> {
        self.process.take().map_or(Ok(()), |mut process| process.kill())
    }

    /// Asks it to end (SIGTERM) and waits; its exit code.
    ///
    /// # Errors
    /// If it does not end.
    pub fn stop(&mut self) -> Result<i32> {
        self.process.take().context("the agent does not run")?.stop()
    }

    /// `ges down --purge`: stops it and removes everything it left on the machine.
    ///
    /// # Errors
    /// If the command fails or the agent does not end.
    pub fn purge(&mut self) -> Result<String> {
        let state = self.state.to_string_lossy().into_owned();
        let said = self.ges(&["down", "--purge", "--state", &state])?;
        if let Some(mut process) = self.process.take() {
            process.wait(Duration::from_secs(10))?;
        }
        Ok(said)
    }

    /// Directory of its keys and cache.
    #[must_use]
    pub fn state(&self) -> &Path {
        &self.state
    }
}

/// A file only its owner may read.
fn write_private(path: &Path, text: &str) -> Result<()> {
    use std::io::Write;
    use std::os::unix::fs::OpenOptionsExt;
    let mut file = std::fs::OpenOptions::new()
        .create(true)
        .write(true)
        .truncate(true)
        .mode(0o600)
        .open(path)
        .with_context(|| format!("writing {}", path.display()))?;
    writeln!(file, "{text}").context("writing a token")
}

fn verdict_of(flow: Option<&Value>) -> String {
    flow.and_then(|row| row["verdict"].as_str()).unwrap_or("none").to_owned()
}
