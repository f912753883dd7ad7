//! Handing an opened packet, maybe merged from many, to the local stack.

use crate::ledger::{Ledger, Place};
use crate::offload::Offload;
use ge_core::coalesce::{Gather, PIECES_MAX};
use ge_core::unmerge::unmerge;
use ge_core::wire::ip::parse_truncated;
use ge_core::wire::protocol;
use ge_core::wire::vnet::VnetHeader;
use std::io::{self, IoSlice};

/// Writes `gather` by `write`. If that refuses a merged packet as such, its packets are written
/// one by one, in order, and no more are to be merged; what is not written is counted.
pub(super) fn deliver(
    gather: &Gather<'_>,
    ledger: &Ledger,
    mut write: impl FnMut(&[IoSlice<'_>]) -> io::Result<usize>,
) {
    let mut usual = [IoSlice::new(&[]); 2 + PIECES_MAX];
    let mut longer = Vec::new(); // never ours
    let slices = match usual.get_mut(..2 + gather.payload.len()) {
        Some(slices) => slices,
        None => {
            longer.resize(2 + gather.payload.len(), IoSlice::new(&[]));
            &mut longer[..]
        }
    };
    slices[0] = IoSlice::new(&gather.vnet);
    slices[1] = IoSlice::new(gather.header);
    for (slice, range) in slices[2..].iter_mut().zip(gather.payload) {
        *slice = IoSlice::new(&gather.buffer[range.clone()]);
    }
    let Err(error) = write(slices) else { return };
    let lost = |packets: u64, error: &io::Error| ledger.losses.add(Place::Deliver, packets, error);
    let refused = matches!(error.raw_os_error(), Some(libc::EINVAL | libc::EIO));
    if !gather.is_merged() || !refused {
        return lost(gather.payload.len() as u64, &error);
    }
    let Ok(vnet) = VnetHeader::parse(&gather.vnet) else {
        return lost(gather.payload.len() as u64, &error);
    };
    let mut written = 0;
    let pieces = unmerge(&vnet, &gather.to_vec(), &mut |vnet, packet| match write(&[
        IoSlice::new(&vnet.emit()),
        IoSlice::new(packet),
    ]) {
        Ok(_) => written += 1,
        Err(error) => lost(1, &error),
    });
    if pieces.is_err() {
        lost(gather.payload.len() as u64, &error);
    }
    // What fails singly too (the device is down) says nothing about merging.
    if written > 0 {
        ledger.fell_back(kind(gather), &error, written);
    }
}

fn kind(gather: &Gather<'_>) -> Offload {
    match parse_truncated(gather.header) {
        Ok(view) if view.protocol == protocol::UDP => Offload::MergeUdp,
        _ => Offload::MergeTcp,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ledger::{Cause, State};
    use ge_core::coalesce::Coalescer;
    use std::net::IpAddr;

    /// `count` packets of one flow, merged, and the packets themselves with their vnet headers.
    fn merged(protocol: u8, count: u8, then: impl FnOnce(&Gather<'_>)) {
        let (from, to): (IpAddr, IpAddr) = ([10, 9, 0, 1].into(), [10, 9, 0, 2].into());
        let (mut buffer, mut places) = (Vec::new(), Vec::new());
        for number in 0..count {
            let mut upper = [0_u8; 40];
            let header = if protocol == protocol::UDP {
                upper[5] = 28;
                8
            } else {
                upper[7] = number * 20; // sequence
                upper[12] = 0x50;
                upper[13] = 0x10;
                20
            };
            upper[header..header + 20].fill(number);
            let start = buffer.len();
            buffer.extend_from_slice(&upper[..header + 20]);
            places.push(start..buffer.len());
        }
        let mut coalescer = Coalescer::new();
        coalescer.merge_datagrams(true);
        let mut then = Some(then);
        let mut sink = |gather: Gather<'_>| {
            assert_eq!(gather.payload.len(), usize::from(count));
            then.take().expect("one merged packet")(&gather);
        };
        for place in places {
            let mut header = [0; ge_core::wire::ip::HEADER_MAX];
            let len =
                ge_core::wire::ip::emit_header(&mut header, from, to, protocol, place.len(), 0, 64);
            coalescer.push(&buffer, &header[..len], place, true, &mut sink);
        }
        coalescer.flush(&buffer, &mut sink);
    }

    fn error<T>(number: i32) -> io::Result<T> {
        Err(io::Error::from_raw_os_error(number))
    }

    #[test]
    fn a_refused_merge_is_written_singly_in_order_and_counted() {
        for (protocol, offload) in
            [(protocol::TCP, Offload::MergeTcp), (protocol::UDP, Offload::MergeUdp)]
        {
            for number in [libc::EINVAL, libc::EIO] {
                let ledger = Ledger::default();
                let mut written = Vec::new();
                merged(protocol, 7, |gather| {
                    deliver(gather, &ledger, |slices| {
                        if slices.len() > 2 {
                            return error(number);
                        }
                        let packet = &slices[1];
                        assert_eq!(slices[0][1], 0, "gso_type");
                        written.push(packet[packet.len() - 1]);
                        Ok(packet.len())
                    });
                });
                assert_eq!(written, [0, 1, 2, 3, 4, 5, 6]);
                assert_eq!(ledger.state(offload), State::FellBack(number));
                assert_eq!(ledger.offloads()[offload as usize].replayed, 7);
                assert_eq!(ledger.losses.all().map(|(_, _, count)| count).sum::<u64>(), 0);
            }
        }
    }

    #[test]
    fn a_device_that_is_down_does_not_end_merging() {
        let ledger = Ledger::default();
        merged(protocol::TCP, 7, |gather| deliver(gather, &ledger, |_| error(libc::EIO)));
        assert_eq!(ledger.state(Offload::MergeTcp), State::On);
        assert_eq!(ledger.losses.get(Place::Deliver, Cause::Down), 7);
    }

    #[test]
    fn other_errors_are_counted_by_packet_and_not_tried_again() {
        let ledger = Ledger::default();
        let mut asked = 0;
        merged(protocol::UDP, 7, |gather| {
            deliver(gather, &ledger, |_| {
                asked += 1;
                error(libc::ENOMEM)
            });
        });
        assert_eq!((asked, ledger.losses.get(Place::Deliver, Cause::NoMemory)), (1, 7));
        assert!(ledger.is_on(Offload::MergeUdp));
    }
}
