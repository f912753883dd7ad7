//! Fields that several messages share.
//!
//! ```text
//! flow 40:         family 1 (4 or 6) | protocol 1 | source port 2 | destination port 2 | 0 0 |
//!                  source 16 | destination 16            (IPv4 in the first 4 bytes, then zeros)
//! certificate 322: length 2 | certificate | zeros
//! parameters 24:   receiver index 4 (1 to 2^24-1) | data port 2 | family 1 (4 or 6) | 0 |
//!                  wire address 16                      (IPv4 in the first 4 bytes, then zeros)
//! standing 2:      mode 1 (1 open, 2 closed) | role 1 (1 host, 2 router)
//! stance 2:        consent 1 (1 open; closed: 2 strict, 3 vouched, 4 any) |
//!                  place 1 (1 stands for the source, 2 for the destination, 3 for neither)
//! table row 2:     action 1 (1 protect, 2 bypass, 3 discard) | 0
//! ```

use super::CERTIFICATE_FIELD;
use super::cursor::Reader;
use crate::action::Action;
use crate::addr::WireAddr;
use crate::cert::CERTIFICATE_MAX;
use crate::dprp::SessionParameters;
use crate::flow::{HostPair, Ports};
use crate::id::SessionIndex;
use crate::mode::{Mode, Transit};
use crate::shim::INDEX_MAX;
use core::net::{IpAddr, Ipv4Addr, Ipv6Addr};

/// Length of an encoded flow.
pub const FLOW_LEN: usize = 40;
/// Length of encoded session parameters.
pub(crate) const PARAMETERS_LEN: usize = 24;

/// What an agent says of itself.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Standing {
    /// Its mode.
    pub mode: Mode,
    /// It is a router, not a host.
    pub router: bool,
}

impl Standing {
    pub(crate) const fn emit(self) -> [u8; 2] {
        let mode = match self.mode {
            Mode::Open => 1,
            Mode::Closed => 2,
        };
        [mode, if self.router { 2 } else { 1 }]
    }

    pub(crate) fn read(reader: &mut Reader<'_>) -> Option<Self> {
        let mode = match reader.u8()? {
            1 => Mode::Open,
            2 => Mode::Closed,
            _ => return None,
        };
        let router = match reader.u8()? {
            1 => false,
            2 => true,
            _ => return None,
        };
        Some(Self { mode, router })
    }
}

/// Whose side of a flow an agent is on, as its certificate proves.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Place {
    /// It stands for the source.
    Source,
    /// It stands for the destination.
    Destination,
    /// It stands for neither: transit.
    Between,
}

impl Place {
    pub(crate) const fn emit(self) -> u8 {
        match self {
            Self::Source => 1,
            Self::Destination => 2,
            Self::Between => 3,
        }
    }

    pub(crate) fn read(reader: &mut Reader<'_>) -> Option<Self> {
        Some(match reader.u8()? {
            1 => Self::Source,
            2 => Self::Destination,
            3 => Self::Between,
            _ => return None,
        })
    }
}

/// What an agent between two others asks before it lets their session pass.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Consent {
    /// Nothing: the agent is open.
    Open,
    /// Closed, with its setting for transit.
    Closed(Transit),
}

impl Consent {
    /// Of an agent's mode and setting.
    #[must_use]
    pub const fn of(mode: Mode, transit: Transit) -> Self {
        match mode {
            Mode::Open => Self::Open,
            Mode::Closed => Self::Closed(transit),
        }
    }

    /// The mode it belongs to.
    #[must_use]
    pub const fn mode(self) -> Mode {
        match self {
            Self::Open => Mode::Open,
            Self::Closed(_) => Mode::Closed,
        }
    }

    pub(crate) const fn emit(self) -> u8 {
        match self {
            Self::Open => 1,
            Self::Closed(Transit::Strict) => 2,
            Self::Closed(Transit::Vouched) => 3,
            Self::Closed(Transit::Any) => 4,
        }
    }

    pub(crate) fn read(reader: &mut Reader<'_>) -> Option<Self> {
        Some(match reader.u8()? {
            1 => Self::Open,
            2 => Self::Closed(Transit::Strict),
            3 => Self::Closed(Transit::Vouched),
            4 => Self::Closed(Transit::Any),
            _ => return None,
        })
    }
}

/// The row of one agent in the action table of an MPIT.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct TableRow(pub Action);

impl TableRow {
    /// Length of an encoded row.
    pub const LEN: usize = 2;

    pub(crate) const fn emit(self) -> [u8; Self::LEN] {
        let action = match self.0 {
            Action::Protect => 1,
            Action::Bypass => 2,
            Action::Discard => 3,
        };
        [action, 0]
    }

    pub(crate) fn read(reader: &mut Reader<'_>) -> Option<Self> {
        let action = match reader.u16()?.to_be_bytes() {
            [1, 0] => Action::Protect,
            [2, 0] => Action::Bypass,
            [3, 0] => Action::Discard,
            _ => return None,
        };
        Some(Self(action))
    }
}

/// Encodes a flow. `None` if its two addresses are of different IP versions.
pub(crate) fn emit_flow(pair: HostPair, ports: Ports) -> Option<[u8; FLOW_LEN]> {
    let mut bytes = [0; FLOW_LEN];
    bytes[1] = ports.protocol;
    bytes[2..4].copy_from_slice(&ports.local.to_be_bytes());
    bytes[4..6].copy_from_slice(&ports.remote.to_be_bytes());
    match (pair.local.0, pair.remote.0) {
        (IpAddr::V4(source), IpAddr::V4(destination)) => {
            bytes[0] = 4;
            bytes[8..12].copy_from_slice(&source.octets());
            bytes[24..28].copy_from_slice(&destination.octets());
        }
        (IpAddr::V6(source), IpAddr::V6(destination)) => {
            bytes[0] = 6;
            bytes[8..24].copy_from_slice(&source.octets());
            bytes[24..].copy_from_slice(&destination.octets());
        }
        (IpAddr::V4(_), IpAddr::V6(_)) | (IpAddr::V6(_), IpAddr::V4(_)) => return None,
    }
    Some(bytes)
}

/// An address in 16 bytes: IPv4 in the first 4, then zeros.
pub(crate) fn emit_address(address: IpAddr) -> [u8; 16] {
    match address {
        IpAddr::V4(v4) => {
            let mut bytes = [0; 16];
            bytes[..4].copy_from_slice(&v4.octets());
            bytes
        }
        IpAddr::V6(v6) => v6.octets(),
    }
}

/// The address in 16 bytes. `None` if an IPv4 address has anything behind it.
pub(crate) fn read_address(bytes: &[u8; 16], v4: bool) -> Option<IpAddr> {
    let (head, rest) = bytes.split_first_chunk::<4>()?;
    match v4 {
        true => (*rest == [0; 12]).then_some(IpAddr::from(*head)),
        false => Some(IpAddr::from(*bytes)),
    }
}

/// Decodes a flow as the initiator sees it: `local` is the source.
pub(crate) fn read_flow(reader: &mut Reader<'_>) -> Option<(HostPair, Ports)> {
    let (family, protocol) = (reader.u8()?, reader.u8()?);
    let ports = Ports { protocol, local: reader.u16()?, remote: reader.u16()? };
    if reader.u16()? != 0 {
        return None;
    }
    let source = address(family, reader.array()?)?;
    let destination = address(family, reader.array()?)?;
    Some((HostPair::new(source, destination), ports))
}

fn address(family: u8, bytes: [u8; 16]) -> Option<IpAddr> {
    match (family, bytes) {
        (4, [a, b, c, d, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0]) => {
            Some(Ipv4Addr::new(a, b, c, d).into())
        }
        (6, bytes) => Some(Ipv6Addr::from(bytes).into()),
        _ => None,
    }
}

/// A certificate in its padded field.
pub(crate) fn emit_certificate(certificate: &[u8]) -> [u8; CERTIFICATE_FIELD] {
    assert!(certificate.len() <= CERTIFICATE_MAX, "invariant: certificates were parsed");
    let mut field = [0; CERTIFICATE_FIELD];
    field[..2].copy_from_slice(&(certificate.len() as u16).to_be_bytes());
    field[2..2 + certificate.len()].copy_from_slice(certificate);
    field
}

/// The certificate of a padded field; the padding must be zero.
pub(crate) fn read_certificate(reader: &mut Reader<'_>) -> Option<Vec<u8>> {
    let length = usize::from(reader.u16()?);
    let (certificate, padding) =
        reader.chunk::<CERTIFICATE_MAX>()?.as_slice().split_at_checked(length)?;
    padding.iter().all(|byte| *byte == 0).then(|| certificate.to_vec())
}

pub(crate) fn emit_parameters(parameters: SessionParameters) -> [u8; PARAMETERS_LEN] {
    let mut bytes = [0; PARAMETERS_LEN];
    bytes[..4].copy_from_slice(&parameters.index.0.to_be_bytes());
    bytes[4..6].copy_from_slice(&parameters.data_port.to_be_bytes());
    match parameters.wire.0 {
        IpAddr::V4(v4) => {
            bytes[6] = 4;
            bytes[8..12].copy_from_slice(&v4.octets());
        }
        IpAddr::V6(v6) => {
            bytes[6] = 6;
            bytes[8..].copy_from_slice(&v6.octets());
        }
    }
    bytes
}

pub(crate) fn read_parameters(reader: &mut Reader<'_>) -> Option<SessionParameters> {
    let (index, data_port) = (reader.u32()?, reader.u16()?);
    let (family, zero) = (reader.u8()?, reader.u8()?);
    let wire = WireAddr(address(family, reader.array()?)?);
    let sound = (1..=INDEX_MAX).contains(&index) && data_port != 0 && zero == 0;
    sound.then_some(SessionParameters { index: SessionIndex(index), data_port, wire })
}
