//! What a format that keeps the TCP header (`native`) would bring, measured against the one that
//! puts segments into datagrams: one end of a tunnel that only seals, in either format.
//!
//! ```text
//! datagrams   IP | UDP 8 | shim 8 | sealed{ TCP header, data, protocol 1 } | tag 16 |   33 bytes
//! native      IP | TCP header     | shim 8 | sealed{ data } | tag 16 |                   24 bytes
//! explicit    IP | TCP header     | shim 8 | sealed{ two numbers 8, data } | tag 16 |    32 bytes
//! ```
//! `cargo xtask bench native` runs two of them on the real kernel; `docs/decisions/0019-native.md`
//! says what came of it. Every packet is sealed, SYN, acknowledgements and resets too, which then carry
//! 24 bytes. The header itself is *not* under the seal here, which a product would need: it makes the
//! format look a little cheaper than it is.

mod count;
mod end;
mod explicit;
mod flow;
mod header;
mod stretch;
mod tcp_shaped;
#[cfg(test)]
mod tests;
mod udp_shaped;
mod wire_frame;

use anyhow::{Result, bail};

/// How TCP travels.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Format {
    /// As it came, through the hook all the same.
    Plain,
    /// In datagrams.
    Datagrams,
    /// In its own shape, numbers and windows stretched.
    Stretched,
    /// The same with windows as the stack announces them.
    NarrowWindows,
    /// In its own shape with the stream's own numbers: segments overlap by 24 bytes, and the kernel
    /// neither cuts nor merges them.
    OwnNumbers,
    /// In its own shape, the stream's own numbers sealed with the data.
    Explicit,
}

/// Which of the two ends.
#[derive(Clone, Copy)]
enum Side {
    First,
    Second,
}

/// `FORMAT DEVICE first|second`: works until SIGTERM.
pub(crate) fn end(format: &str, device: &str, side: &str) -> Result<()> {
    let format = match format {
        "plain" => Format::Plain,
        "datagrams" => Format::Datagrams,
        "native" => Format::Stretched,
        "narrow-windows" => Format::NarrowWindows,
        "own-numbers" => Format::OwnNumbers,
        "explicit" => Format::Explicit,
        _ => bail!("no format {format}"),
    };
    let side = match side {
        "first" => Side::First,
        "second" => Side::Second,
        _ => bail!("a side is first or second"),
    };
    end::End::open(format, device, side)?.run()
}
