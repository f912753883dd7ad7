//! Sealing and opening of traffic: per lane of a session one [`Sealer`] for the sending direction
//! and one [`Opener`] for the receiving one, the latter kept by [`Openers`].
//!
//! A 64-bit counter numbers the packets. Its high 40 bits choose a subkey, its low 24 bits go into
//! the nonce, so that no AES-GCM key ever seals more than 2^24 packets and no handshake is needed
//! for that. Only the low 32 bits travel (in the [shim](crate::shim)); the receiver infers the rest
//! from its replay window, as IPsec's extended sequence numbers do (RFC 4303 appendix A), and the
//! tag confirms it, because a wrong guess is a wrong nonce or a wrong subkey.
//!
//! ```text
//! counter  | 40 bits: subkey = Expand(PRK(traffic secret), "sub" | high 5 B) | 24 bits: nonce |
//!            in lane 1 to 7:   Expand(PRK(traffic secret), "lane" | lane 1 B | high 5 B)
//! nonce    | 0 0 0 0 0 0 0 0 0 | low 24 bits |        associated data = the shim
//! ```
//! Each lane counts for itself under subkeys of its own, so that no two threads ever share a counter,
//! a key or a replay window (decision 0018).
//!
//! No lock, and no allocation per packet; a subkey is made once in 2^24 packets, half of them
//! ahead. Source: PROTOCOL.md 1.2.

use crate::DropReason;
use crate::crypto::kdf::{Prk, subkey_prk};
use crate::id::{Lane, SessionIndex};
use crate::limits::{FAILED_OPEN_KILL, REJECT_AFTER_MESSAGES, SUBKEY_BITS};
use crate::membership::Secret32;
use crate::replay::ReplayWindow;
pub use crate::shim::TAG_LEN;
use crate::shim::{Kind, SHIM_LEN, Shim};
use aws_lc_rs::aead::{self, AES_256_GCM, Aad, CHACHA20_POLY1305, LessSafeKey, Nonce, UnboundKey};
use core::ops::Range;

/// Bytes that sealing adds to the plaintext: shim and tag.
pub const OVERHEAD: usize = SHIM_LEN + TAG_LEN;

/// Counters in one subkey.
const SUBKEY_SPAN: u64 = 1 << SUBKEY_BITS;

/// Cipher of a session's traffic. Both ends compute it from the two signed certificates, so there
/// is nothing to negotiate down: AES where both machines have it in hardware.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum AeadKind {
    /// AES-256-GCM.
    Aes256Gcm,
    /// ChaCha20-Poly1305.
    ChaCha20Poly1305,
}

impl AeadKind {
    /// AES if both machines have it in hardware.
    #[must_use]
    pub const fn of(one_has_aes: bool, other_has_aes: bool) -> Self {
        if one_has_aes && other_has_aes { Self::Aes256Gcm } else { Self::ChaCha20Poly1305 }
    }

    /// Spelling in logs and JSON.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Aes256Gcm => "aes-256-gcm",
            Self::ChaCha20Poly1305 => "chacha20-poly1305",
        }
    }

    pub(crate) fn algorithm(self) -> &'static aead::Algorithm {
        match self {
            Self::Aes256Gcm => &AES_256_GCM,
            Self::ChaCha20Poly1305 => &CHACHA20_POLY1305,
        }
    }
}

/// The key has sealed as many packets as it may; the session needs new keys.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("the traffic key has reached its packet limit")]
pub struct Exhausted;

/// Seals packets of one direction.
pub struct Sealer {
    subkeys: Subkeys,
    peer_index: SessionIndex,
    counter: u64,
    current: Subkey,
    /// The subkey after `current`, once half of `current` is used.
    next: Option<Subkey>,
}

impl Sealer {
    /// A sealer of [`Lane::ENGINE`] that starts at counter zero. `secret` must seal nothing else;
    /// `peer_index` is the index by which the receiver finds the session.
    #[must_use]
    pub fn new(secret: &Secret32, kind: AeadKind, peer_index: SessionIndex) -> Self {
        Self::starting(Subkeys::new(secret, kind, Lane::ENGINE), peer_index)
    }

    /// The sealer of another lane of the same session, which starts at counter zero. It must be made
    /// once for each lane: a second one would seal other packets under the same nonces.
    pub(crate) fn of_lane(&self, lane: Lane) -> Self {
        Self::starting(self.subkeys.of_lane(lane), self.peer_index)
    }

    fn starting(subkeys: Subkeys, peer_index: SessionIndex) -> Self {
        Self { current: subkeys.derive(0), next: None, subkeys, peer_index, counter: 0 }
    }

    /// Seals in place. `slot` is `| 8 for the shim | plaintext | 16 for the tag |`; all of it is a
    /// datagram afterwards.
    ///
    /// # Errors
    /// [`Exhausted`] at the packet limit; the slot must not be sent then.
    ///
    /// # Panics
    /// If the slot is shorter than [`OVERHEAD`], which is a bug of the caller: it made the slot.
    pub fn seal(
        &mut self,
        kind: Kind,
        partial_checksum: bool,
        slot: &mut [u8],
    ) -> Result<(), Exhausted> {
        assert!(slot.len() >= OVERHEAD, "slot without room for shim and tag");
        if self.counter >= REJECT_AFTER_MESSAGES {
            return Err(Exhausted);
        }
        self.turn();
        let counter_low = self.counter as u32;
        let (lane, index) = (self.subkeys.lane, self.peer_index);
        let shim = Shim { kind, lane, partial_checksum, index, counter_low }.emit();
        let (head, rest) = slot.split_at_mut(SHIM_LEN);
        let (text, tag_space) = rest.split_at_mut(rest.len() - TAG_LEN);
        let tag = self
            .current
            .key
            .seal_in_place_separate_tag(nonce(self.counter), Aad::from(shim), text)
            .map_err(|_| Exhausted)?;
        head.copy_from_slice(&shim);
        tag_space.copy_from_slice(tag.as_ref());
        self.counter += 1;
        Ok(())
    }

    /// Packets sealed so far.
    #[must_use]
    pub const fn sent(&self) -> u64 {
        self.counter
    }

    /// The index by which the receiver finds the session.
    #[must_use]
    pub const fn peer_index(&self) -> SessionIndex {
        self.peer_index
    }

    /// What the fragments of an inner packet may have in common that is sealed now. No other packet of
    /// the session has it, in whichever lane, until half a billion were sealed in one; the next
    /// session's, which may meet an unfinished packet of this one, begin elsewhere.
    pub(crate) fn identification(&self) -> u32 {
        let begin = self.peer_index.0.rotate_left(8);
        let number = (self.counter as u32).wrapping_mul(u32::from(Lane::COUNT));
        begin.wrapping_add(number).wrapping_add(u32::from(self.subkeys.lane.number()))
    }

    /// Makes `current` the subkey of the next counter, and `next` the one after it in time.
    fn turn(&mut self) {
        let high = self.counter >> SUBKEY_BITS;
        if high != self.current.high {
            let made = self.next.take().filter(|next| next.high == high);
            self.current = made.unwrap_or_else(|| self.subkeys.derive(high));
        }
        if self.next.is_none() && self.counter % SUBKEY_SPAN >= SUBKEY_SPAN / 2 {
            self.next = Some(self.subkeys.derive(high + 1));
        }
    }
}

/// What [`Opener::open`] found.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Opened {
    /// What the plaintext is.
    pub kind: Kind,
    /// Whose counter it is.
    pub lane: Lane,
    /// The inner transport checksum is partial.
    pub partial_checksum: bool,
    /// The packet's whole counter.
    pub counter: u64,
    /// Where in the datagram the plaintext is now.
    pub plaintext: Range<usize>,
}

/// Opens packets of one lane of one direction, each at most once.
pub struct Opener {
    subkeys: Subkeys,
    window: ReplayWindow,
    current: Subkey,
    /// The subkey before `current`, for packets that were overtaken.
    previous: Option<Subkey>,
    /// The subkey after `current`, once half of `current` is used.
    next: Option<Subkey>,
    failed: u64,
}

impl Opener {
    /// An opener of [`Lane::ENGINE`] that has seen nothing.
    #[must_use]
    pub fn new(secret: &Secret32, kind: AeadKind) -> Self {
        Self::starting(Subkeys::new(secret, kind, Lane::ENGINE))
    }

    fn starting(subkeys: Subkeys) -> Self {
        Self {
            current: subkeys.derive(0),
            previous: None,
            next: None,
            subkeys,
            window: ReplayWindow::new(),
            failed: 0,
        }
    }

    /// Opens a datagram in place. The window moves only if the tag is right.
    ///
    /// # Errors
    /// `TooShort` or `Malformed` without a readable shim, `Replay`, `BadTag`, or `KeyExhausted`
    /// past the packet limit or after too many wrong tags. The datagram's content is undefined
    /// then.
    pub fn open(&mut self, datagram: &mut [u8]) -> Result<Opened, DropReason> {
        if datagram.len() < OVERHEAD {
            return Err(DropReason::TooShort);
        }
        let shim = Shim::parse(datagram).ok_or(DropReason::Malformed)?;
        let counter = infer_counter(self.window.limit(), shim.counter_low);
        if counter >= REJECT_AFTER_MESSAGES || self.failed >= FAILED_OPEN_KILL {
            return Err(DropReason::KeyExhausted);
        }
        if !self.window.check(counter) {
            return Err(DropReason::Replay);
        }
        let (aad, sealed) = datagram.split_at_mut(SHIM_LEN);
        let length = self.open_sealed(counter, aad, sealed)?;
        self.window.commit(counter);
        Ok(Opened {
            kind: shim.kind,
            lane: shim.lane,
            partial_checksum: shim.partial_checksum,
            counter,
            plaintext: SHIM_LEN..SHIM_LEN + length,
        })
    }

    /// Datagrams whose tag was wrong. [`FAILED_OPEN_REKEY`](crate::limits::FAILED_OPEN_REKEY) of
    /// them ask for new keys.
    #[must_use]
    pub const fn failed_openings(&self) -> u64 {
        self.failed
    }

    /// Packets opened so far, seen from their counters: the highest plus one.
    #[must_use]
    pub const fn highest(&self) -> u64 {
        self.window.limit()
    }

    fn open_sealed(
        &mut self,
        counter: u64,
        aad: &[u8],
        sealed: &mut [u8],
    ) -> Result<usize, DropReason> {
        let high = counter >> SUBKEY_BITS;
        let kept = [Some(&self.current), self.previous.as_ref(), self.next.as_ref()];
        let known = kept.into_iter().flatten().find(|subkey| subkey.high == high);
        let mut made = None;
        let subkey = match known {
            Some(subkey) => subkey,
            None => made.insert(self.subkeys.derive(high)),
        };
        let opened = subkey.key.open_in_place(nonce(counter), Aad::from(aad), sealed);
        let Ok(length) = opened.map(|plaintext| plaintext.len()) else {
            self.failed += 1;
            return Err(DropReason::BadTag);
        };
        self.turn(counter, made);
        Ok(length)
    }

    /// After an authentic packet: moves on to its subkey if it is newer, and prepares the next.
    fn turn(&mut self, counter: u64, made: Option<Subkey>) {
        let high = counter >> SUBKEY_BITS;
        if high > self.current.high {
            let next = self.next.take().filter(|next| next.high == high);
            let subkey = next.or(made).unwrap_or_else(|| self.subkeys.derive(high));
            self.previous = Some(core::mem::replace(&mut self.current, subkey));
        } else if let Some(late) = made {
            self.previous = Some(late);
        }
        let half_used = counter % SUBKEY_SPAN >= SUBKEY_SPAN / 2;
        if high == self.current.high && half_used && self.next.is_none() {
            self.next = Some(self.subkeys.derive(high + 1));
        }
    }
}

/// The openers of one direction of a session, one per lane, as one thread has them. Those of lanes
/// that were never used are not made: an opener is two kilobytes.
pub struct Openers {
    /// Of the thread's own lane, which most packets are in.
    first: Opener,
    others: [Option<Box<Opener>>; Lane::COUNT as usize],
}

impl Openers {
    /// Openers that have seen nothing, for the engine.
    #[must_use]
    pub fn new(secret: &Secret32, kind: AeadKind) -> Self {
        Self::starting(Opener::new(secret, kind))
    }

    /// The same keys for the thread whose lane is `lane`. No two threads may open the same lane, or a
    /// packet could be opened twice.
    pub(crate) fn of_thread(&self, lane: Lane) -> Self {
        Self::starting(Opener::starting(self.first.subkeys.of_lane(lane)))
    }

    fn starting(first: Opener) -> Self {
        Self { first, others: [const { None }; Lane::COUNT as usize] }
    }

    /// Opens a datagram in place, in the lane that it names.
    ///
    /// # Errors
    /// As [`Opener::open`].
    pub fn open(&mut self, datagram: &mut [u8]) -> Result<Opened, DropReason> {
        let shim = Shim::parse(datagram).ok_or(DropReason::TooShort)?;
        let Self { first, others } = self;
        if shim.lane == first.subkeys.lane {
            return first.open(datagram);
        }
        others[usize::from(shim.lane.number())]
            .get_or_insert_with(|| Box::new(Opener::starting(first.subkeys.of_lane(shim.lane))))
            .open(datagram)
    }

    /// Datagrams whose tag was wrong, in all lanes.
    #[must_use]
    pub fn failed_openings(&self) -> u64 {
        let others = self.others.iter().flatten().map(|opener| opener.failed_openings());
        self.first.failed_openings() + others.sum::<u64>()
    }

    /// Packets opened so far in a lane, seen from their counters: the highest plus one.
    #[must_use]
    pub fn highest(&self, lane: Lane) -> u64 {
        if lane == self.first.subkeys.lane {
            return self.first.highest();
        }
        self.others[usize::from(lane.number())].as_ref().map_or(0, |opener| opener.highest())
    }
}

/// One key of 2^24 packets.
struct Subkey {
    high: u64,
    key: LessSafeKey,
}

/// Where the subkeys of a lane come from.
struct Subkeys {
    prk: Prk,
    kind: AeadKind,
    lane: Lane,
}

impl Subkeys {
    fn new(secret: &Secret32, kind: AeadKind, lane: Lane) -> Self {
        Self { prk: subkey_prk(secret), kind, lane }
    }

    fn of_lane(&self, lane: Lane) -> Self {
        Self { prk: self.prk.clone(), kind: self.kind, lane }
    }

    fn derive(&self, high: u64) -> Subkey {
        let [_, _, _, number @ ..] = high.to_be_bytes();
        let key = if self.lane == Lane::ENGINE {
            self.prk.expand("sub", &number)
        } else {
            let [n0, n1, n2, n3, n4] = number;
            self.prk.expand("lane", &[self.lane.number(), n0, n1, n2, n3, n4])
        };
        let key = UnboundKey::new(self.kind.algorithm(), &key.0)
            .expect("invariant: both algorithms take 32-byte keys");
        Subkey { high, key: LessSafeKey::new(key) }
    }
}

/// Nonce of a counter under its subkey.
fn nonce(counter: u64) -> Nonce {
    let mut bytes = [0; 12];
    bytes[9..].copy_from_slice(&counter.to_be_bytes()[5..]);
    Nonce::assume_unique_for_key(bytes)
}

/// The counter with these low 32 bits that is nearest to `expected`.
const fn infer_counter(expected: u64, low: u32) -> u64 {
    const HALF: u64 = 1 << 31;
    const WHOLE: u64 = 1 << 32;
    let guess = (expected & !(WHOLE - 1)) | low as u64;
    if guess.saturating_add(HALF) < expected {
        guess.saturating_add(WHOLE)
    } else if guess > expected.saturating_add(HALF) && guess >= WHOLE {
        guess - WHOLE
    } else {
        guess
    }
}

#[cfg(test)]
mod tests;
