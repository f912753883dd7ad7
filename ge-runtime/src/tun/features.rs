//! Which unfinished packets the TUN may hand over.
//!
//! The mask counts for the whole device, whichever descriptor sets it, and the kernel takes all of
//! it or nothing: so the largest that it takes is found by asking, from the most to none at all.

use crate::ledger::Ledger;
use crate::offload::Offload;
use std::io;

const TSO: u32 = libc::TUN_F_TSO4 | libc::TUN_F_TSO6;
const USO: u32 = libc::TUN_F_USO4 | libc::TUN_F_USO6;

/// Sets the largest mask that is wanted and that `set` takes, and writes down what it refused.
/// Whether the kernel knows super-packets of UDP at all, wanted or not.
///
/// # Errors
/// If it does not even take the empty mask.
pub(super) fn settle(
    ledger: &Ledger,
    mut set: impl FnMut(u32) -> io::Result<()>,
) -> io::Result<bool> {
    let all =
        [(Offload::TunUso, USO), (Offload::TunEcn, libc::TUN_F_TSO_ECN), (Offload::TunTso, TSO)];
    let mut mask = libc::TUN_F_CSUM | TSO | USO | libc::TUN_F_TSO_ECN;
    let mut refused = set(mask).err();
    for (offload, bits) in all {
        let Some(error) = refused else { break };
        mask &= !bits;
        // Congestion is a property of TCP super-packets, not a feature of its own.
        refused = set(mask).err();
        ledger.refused(offload, &error);
    }
    if refused.is_some() {
        mask = 0; // without partial checksums there is nothing else
        set(mask)?;
    }
    let knows_datagrams = mask & USO != 0;
    let mut wanted = mask;
    for (offload, bits) in all {
        if ledger.is_off(offload) {
            wanted &= !bits;
        }
    }
    if wanted & TSO == 0 {
        wanted &= !libc::TUN_F_TSO_ECN;
    }
    if wanted != mask {
        set(wanted)?;
    }
    Ok(knows_datagrams)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ledger::State;
    use crate::offload::Switches;

    const ALL: u32 = libc::TUN_F_CSUM | TSO | USO | libc::TUN_F_TSO_ECN;

    /// A kernel that knows `known`: what it was last given, and what it was said to know.
    fn settled(off: &[&str], known: u32) -> (u32, bool, Ledger) {
        let ledger = Ledger::new(Switches::without(off.iter().copied()).unwrap());
        let mut given = u32::MAX;
        let datagrams = settle(&ledger, |mask| {
            // As `set_offload` of the driver: no TCP without checksums, no ECN without TCP.
            let ecn = mask & libc::TUN_F_TSO_ECN != 0;
            let more = mask & !libc::TUN_F_CSUM != 0;
            let csum = mask & libc::TUN_F_CSUM != 0;
            if mask & !known != 0 || more && !csum || ecn && mask & TSO == 0 {
                return Err(io::Error::from_raw_os_error(libc::EINVAL));
            }
            given = mask;
            Ok(())
        });
        (given, datagrams.unwrap(), ledger)
    }

    #[test]
    fn the_largest_mask_that_is_wanted_and_known() {
        let csum = libc::TUN_F_CSUM;
        let cases: [(&[&str], u32, u32, bool); 9] = [
            (&[], ALL, ALL, true),
            (&[], ALL & !USO, ALL & !USO, false),
            (&[], csum | TSO, csum | TSO, false),
            (&[], csum, csum, false),
            (&[], 0, 0, false),
            (&["tun-uso"], ALL, ALL & !USO, true),
            (&["tun-ecn"], ALL, csum | TSO | USO, true),
            (&["tun-tso"], ALL, csum | USO, true),
            (&["tun-tso", "tun-uso"], ALL & !USO, csum, false),
        ];
        for (off, known, expected, datagrams) in cases {
            let (given, knows, _) = settled(off, known);
            assert_eq!((given, knows), (expected, datagrams), "{off:?} {known:#x}");
        }
    }

    #[test]
    fn refusals_are_written_down() {
        let (_, _, ledger) = settled(&[], libc::TUN_F_CSUM | TSO);
        assert_eq!(ledger.state(Offload::TunTso), State::On);
        assert_eq!(ledger.state(Offload::TunEcn), State::Refused(libc::EINVAL));
        assert_eq!(ledger.state(Offload::TunUso), State::Refused(libc::EINVAL));
        let (_, _, ledger) = settled(&["tun-uso"], libc::TUN_F_CSUM);
        assert_eq!(ledger.state(Offload::TunTso), State::Refused(libc::EINVAL));
        assert_eq!(ledger.state(Offload::TunUso), State::Off);
    }
}
