//! `--shell`: an interactive shell inside the lab.

use super::story::Story;
use anyhow::{Context, Result};
use e2e::programs::built;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::process::Command;

const BIN: &str = "/run/lab/bin";

/// Puts both hosts back into the group and opens the shell; returns when it ends.
pub(crate) fn open(story: &mut Story) -> Result<()> {
    println!("\nPutting the hosts back into the group …");
    story.reunite()?;
    prepare()?;
    println!("{HINTS}");
    let programs = built("ges")?.parent().map(Path::to_owned).context("a directory of programs")?;
    let path = std::env::var("PATH").unwrap_or_default();
    let program = std::env::var("SHELL").unwrap_or_else(|_| "/bin/sh".into());
    Command::new(program)
        .env("PATH", format!("{BIN}:{}:{path}:/usr/sbin:/sbin", programs.display()))
        .env("MGMT_DATA", "/run/lab/ms/mgmt")
        .env("debian_chroot", "lab")
        .status()
        .context("starting a shell")?;
    Ok(())
}

/// `on HOST COMMAND…` runs a command on a machine of the lab, with its agent's socket.
fn prepare() -> Result<()> {
    std::fs::create_dir_all(BIN)?;
    let on = Path::new(BIN).join("on");
    std::fs::write(
        &on,
        "#!/bin/sh\nhost=$1; shift\n\
         GES_SOCKET=/run/lab/$host/ges.sock exec ip netns exec \"$host\" \"$@\"\n",
    )?;
    std::fs::set_permissions(&on, std::fs::Permissions::from_mode(0o755))?;
    Ok(())
}

const HINTS: &str = "
You are inside. Try:

  on a ping 10.77.0.12                     a talks to b: their own addresses, protected
  on a ges status                          what the agent on a thinks
  on a ges ping 10.77.0.12                 verdict, group, time
  on sw tcpdump -c 9 -ni a &               what the wire shows while a talks (needs tcpdump)
  on a ges flows                           every verdict
  mgmt-server member list                  who is in
  mgmt-server key rotate team              a new group key, now
  mgmt-server member set ID --mode closed  refuse everybody else
  on o ping 10.77.0.11                     the outsider tries
  exit                                     and everything is gone
";
