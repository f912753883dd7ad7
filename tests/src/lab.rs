//! Small networks of namespaces. Must be called inside a [`nest`](crate::nest).
//!
//! ```text
//! switched                                   routed
//!                 bridge                       ms .1 ┐
//!   ms .1  ──┬──  sw  ──┬── a .11              a .11 ┴ 10.77.0.0/24 ─ r1 ═════ r2 ─ 10.78.0.0/24 ─ b
//!            └──────────┼── b .12                                     MTU of the test          .12
//!                       └── o .99
//!   10.77.0.0/24, fd77::/64                    fd77::/64                         fd78::/64
//! ```
//! `ms` runs the management server, `a` and `b` are members, `o` is an outsider.

use crate::host::{DEV, Host};
use anyhow::{Context, Result, bail};
use std::io::Write;
use std::net::{Ipv4Addr, Ipv6Addr};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

/// Where the lab keeps files; a private file system of the nest.
const DIR: &str = "/run/lab";

/// A running network.
pub struct Lab {
    /// Machine of the management server.
    pub ms: Host,
    /// First member.
    pub a: Host,
    /// Second member.
    pub b: Host,
    /// A machine without agent (not in the routed lab, where it is `None`).
    pub outsider: Option<Host>,
    /// What stands between them: the bridge, or the router next to `a`.
    pub middle: Host,
    dir: PathBuf,
}

impl Lab {
    /// Four machines on one switch, all links with `mtu`.
    ///
    /// # Errors
    /// If `ip` is missing or the kernel refuses one of the steps.
    pub fn switched(mtu: u32) -> Result<Self> {
        let dir = begin(&["sw", "ms", "a", "b", "o"])?;
        ip(None, "link set dev lo up")?;
        let mut switch = String::from("link add name br0 type bridge mcast_snooping 0\n");
        for port in ["ms", "a", "b", "o"] {
            switch += &format!("link add name {port} type veth peer name {DEV} netns {port}\n");
            switch += &format!("link set dev {port} master br0 mtu {mtu} up\n");
        }
        switch += &format!("link set dev br0 mtu {mtu} up\n");
        ip(Some("sw"), &switch)?;
        let hosts: Vec<Host> = [("ms", 1), ("a", 11), ("b", 12), ("o", 99)]
            .into_iter()
            .map(|(name, last)| host(name, 77, last, mtu, &dir))
            .collect::<Result<_>>()?;
        let [ms, a, b, o] = <[Host; 4]>::try_from(hosts).ok().context("four hosts")?;
        let middle = Host::open("sw", Ipv4Addr::UNSPECIFIED, Ipv6Addr::UNSPECIFIED, &dir)?;
        Ok(Self { ms, a, b, outsider: Some(o), middle, dir })
    }

    /// Two networks with two routers between; the link between the routers has `mtu`.
    ///
    /// # Errors
    /// As [`Lab::switched`].
    pub fn routed(mtu: u32) -> Result<Self> {
        let dir = begin(&["r1", "r2", "ms", "a", "b"])?;
        let v6 = mtu >= 1280;
        let mut left = String::from("link add name br0 type bridge mcast_snooping 0\n");
        for port in ["ms", "a"] {
            left += &format!("link add name {port} type veth peer name {DEV} netns {port}\n");
            left += &format!("link set dev {port} master br0 up\n");
        }
        left += "link set dev br0 up\n";
        left +=
            &format!("link add name mid mtu {mtu} type veth peer name mid mtu {mtu} netns r2\n");
        ip(Some("r1"), &left)?;
        ip(Some("r2"), &format!("link add name b type veth peer name {DEV} netns b\n"))?;
        for (router, lan_dev, lan, mid) in [("r1", "br0", 77, 1), ("r2", "b", 78, 2)] {
            ip(Some(router), &router_addresses(lan_dev, lan, mid, v6))?;
            forward(router)?;
        }
        let ms = host("ms", 77, 1, 1500, &dir)?;
        let a = host("a", 77, 11, 1500, &dir)?;
        let b = host("b", 78, 12, 1500, &dir)?;
        for (name, lan) in [("ms", 77), ("a", 77), ("b", 78)] {
            let routes = format!(
                "route add default via 10.{lan}.0.254\nroute add default via fd{lan}::fe\n"
            );
            ip(Some(name), &routes)?;
        }
        let middle = Host::open("r1", Ipv4Addr::UNSPECIFIED, Ipv6Addr::UNSPECIFIED, &dir)?;
        Ok(Self { ms, a, b, outsider: None, middle, dir })
    }

    /// The outsider of the switched lab.
    ///
    /// # Errors
    /// In the routed lab, which has none.
    pub fn outsider(&self) -> Result<&Host> {
        self.outsider.as_ref().context("this lab has no outsider")
    }

    /// The machines, without what stands between.
    pub fn hosts(&self) -> impl Iterator<Item = &Host> {
        [&self.ms, &self.a, &self.b].into_iter().chain(&self.outsider)
    }

    /// A file of the lab that belongs to no machine.
    #[must_use]
    pub fn path(&self, file: &str) -> PathBuf {
        self.dir.join(file)
    }
}

/// The last `lines` lines of every program's log, to be printed when something failed.
#[must_use]
pub fn last_words(lines: usize) -> String {
    let mut text = String::new();
    let Ok(machines) = std::fs::read_dir(DIR) else { return text };
    let mut machines: Vec<PathBuf> =
        machines.filter_map(|machine| Some(machine.ok()?.path())).collect();
    machines.sort();
    for machine in machines {
        let Ok(files) = std::fs::read_dir(&machine) else { continue };
        let machine = machine.file_name().unwrap_or_default().to_string_lossy().into_owned();
        let mut logs: Vec<PathBuf> = files.filter_map(|file| Some(file.ok()?.path())).collect();
        logs.retain(|path| path.extension().is_some_and(|extension| extension == "log"));
        logs.sort();
        for path in logs {
            let name = path.file_stem().unwrap_or_default().to_string_lossy().into_owned();
            let log = std::fs::read(&path).unwrap_or_default();
            let log = String::from_utf8_lossy(&log);
            let all: Vec<&str> = log.lines().collect();
            for line in &all[all.len().saturating_sub(lines)..] {
                text += &format!("  {machine}/{name}: {line}\n");
            }
        }
    }
    text
}

/// Runs `ip` on a batch of lines, in namespace `ns` or in the nest's own.
///
/// # Errors
/// If `ip` is missing or refuses a line.
pub fn ip(ns: Option<&str>, batch: &str) -> Result<()> {
    let mut command = Command::new("ip");
    if let Some(ns) = ns {
        command.args(["-n", ns]);
    }
    command
        .args(["-batch", "-"])
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped());
    let mut child = command.spawn().context(
        "starting `ip`: the lab needs iproute2 (Debian, Ubuntu: sudo apt-get install iproute2)",
    )?;
    let mut stdin = child.stdin.take().context("a pipe to ip")?;
    stdin.write_all(batch.as_bytes())?;
    drop(stdin);
    let output = child.wait_with_output()?;
    if !output.status.success() {
        bail!(
            "ip in {}: {}in\n{batch}",
            ns.unwrap_or("the nest"),
            String::from_utf8_lossy(&output.stderr)
        );
    }
    Ok(())
}

/// Makes namespaces and the lab's directory.
///
/// # Errors
/// Outside of a nest, or if the kernel refuses.
pub fn begin(namespaces: &[&str]) -> Result<PathBuf> {
    if !crate::nest::is_inside() {
        bail!("a lab is made inside a nest only");
    }
    std::fs::create_dir_all(DIR).context("making the lab's directory")?;
    let batch: String = namespaces.iter().map(|name| format!("netns add {name}\n")).collect();
    ip(None, &batch)?;
    // Detecting duplicates takes seconds in which an address may not be used, and is not our topic.
    for name in namespaces {
        set(name, &[("ipv6/conf/all/accept_dad", "0"), ("ipv6/conf/default/accept_dad", "0")])?;
    }
    Ok(PathBuf::from(DIR))
}

/// Addresses and link of a machine whose `eth0` exists.
fn host(name: &str, lan: u8, last: u8, mtu: u32, dir: &Path) -> Result<Host> {
    let batch = format!(
        "link set dev lo up\n\
         link set dev {DEV} mtu {mtu} up\n\
         addr add 10.{lan}.0.{last}/24 dev {DEV}\n\
         addr add fd{lan}::{last}/64 dev {DEV} nodad\n"
    );
    ip(Some(name), &batch)?;
    let v4 = Ipv4Addr::new(10, lan, 0, last);
    Host::open(name, v4, format!("fd{lan}::{last}").parse()?, dir)
}

fn router_addresses(lan_dev: &str, lan: u8, mid: u8, v6: bool) -> String {
    let other_lan = if lan == 77 { 78 } else { 77 };
    let other = 3 - mid;
    let mut batch = format!(
        "link set dev lo up\nlink set dev {lan_dev} up\nlink set dev mid up\n\
         addr add 10.{lan}.0.254/24 dev {lan_dev}\n\
         addr add 10.79.0.{mid}/24 dev mid\n\
         route add 10.{other_lan}.0.0/24 via 10.79.0.{other}\n\
         addr add fd{lan}::fe/64 dev {lan_dev} nodad\n"
    );
    if v6 {
        batch += &format!(
            "addr add fd79::{mid}/64 dev mid nodad\n\
             route add fd{other_lan}::/64 via fd79::{other}\n"
        );
    }
    batch
}

/// Lets a machine forward packets of both IP versions.
///
/// # Errors
/// If the kernel refuses.
pub fn forward(router: &str) -> Result<()> {
    set(router, &[("ipv4/ip_forward", "1"), ("ipv6/conf/all/forwarding", "1")])
}

/// Changes settings of a namespace, below `/proc/sys/net`.
pub(crate) fn set(ns: &str, settings: &[(&str, &str)]) -> Result<()> {
    let host = Host::open(ns, Ipv4Addr::UNSPECIFIED, Ipv6Addr::UNSPECIFIED, Path::new(DIR))?;
    host.enter(|| {
        settings.iter().try_for_each(|(key, value)| {
            std::fs::write(format!("/proc/sys/net/{key}"), value).with_context(|| key.to_string())
        })
    })
}
