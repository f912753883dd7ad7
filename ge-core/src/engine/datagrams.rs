//! Sealed datagrams that arrived on the data port: open them and rebuild the inner packets.

use super::Engine;
use super::carrier::is_message;
use super::sessions::Session;
use crate::coalesce::{Coalescer, Gather};
use crate::id::SessionIndex;
use crate::io::DatagramMeta;
use crate::shim::{Kind, Shim};
use crate::traffic::Opened;
use crate::translate::{Place, translate, translate_upper};
use crate::wire::ip::{self, combine_ecn, emit_header};
use crate::{DropReason, Now};
use core::ops::Range;

/// Hop limit of a rebuilt inner packet: it ends here, so only its being large enough matters.
const REBUILT_HOP_LIMIT: u8 = 64;

/// What one buffer of datagrams brought, per session.
#[derive(Default)]
struct Tally {
    packets: u64,
    bytes: usize,
}

impl Engine {
    /// Opens the datagrams in `buffer`, each `segment` bytes long but the last, and hands the
    /// inner packets to `sink`, merged into super-packets where they belong together.
    pub fn datagrams(
        &mut self,
        buffer: &mut [u8],
        segment: usize,
        meta: &DatagramMeta,
        now: Now,
        sink: &mut impl FnMut(Gather<'_>),
    ) {
        let mut controls: Vec<(SessionIndex, Vec<u8>)> = Vec::new();
        let mut touched: Vec<(SessionIndex, Tally)> = Vec::new();
        let mut messages: Vec<Range<usize>> = Vec::new();
        let mut start = 0;
        while start < buffer.len() && segment > 0 {
            let range = start..buffer.len().min(start + segment);
            start = range.end;
            if is_message(&buffer[range.clone()]) {
                messages.push(range);
                continue;
            }
            match self.open_one(buffer, range, meta, now, sink) {
                Ok((index, Content::Control(body))) => controls.push((index, body)),
                Ok((index, Content::Data(bytes))) => tally(&mut touched, index, bytes),
                Ok((_, Content::Early)) => {}
                Err(reason) => self.dropped_in(reason),
            }
        }
        self.coalescer.flush(buffer, sink);
        for (index, tally) in touched {
            self.account(index, &tally, now);
        }
        for (index, body) in controls {
            self.account(index, &Tally::default(), now);
            self.consume_control(index, &body, now);
        }
        for range in messages {
            self.message_on_port(&buffer[range], meta, now);
        }
    }

    fn open_one(
        &mut self,
        buffer: &mut [u8],
        range: Range<usize>,
        meta: &DatagramMeta,
        now: Now,
        sink: &mut impl FnMut(Gather<'_>),
    ) -> Result<(SessionIndex, Content), DropReason> {
        let start = range.start;
        let datagram = &mut buffer[range];
        let shim = Shim::parse(datagram).ok_or(DropReason::TooShort)?;
        let Some(session) = self.sessions.get_mut(shim.index) else {
            self.keep_early(shim.index, datagram, meta)?;
            return Ok((shim.index, Content::Early));
        };
        let opened = session.opener.open(datagram)?;
        let plaintext = start + opened.plaintext.start..start + opened.plaintext.end;
        let bytes = plaintext.len();
        session.received(now.mono, opened.kind != Kind::Control);
        let moved = session.path.translated.is_some()
            && opened.counter + 1 == session.opener.highest()
            && (session.wire[1], session.peer_port) != (meta.from, meta.from_port);
        let session: &Session = if moved {
            // The newest of all is from where the peer's NAT has it now.
            self.sessions.move_peer(shim.index, meta.from, meta.from_port);
            self.sessions.get(shim.index).ok_or(DropReason::NoSession)?
        } else {
            session
        };
        match opened.kind {
            Kind::Control => {
                return Ok((shim.index, Content::Control(buffer[plaintext].to_vec())));
            }
            Kind::Transport => {
                let coalescer = &mut self.coalescer;
                rebuild(session, coalescer, buffer, plaintext, &opened, meta, sink)?;
            }
            Kind::Tunnel => {
                let coalescer = &mut self.coalescer;
                unwrap_tunnel(session, coalescer, buffer, plaintext, &opened, meta, sink)?;
            }
        }
        Ok((shim.index, Content::Data(bytes)))
    }

    /// Book-keeping once per buffer: counters, row, and the fact that the peer has these keys.
    fn account(&mut self, index: SessionIndex, tally: &Tally, now: Now) {
        self.counters.opened.0 += tally.packets;
        self.counters.opened.1 += tally.bytes as u64;
        let Some(pair) = self.sessions.get(index).map(|session| session.pair) else { return };
        let Some(row) = self.pit.get_mut(pair) else { return };
        if tally.packets > 0 {
            row.count_in(tally.packets, tally.bytes, now.mono);
        }
        let awaits = row.protected().is_some_and(|protected| {
            protected.next == Some(index)
                || protected.rekey.as_ref().is_some_and(|n| n.index == index)
        });
        if awaits {
            self.confirmed(pair, index, now);
        }
    }
}

enum Content {
    Control(Vec<u8>),
    Data(usize),
    /// Waits for its session.
    Early,
}

fn tally(touched: &mut Vec<(SessionIndex, Tally)>, index: SessionIndex, bytes: usize) {
    let known = touched.iter().position(|(known, _)| *known == index);
    let at = known.unwrap_or_else(|| {
        touched.push((index, Tally::default()));
        touched.len() - 1
    });
    touched[at].1.packets += 1;
    touched[at].1.bytes += bytes;
}

/// `transport`: the IP header is rebuilt from what both ends agreed on, never from the wire.
fn rebuild(
    session: &Session,
    coalescer: &mut Coalescer,
    buffer: &mut [u8],
    plaintext: Range<usize>,
    opened: &Opened,
    meta: &DatagramMeta,
    sink: &mut impl FnMut(Gather<'_>),
) -> Result<(), DropReason> {
    let Some(&protocol) = buffer[plaintext.clone()].last() else {
        return Err(DropReason::TooShort);
    };
    let l4 = plaintext.start..plaintext.end - 1;
    let partial = opened.partial_checksum;
    if let Some(own) = session.path.translated {
        let upper = &mut buffer[l4.clone()];
        translate_upper(upper, protocol, (own, session.pair.remote.0), partial);
    }
    let mut header = [0; 40];
    let len = emit_header(
        &mut header,
        session.pair.remote.0,
        session.pair.local.0,
        protocol,
        l4.len(),
        meta.tos,
        REBUILT_HOP_LIMIT,
    );
    coalescer.push(buffer, &header[..len], l4, partial, sink);
    Ok(())
}

/// `tunnel`: the inner packet must be between exactly the two hosts of the session.
fn unwrap_tunnel(
    session: &Session,
    coalescer: &mut Coalescer,
    buffer: &mut [u8],
    plaintext: Range<usize>,
    opened: &Opened,
    meta: &DatagramMeta,
    sink: &mut impl FnMut(Gather<'_>),
) -> Result<(), DropReason> {
    let start = plaintext.start;
    let packet = &mut buffer[plaintext];
    let view = ip::parse(packet).map_err(|_| DropReason::Malformed)?;
    let own = session.path.translated.unwrap_or(session.pair.remote.0);
    if view.source != own || view.destination != session.pair.local.0 {
        return Err(DropReason::WrongInner);
    }
    if own != session.pair.remote.0 {
        let change = (own, session.pair.remote.0);
        translate(packet, &view, Place::Source, change, opened.partial_checksum);
    }
    let tos = combine_ecn(view.tos, meta.tos).ok_or(DropReason::Malformed)?;
    if tos != view.tos {
        ip::set_tos(packet, tos);
    }
    // A copy, because the coalescer reads the rest of the buffer at the same time; rare traffic.
    let header = packet[..view.header_len].to_vec();
    let l4 = start + view.header_len..start + view.total_len;
    coalescer.push(buffer, &header, l4, opened.partial_checksum, sink);
    Ok(())
}
