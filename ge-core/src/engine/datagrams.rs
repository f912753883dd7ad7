//! Sealed datagrams that arrived on the data port: open them and rebuild the inner packets.

use super::Engine;
use super::carrier::is_message;
use super::sessions::Session;
use crate::coalesce::Gather;
use crate::data::deliver;
use crate::id::{Lane, SessionIndex};
use crate::io::{DatagramMeta, Received};
use crate::shim::{Kind, Shim};
use crate::{DropReason, Now};
use core::ops::Range;

/// What the datagrams of one call brought, per session.
#[derive(Default)]
pub(super) struct Tally {
    packets: u64,
    bytes: usize,
}

impl Engine {
    /// Opens the datagrams of what arrived by one interface, in order, and hands the inner packets to
    /// `sink`, merged into super-packets where they belong together.
    pub fn datagrams(
        &mut self,
        buffer: &mut [u8],
        received: &[Received],
        now: Now,
        sink: &mut impl FnMut(Gather<'_>),
    ) {
        let mut touched = std::mem::take(&mut self.touched);
        for each in received {
            let mut controls: Vec<(SessionIndex, Vec<u8>)> = Vec::new();
            let mut messages: Vec<Range<usize>> = Vec::new();
            for range in each.datagrams() {
                if is_message(&buffer[range.clone()]) {
                    messages.push(range);
                    continue;
                }
                match self.open_one(buffer, range, &each.meta, now, sink) {
                    Ok((index, Content::Control(body))) => controls.push((index, body)),
                    Ok((index, Content::Data(bytes))) => tally(&mut touched, index, bytes),
                    Ok((_, Content::Early | Content::Elsewhere)) => {}
                    Err(reason) => self.dropped_in(reason),
                }
            }
            if controls.is_empty() && messages.is_empty() {
                continue;
            }
            // What they change, the data that came next finds changed.
            self.coalescer.flush(buffer, sink);
            self.account_all(&mut touched, now);
            for (index, body) in controls {
                self.account(index, &Tally::default(), now);
                self.consume_control(index, &body, now);
            }
            for range in messages {
                self.message_on_port(&buffer[range], &each.meta, now);
            }
        }
        self.coalescer.flush(buffer, sink);
        self.account_all(&mut touched, now);
        self.touched = touched;
    }

    fn account_all(&mut self, touched: &mut Vec<(SessionIndex, Tally)>, now: Now) {
        for (index, tally) in touched.drain(..) {
            self.account(index, &tally, now);
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
        if shim.lane != Lane::ENGINE && self.opened_beside((shim.index, shim.lane), datagram, meta)
        {
            return Ok((shim.index, Content::Elsewhere));
        }
        let Some(session) = self.sessions.get_mut(shim.index) else {
            self.keep_early(shim.index, datagram, meta)?;
            return Ok((shim.index, Content::Early));
        };
        let opened = session.openers.open(datagram)?;
        let plaintext = start + opened.plaintext.start..start + opened.plaintext.end;
        let bytes = plaintext.len();
        session.received(now.mono, opened.kind != Kind::Control);
        let moved = session.path.translated.is_some()
            && opened.counter + 1 == session.openers.highest(opened.lane)
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
            Kind::Transport | Kind::Tunnel => {
                let (ends, coalescer) = (session.ends(), &mut self.coalescer);
                deliver(&ends, coalescer, buffer, plaintext, &opened, meta, sink)?;
            }
        }
        Ok((shim.index, Content::Data(bytes)))
    }

    /// Book-keeping once per call: counters, row, and the fact that the peer has these keys.
    fn account(&mut self, index: SessionIndex, tally: &Tally, now: Now) {
        self.counters.opened.0 += tally.packets;
        self.counters.opened.1 += tally.bytes as u64;
        let Some(session) = self.sessions.get(index) else { return };
        let (pair, rests) = (session.pair, session.is_left_alone(now.mono));
        if rests {
            self.keep_looking(index, now);
        }
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
    /// Another thread opens it.
    Elsewhere,
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
