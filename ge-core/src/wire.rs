//! Codecs of the formats that exist without us: IP, ICMP, TCP options, the Internet checksum and
//! the kernel's virtio-net header.
//!
//! A codec reads a slice into a small `Copy` view once; after that, code works with the view and
//! never looks at the raw header again. Every offset is checked against the slice, because any of
//! these bytes may come from a stranger. Malformed input is a value, [`Malformed`], never a panic.

pub mod checksum;
pub mod dprp;
pub mod icmp;
pub mod ip;
pub mod ipv4;
pub mod ipv6;
pub mod tcp;
pub(crate) mod transport;
pub mod udp;
pub mod vnet;

/// Why bytes are not a packet we can read.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Malformed {
    /// The bytes end before the format does.
    #[error("shorter than its format needs")]
    TooShort,
    /// The first nibble is neither 4 nor 6.
    #[error("not IP version 4 or 6")]
    Version,
    /// A header or total length contradicts another one.
    #[error("lengths contradict each other")]
    Length,
    /// IPv6 extension headers in a forbidden order, repeated, or too many.
    #[error("extension headers out of order or too many")]
    ExtensionHeaders,
    /// Larger than 65,535 bytes of payload (RFC 2675, Linux "BIG TCP").
    #[error("jumbogram")]
    Jumbogram,
    /// An IPv4-mapped IPv6 address, which must never be on a wire (RFC 4291 2.5.5.2).
    #[error("IPv4-mapped address on the wire")]
    MappedAddress,
    /// An offload request in the virtio-net header that does not fit the packet.
    #[error("offload request does not fit the packet")]
    Offload,
    /// A checksum that does not verify where we must rely on it.
    #[error("checksum does not verify")]
    Checksum,
}

/// IP protocol numbers used here (IANA).
pub mod protocol {
    /// Internet Control Message Protocol.
    pub const ICMP: u8 = 1;
    /// Internet Group Management Protocol.
    pub const IGMP: u8 = 2;
    /// Transmission Control Protocol.
    pub const TCP: u8 = 6;
    /// User Datagram Protocol.
    pub const UDP: u8 = 17;
    /// Datagram Congestion Control Protocol.
    pub const DCCP: u8 = 33;
    /// ICMP for IPv6.
    pub const ICMPV6: u8 = 58;
    /// Stream Control Transmission Protocol.
    pub const SCTP: u8 = 132;
    /// UDP-Lite.
    pub const UDP_LITE: u8 = 136;
}

/// Big-endian 16 bits at `at`.
pub(crate) fn read_u16(bytes: &[u8], at: usize) -> Option<u16> {
    let end = at.checked_add(2)?;
    Some(u16::from_be_bytes(bytes.get(at..end)?.try_into().ok()?))
}

/// Big-endian 32 bits at `at`.
pub(crate) fn read_u32(bytes: &[u8], at: usize) -> Option<u32> {
    let end = at.checked_add(4)?;
    Some(u32::from_be_bytes(bytes.get(at..end)?.try_into().ok()?))
}

/// Stores `value` big-endian at `at`; does nothing where it does not fit.
pub(crate) fn write_u16(bytes: &mut [u8], at: usize, value: u16) {
    if let Some(field) = bytes.get_mut(at..at.saturating_add(2)) {
        field.copy_from_slice(&value.to_be_bytes());
    }
}

/// Stores `value` big-endian at `at`; does nothing where it does not fit.
pub(crate) fn write_u32(bytes: &mut [u8], at: usize, value: u32) {
    if let Some(field) = bytes.get_mut(at..at.saturating_add(4)) {
        field.copy_from_slice(&value.to_be_bytes());
    }
}
