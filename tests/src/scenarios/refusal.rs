//! Bad input: one sentence with the fix, the right exit code, nothing half set up.
//!
//! ```text
//!   ms .1  ──  switch  ──  a .11  `ges run` that must end by itself
//! ```

use crate::agent::Agent;
use crate::host::DEV;
use crate::lab::Lab;
use crate::machine::Machine;
use crate::pair::GROUP;
use crate::programs::built;
use crate::scenario::{Scenario, scenario};
use crate::server::{Server, TokenRequest};
use crate::wait::wait_until;
use anyhow::{Context, Result, ensure};
use std::os::unix::process::CommandExt;
use std::time::{Duration, Instant};

pub(crate) const LIST: &[Scenario] = &[
    scenario("bad_token", "a token that is none", &[], bad_token),
    scenario("used_token", "a token used before", &[], used_token),
    scenario("expired_token", "a token past its time", &[], expired_token),
    scenario("wrong_fingerprint", "a server with another key than the token's", &[], wrong_key),
    scenario("server_down", "no server and no cache", &[], server_down),
    scenario("no_permission", "started without the capabilities", &[], no_permission),
    scenario("interface_missing", "an interface the machine has not", &[], interface_missing),
    scenario("token_file_missing", "a token file that is not there", &[], token_file_missing),
    scenario(
        "unknown_config_key",
        "a misspelt key in the file names the right one",
        &[],
        unknown_key,
    ),
];

/// Exit codes of PEERS section 3.7.
mod exit {
    pub(super) const ERROR: i32 = 1;
    pub(super) const USAGE: i32 = 2;
    pub(super) const NOT_ENROLLED: i32 = 4;
    pub(super) const TIMED_OUT: i32 = 8;
    pub(super) const REFUSED: i32 = 9;
}

struct Bench {
    lab: Lab,
    server: Server,
    before: Machine,
}

impl Bench {
    fn new() -> Result<Self> {
        let lab = Lab::switched(1500)?;
        let server = Server::start(&lab.ms)?;
        server.group(GROUP)?;
        let before = Machine::read(&lab.a)?;
        Ok(Self { lab, server, before })
    }

    /// Runs an agent that must refuse with `code` and a sentence that contains `word`.
    fn refuses(&self, mut agent: Agent, code: i32, word: &str) -> Result<()> {
        let (got, said) = agent.run_to_end()?;
        self.ensure_refused(got, &said, code, word)
    }

    fn ensure_refused(&self, got: i32, said: &str, code: i32, word: &str) -> Result<()> {
        ensure!(got == code, "exit {got} instead of {code}: {said}");
        ensure!(said.to_lowercase().contains(word), "nothing about {word:?}: {said}");
        ensure!(!said.contains("panicked"), "{said}");
        let errors: Vec<_> = said.lines().filter(|line| line.starts_with("ges: ")).collect();
        ensure!(errors.len() == 1, "{} error sentences instead of one:\n{said}", errors.len());
        self.before.ensure_same(&Machine::read(&self.lab.a)?).context("half set up")
    }

    fn agent(&self, token: &str) -> Result<Agent> {
        Agent::with_token(&self.lab.a, "ges", &self.server.url(), token)
    }

    fn token(&self) -> Result<String> {
        self.server.token(TokenRequest::new(GROUP, "closed"))
    }
}

fn bad_token() -> Result<()> {
    let bench = Bench::new()?;
    for token in ["not-a-token", "", &"x".repeat(10_000)] {
        bench.refuses(bench.agent(token)?, exit::USAGE, "token")?;
    }
    Ok(())
}

fn used_token() -> Result<()> {
    let bench = Bench::new()?;
    let token = bench.token()?;
    let mut first = Agent::with_token(&bench.lab.b, "ges", &bench.server.url(), &token)?;
    first.start()?;
    bench.refuses(bench.agent(&token)?, exit::NOT_ENROLLED, "used")
}

fn expired_token() -> Result<()> {
    let bench = Bench::new()?;
    let want = TokenRequest { expires: "1s", ..TokenRequest::new(GROUP, "closed") };
    let token = bench.server.token(want)?;
    let made = Instant::now();
    let past = || Ok(made.elapsed() > Duration::from_millis(2100));
    wait_until("the token to expire", Duration::from_secs(5), past)?;
    bench.refuses(bench.agent(&token)?, exit::NOT_ENROLLED, "expired")
}

fn wrong_key() -> Result<()> {
    let mut bench = Bench::new()?;
    let token = bench.token()?;
    bench.server.kill()?;
    // Another server at the same address: what a spoofed address leads to.
    bench.server = Server::start_in(&bench.lab.ms, bench.lab.ms.path("other"))?;
    bench.refuses(bench.agent(&token)?, exit::NOT_ENROLLED, "not the one in the token")
}

fn server_down() -> Result<()> {
    let mut bench = Bench::new()?;
    let token = bench.token()?;
    bench.server.kill()?;
    bench.refuses(bench.agent(&token)?, exit::TIMED_OUT, "did not answer")
}

fn no_permission() -> Result<()> {
    let bench = Bench::new()?;
    let token_file = bench.lab.a.path("ges.token");
    let _agent = bench.agent(&bench.token()?)?;
    let mut command = bench.lab.a.command(built("ges")?);
    command
        .args(["run", "--server", &bench.server.url(), "--interface", DEV, "--token-file"])
        .arg(&token_file)
        .arg("--state")
        .arg(bench.lab.a.path("state"))
        .arg("--socket")
        .arg(bench.lab.a.path("sock"));
    // SAFETY: between fork and exec, system calls only.
    unsafe {
        command.pre_exec(drop_capabilities);
    }
    let mut process = bench.lab.a.spawn("ges", command)?;
    let code = process.wait(Duration::from_secs(15))?;
    bench.ensure_refused(code, &process.log(), exit::REFUSED, "cap_net_admin")
}

/// Takes every capability about networks out of what the next program may have.
fn drop_capabilities() -> std::io::Result<()> {
    const CAP_NET_ADMIN: libc::c_ulong = 12;
    const CAP_NET_RAW: libc::c_ulong = 13;
    for capability in [CAP_NET_ADMIN, CAP_NET_RAW] {
        // SAFETY: changes this process's bounding set only.
        if unsafe { libc::prctl(libc::PR_CAPBSET_DROP, capability, 0, 0, 0) } != 0 {
            return Err(std::io::Error::last_os_error());
        }
    }
    Ok(())
}

/// Refused before the server was asked: the token is good for the next try.
fn interface_missing() -> Result<()> {
    let bench = Bench::new()?;
    let token = bench.token()?;
    let mut agent = bench.agent(&token)?;
    agent.add_args(&["--interface", "eth7"]);
    bench.refuses(agent, exit::USAGE, "eth7")?;
    bench.agent(&token)?.start().context("with the same token and the right interface")
}

fn token_file_missing() -> Result<()> {
    let bench = Bench::new()?;
    let agent = bench.agent("unused")?;
    std::fs::remove_file(bench.lab.a.path("ges.token"))?;
    bench.refuses(agent, exit::USAGE, "ges.token")
}

fn unknown_key() -> Result<()> {
    let bench = Bench::new()?;
    let config = bench.lab.a.path("ges.toml");
    std::fs::write(&config, "interfcae = \"eth0\"\n")?;
    let mut agent = bench.agent(&bench.token()?)?;
    agent.add_args(&["--config", &config.to_string_lossy()]);
    let (code, said) = agent.run_to_end()?;
    bench.ensure_refused(code, &said, exit::USAGE, "interfcae")?;
    ensure!(said.contains("interface"), "the nearest key is not named: {said}");
    let mut admin = bench.server.admin_output(&["group", "delete-everything"])?;
    ensure!(admin.status.code() == Some(exit::USAGE), "mgmt-server: {:?}", admin.status);
    admin = bench.server.admin_output(&["token", "create", "--group", "nobody-made-it"])?;
    ensure!(admin.status.code() == Some(exit::ERROR), "mgmt-server: {:?}", admin.status);
    Ok(())
}
