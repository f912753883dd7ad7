//! Programs the end-to-end scenarios use, and how a Debian or Ubuntu machine gets them.

use anyhow::{Context, Result, bail, ensure};
use e2e::programs::installed;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::process::Command;

/// Program, and the package that has it.
const PROGRAMS: [(&str, &str); 11] = [
    ("ip", "iproute2"),
    ("nft", "nftables"),
    ("iperf3", "iperf3"),
    ("sshd", "openssh-server"),
    ("ssh", "openssh-client"),
    ("curl", "curl"),
    ("ping", "iputils-ping"),
    ("tcpdump", "tcpdump"),
    ("ethtool", "ethtool"),
    ("nc", "netcat-openbsd"),
    ("python3", "python3"),
];

/// Debian asks this program before it starts a service that was just installed.
const POLICY: &str = "/usr/sbin/policy-rc.d";

/// Installs what is missing if we are root on a machine with apt; else says what is missing.
pub(crate) fn provide() -> Result<()> {
    let missing: Vec<_> =
        PROGRAMS.iter().filter(|(program, _)| installed(program).is_none()).collect();
    if missing.is_empty() {
        println!("all programs the scenarios use are installed");
        return Ok(());
    }
    let packages: Vec<&str> = missing.iter().map(|(_, package)| *package).collect();
    if !may_install() {
        println!(
            "missing: {}; scenarios that need them are left out and counted as skipped\n\
             (sudo apt-get install {})",
            missing.iter().map(|(program, _)| *program).collect::<Vec<_>>().join(", "),
            packages.join(" ")
        );
        return Ok(());
    }
    install(&packages)
}

/// Installs those of `programs` that are missing; an error if they cannot be.
pub(crate) fn require(programs: &[&str]) -> Result<()> {
    let missing = PROGRAMS
        .iter()
        .filter(|(program, _)| programs.contains(program) && installed(program).is_none());
    let packages: Vec<&str> = missing.map(|(_, package)| *package).collect();
    if packages.is_empty() {
        return Ok(());
    }
    let names = packages.join(" ");
    ensure!(may_install(), "this needs {names}; install it with `sudo apt-get install {names}`");
    install(&packages)?;
    let absent = programs.iter().find(|program| installed(program).is_none());
    absent.map_or(Ok(()), |program| bail!("{program} is still missing after installing {names}"))
}

fn may_install() -> bool {
    nix::unistd::geteuid().is_root() && installed("apt-get").is_some()
}

fn install(packages: &[&str]) -> Result<()> {
    eprintln!("installing {}", packages.join(", "));
    let _quiet = NoServices::new()?;
    apt(&["update"])?;
    apt(&[&["install", "-y", "--no-install-recommends"], packages].concat())
}

fn apt(args: &[&str]) -> Result<()> {
    let status = Command::new("apt-get")
        .arg("-qq")
        .args(args)
        .env("DEBIAN_FRONTEND", "noninteractive")
        .stdout(std::io::stderr())
        .status()
        .context("starting apt-get")?;
    ensure!(status.success(), "`apt-get {}` failed", args.join(" "));
    Ok(())
}

/// While it lives, installing a package starts no service.
struct NoServices {
    ours: bool,
}

impl NoServices {
    fn new() -> Result<Self> {
        let ours = !Path::new(POLICY).exists();
        if ours {
            std::fs::write(POLICY, "#!/bin/sh\nexit 101\n").context(POLICY)?;
            std::fs::set_permissions(POLICY, std::fs::Permissions::from_mode(0o755))?;
        }
        Ok(Self { ours })
    }
}

impl Drop for NoServices {
    fn drop(&mut self) {
        if self.ours
            && let Err(error) = std::fs::remove_file(POLICY)
        {
            eprintln!("xtask: removing {POLICY}: {error}");
        }
    }
}
