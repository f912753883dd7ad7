//! Ways of handing the kernel many packets in one call, or of leaving it a part of the work.
//!
//! Each is wanted unless the administrator said no, is tried at the start, and is given up by
//! itself when the kernel shows later that it cannot: then the same packets go one by one.

use std::fmt;

/// One of them.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Offload {
    /// The TUN hands over TCP super-packets (`TUN_F_TSO4`, `TUN_F_TSO6`).
    TunTso,
    /// Also those whose sender answers congestion (`TUN_F_TSO_ECN`).
    TunEcn,
    /// The TUN hands over UDP super-packets (`TUN_F_USO4`, `TUN_F_USO6`; Linux 6.2).
    TunUso,
    /// One call sends many datagrams (`UDP_SEGMENT`; Linux 4.18).
    UdpSend,
    /// One call receives many datagrams (`UDP_GRO`; Linux 5.0).
    UdpReceive,
    /// Opened segments of one TCP stream are written to the TUN as one.
    MergeTcp,
    /// Opened datagrams of one UDP flow are written to the TUN as one (Linux 6.2).
    MergeUdp,
    /// Captured super-packets are put back whole (`PACKET_VNET_HDR`).
    PutBack,
}

impl Offload {
    /// All, in the order they are shown.
    pub const ALL: [Self; 8] = [
        Self::TunTso,
        Self::TunEcn,
        Self::TunUso,
        Self::UdpSend,
        Self::UdpReceive,
        Self::MergeTcp,
        Self::MergeUdp,
        Self::PutBack,
    ];

    /// Spelling in settings, status and metrics.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::TunTso => "tun-tso",
            Self::TunEcn => "tun-ecn",
            Self::TunUso => "tun-uso",
            Self::UdpSend => "udp-send",
            Self::UdpReceive => "udp-receive",
            Self::MergeTcp => "merge-tcp",
            Self::MergeUdp => "merge-udp",
            Self::PutBack => "put-back",
        }
    }
}

impl fmt::Display for Offload {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// A name that is no offload.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
#[error("there is no offload {name:?}; did you mean {nearest:?}?")]
pub struct UnknownOffload {
    name: String,
    nearest: &'static str,
}

/// Which offloads the administrator switched off.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Switches {
    off: [bool; Offload::ALL.len()],
}

/// Stands for every offload in settings.
const EVERY: &str = "all";

impl Switches {
    /// Those that are named are off; `all` names every one.
    ///
    /// # Errors
    /// The first name that is none, with the nearest that is.
    pub fn without<'a>(names: impl IntoIterator<Item = &'a str>) -> Result<Self, UnknownOffload> {
        let mut switches = Self::default();
        for name in names {
            if name == EVERY {
                switches.off = [true; Offload::ALL.len()];
                continue;
            }
            match Offload::ALL.iter().find(|offload| offload.as_str() == name) {
                Some(offload) => switches.off[*offload as usize] = true,
                None => return Err(unknown(name)),
            }
        }
        Ok(switches)
    }

    /// Whether it is switched off.
    #[must_use]
    pub const fn is_off(self, offload: Offload) -> bool {
        self.off[offload as usize]
    }

    /// Those that are off.
    pub fn off(self) -> impl Iterator<Item = Offload> {
        Offload::ALL.into_iter().filter(move |offload| self.is_off(*offload))
    }
}

fn unknown(name: &str) -> UnknownOffload {
    let name_meant = name.replace('_', "-");
    // Who writes half of a name means it.
    let likeness = |known: &&str| {
        let half = !name_meant.is_empty() && known.split('-').any(|half| half == name_meant);
        strsim::jaro_winkler(&name_meant, known) + f64::from(u8::from(half))
    };
    let names = Offload::ALL.iter().map(|offload| offload.as_str()).chain([EVERY]);
    let nearest = names.max_by(|a, b| likeness(a).total_cmp(&likeness(b)));
    UnknownOffload { name: name.to_owned(), nearest: nearest.unwrap_or(EVERY) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_is_at_its_place_and_switched_by_its_name_alone() {
        for (index, offload) in Offload::ALL.into_iter().enumerate() {
            assert_eq!(offload as usize, index);
            let switches = Switches::without([offload.as_str()]).unwrap();
            assert_eq!(switches.off().collect::<Vec<_>>(), [offload]);
        }
        assert_eq!(Switches::without(["all"]).unwrap().off().count(), Offload::ALL.len());
        assert_eq!(Switches::without([]).unwrap(), Switches::default());
    }

    #[test]
    fn an_unknown_name_is_told_the_nearest() {
        for (name, nearest) in [
            ("udp_send", "udp-send"),
            ("upd-send", "udp-send"),
            ("udp-gro", "udp-receive"),
            ("tso", "tun-tso"),
            ("merge-tpc", "merge-tcp"),
            ("al", "all"),
        ] {
            let error = Switches::without(["tun-tso", name]).unwrap_err();
            assert_eq!((error.name.as_str(), error.nearest), (name, nearest));
        }
    }
}
