//! What an agent says about its machine when it enrols.

use mgmt_api::{Kind, Prefix, limits};

/// What an agent says about its machine.
#[derive(Clone, Debug)]
pub struct Machine {
    /// Host name, fit to be a member's name.
    pub name: String,
    /// Host or router.
    pub kind: Kind,
    /// AES and carry-less multiplication in hardware.
    pub aes: bool,
    /// Subnets of its interfaces.
    pub subnets: Vec<Prefix>,
}

impl Machine {
    /// This machine, with the subnets given.
    #[must_use]
    pub fn here(kind: Kind, subnets: Vec<Prefix>) -> Self {
        Self { name: host_name(), kind, aes: has_aes(), subnets }
    }
}

/// True if this machine has AES and carry-less multiplication in hardware (PROTOCOL.md 1.2).
#[must_use]
pub fn has_aes() -> bool {
    #[cfg(any(target_arch = "x86", target_arch = "x86_64"))]
    return std::is_x86_feature_detected!("aes") && std::is_x86_feature_detected!("pclmulqdq");
    #[cfg(target_arch = "aarch64")]
    return std::arch::is_aarch64_feature_detected!("aes")
        && std::arch::is_aarch64_feature_detected!("pmull");
    #[cfg(not(any(target_arch = "x86", target_arch = "x86_64", target_arch = "aarch64")))]
    return false;
}

/// The machine's host name, made fit to be a member's name.
#[must_use]
pub fn host_name() -> String {
    fit_name(&std::fs::read_to_string("/proc/sys/kernel/hostname").unwrap_or_default())
}

fn fit_name(name: &str) -> String {
    let fits = |c: char| c.is_ascii_alphanumeric() || matches!(c, '.' | '_' | '-');
    let fit: String = name
        .trim()
        .chars()
        .map(|c| if fits(c) { c } else { '-' })
        .skip_while(|c| !c.is_ascii_alphanumeric())
        .take(limits::NAME_BYTES)
        .collect();
    if fit.is_empty() { "host".into() } else { fit }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn any_host_name_becomes_a_members_name() {
        for (name, fit) in [
            ("files\n", "files"),
            ("web 1.corp", "web-1.corp"),
            ("-x", "x"),
            ("(none)", "none-"),
            ("büro", "b-ro"),
            ("", "host"),
            ("---", "host"),
        ] {
            assert_eq!(fit_name(name), fit);
            assert!(limits::is_name(&fit_name(name)), "{name}");
        }
        assert!(limits::is_name(&fit_name(&"n".repeat(100))));
    }
}
