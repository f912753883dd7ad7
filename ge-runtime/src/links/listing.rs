//! A listing of kernel objects, put together from the parts that the kernel sends.

use netlink_packet_core::{NetlinkMessage, NetlinkPayload};
use netlink_packet_route::RouteNetlinkMessage;
use std::io;

/// `NLM_F_DUMP_INTR`: something changed while the kernel was listing.
const INTERRUPTED: u16 = 0x10;

/// What has arrived of a listing.
#[derive(Debug, Default)]
pub struct Listing {
    /// The objects so far.
    pub objects: Vec<RouteNetlinkMessage>,
    /// They are not of one moment: list again.
    pub interrupted: bool,
    /// That was all.
    pub ended: bool,
}

impl Listing {
    /// Takes one received part: messages, each padded to 4 bytes. What follows the end is not read.
    ///
    /// # Errors
    /// The kernel refused, or this is no netlink.
    pub fn take(&mut self, part: &[u8]) -> io::Result<()> {
        let mut rest = part;
        while !rest.is_empty() && !self.ended {
            let message = NetlinkMessage::<RouteNetlinkMessage>::deserialize(rest)
                .map_err(|error| io::Error::new(io::ErrorKind::InvalidData, error.to_string()))?;
            self.interrupted |= message.header.flags & INTERRUPTED != 0;
            let length = usize::try_from(message.header.length).unwrap_or(usize::MAX);
            rest = rest.get(length.next_multiple_of(4)..).unwrap_or(&[]);
            match message.payload {
                NetlinkPayload::Done(_) => self.ended = true,
                // Not `to_io`, which overflows on the least number.
                NetlinkPayload::Error(error) => {
                    let errno = error.raw_code().saturating_neg();
                    return Err(io::Error::from_raw_os_error(errno));
                }
                NetlinkPayload::InnerMessage(object) => self.objects.push(object),
                _ => {}
            }
        }
        Ok(())
    }
}
