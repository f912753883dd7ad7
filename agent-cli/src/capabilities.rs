//! What this process may do, asked before anything is set up.

use crate::failure::Failure;
use ge_runtime::exit::Exit;

/// Numbers of `linux/capability.h`.
const NEEDED: [(u32, &str); 2] = [(12, "CAP_NET_ADMIN"), (13, "CAP_NET_RAW")];

/// Fails with one sentence if a capability the hook needs is missing.
pub(crate) fn require() -> Result<(), Failure> {
    let status = std::fs::read_to_string("/proc/self/status").unwrap_or_default();
    check(&status)
}

/// `status` is the text of proc_pid_status(5). Where it names no capabilities (no procfs), the
/// first call that needs one will say so.
fn check(status: &str) -> Result<(), Failure> {
    let effective = status.lines().find_map(|line| line.strip_prefix("CapEff:"));
    let Some(bits) = effective.and_then(|hex| u64::from_str_radix(hex.trim(), 16).ok()) else {
        return Ok(());
    };
    match NEEDED.into_iter().find(|(bit, _)| bits >> bit & 1 == 0) {
        None => Ok(()),
        Some((_, name)) => {
            let message = format!("the agent needs {name} to see this machine's packets");
            Err(Failure::new(Exit::Refused, message))
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_missing_one_is_named() {
        let cases = [
            ("CapEff:\t000001ffffffffff\n", None),
            ("CapEff:\t0000000000003000\n", None),
            ("CapEff:\t0000000000001000\n", Some("CAP_NET_RAW")),
            ("Name:\tges\nCapEff:\t0000000000000000\n", Some("CAP_NET_ADMIN")),
            ("", None),
        ];
        for (status, missing) in cases {
            match (check(status), missing) {
                (Ok(()), None) => {}
                (Err(failure), Some(name)) => {
                    assert_eq!(failure.exit, Exit::Refused);
                    assert!(failure.message.contains(name), "{}", failure.message);
                }
                (result, _) => panic!("{status:?}: {result:?}"),
            }
        }
    }
}
