//! Whether the kernel forwards at all. The agent hands a router's packets to it and leaves the
//! settings alone: what a machine forwards is its administrator's decision.

use crate::error::KernelError;
use mgmt_api::Prefix;
use std::fs;
use std::path::Path;

/// Where the kernel's settings are.
const SETTINGS: &str = "/proc/sys";
const V4: (&str, &str) = ("IPv4", "net.ipv4.ip_forward");
const V6: (&str, &str) = ("IPv6", "net.ipv6.conf.all.forwarding");

/// Fails with one sentence if the kernel does not forward an IP version that `prefixes` has; with
/// no prefixes, if it forwards nothing.
///
/// # Errors
/// [`KernelError::NotForwarding`].
pub fn require(prefixes: &[Prefix]) -> Result<(), KernelError> {
    check(prefixes, Path::new(SETTINGS))
}

fn check(prefixes: &[Prefix], settings: &Path) -> Result<(), KernelError> {
    let forwards = |(_, setting): (&str, &str)| {
        let value = fs::read_to_string(settings.join(setting.replace('.', "/")));
        value.is_ok_and(|value| value.trim() != "0")
    };
    let has = |v4: bool| prefixes.iter().any(|prefix| prefix.address().is_ipv4() == v4);
    let missing = match (prefixes.is_empty(), forwards(V4), forwards(V6)) {
        (true, false, false) => Some(V4),
        (true, ..) => None,
        (false, false, _) if has(true) => Some(V4),
        (false, _, false) if has(false) => Some(V6),
        (false, ..) => None,
    };
    match missing {
        None => Ok(()),
        Some((version, setting)) => Err(KernelError::NotForwarding { version, setting }),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_version_in_use_must_be_forwarded() {
        const V4: &str = "10.0.0.0/8";
        const V6: &str = "fd00::/8";
        let cases: [(&[&str], &str, &str, Option<&str>); 9] = [
            (&[V4, V6], "1\n", "1\n", None),
            (&[V4], "1\n", "0\n", None),
            (&[V6], "0\n", "1\n", None),
            (&[V4, V6], "0\n", "1\n", Some("net.ipv4.ip_forward=1")),
            (&[V4, V6], "1\n", "0\n", Some("net.ipv6.conf.all.forwarding=1")),
            (&[V6], "1\n", "2\n", None),
            (&[], "0\n", "1\n", None),
            (&[], "1\n", "0\n", None),
            (&[], "0\n", "0\n", Some("net.ipv4.ip_forward=1")),
        ];
        for (prefixes, v4, v6, fix) in cases {
            let settings = tempfile::tempdir().unwrap();
            for (setting, value) in [(super::V4.1, v4), (super::V6.1, v6)] {
                let path = settings.path().join(setting.replace('.', "/"));
                fs::create_dir_all(path.parent().unwrap()).unwrap();
                fs::write(path, value).unwrap();
            }
            let prefixes: Vec<Prefix> = prefixes.iter().map(|text| text.parse().unwrap()).collect();
            let result = check(&prefixes, settings.path());
            match fix {
                None => assert!(result.is_ok(), "{prefixes:?} {v4} {v6}"),
                Some(fix) => assert!(result.unwrap_err().to_string().contains(fix)),
            }
        }
    }
}
