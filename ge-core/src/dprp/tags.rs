//! Tags by which members of a group recognise each other's messages, and `mac1`.
//!
//! ```text
//! digest      = SHA-256("gscip/1 dde" | e_i | time stamp | flow)
//! tag in DDE  = HMAC(K_tag, "dde" | digest)[0..16]
//! rtag        = HMAC(K_tag, "rgi" | digest | e_r)[0..16]     which group the responder chose
//! tag in RGI  = HMAC(K_tag, "path" | digest | e_r)[0..8]     for members between the ends
//! in NOMATCH  = HMAC(K_tag, "nomatch" | e_i)[0..8]           the same
//! mac1        = HMAC(K_mac1, everything before it)[0..16]
//! ```
//!
//! A tag covers the fresh ephemeral key, so that none can be moved to another message, and to
//! anybody without the group's key it is random.

use crate::crypto::{self, Rng, kdf};
use crate::limits::TAG_SLOTS;
use crate::membership::Secret32;
use crate::now::UnixTime;
use crate::wire::dprp::dde::Tags;
use crate::wire::dprp::rgi::{SHORT_TAG, ShortTags};
use crate::wire::dprp::{FLOW_LEN, MAC_LEN};
use rand_core::Rng as _;

/// Binds what a DDE says: ephemeral key, time, flow.
pub(super) fn dde_digest(e_i: &[u8; 32], timestamp: UnixTime, flow: &[u8; FLOW_LEN]) -> [u8; 32] {
    crypto::sha256(&[b"gscip/1 dde", e_i, &timestamp.0.to_be_bytes(), flow])
}

pub(super) fn dde_tag(tag_key: &Secret32, digest: &[u8; 32]) -> [u8; MAC_LEN] {
    kdf::short_hmac(tag_key, &[b"dde", digest])
}

pub(super) fn rgi_tag(tag_key: &Secret32, digest: &[u8; 32], e_r: &[u8; 32]) -> [u8; MAC_LEN] {
    kdf::short_hmac(tag_key, &[b"rgi", digest, e_r])
}

pub(super) fn path_tag(tag_key: &Secret32, digest: &[u8; 32], e_r: &[u8; 32]) -> [u8; SHORT_TAG] {
    kdf::short_hmac(tag_key, &[b"path", digest, e_r])
}

pub(super) fn nomatch_tag(tag_key: &Secret32, e_i: &[u8; 32]) -> [u8; SHORT_TAG] {
    kdf::short_hmac(tag_key, &[b"nomatch", e_i])
}

/// Which slots hold one of `tags`, a bit each.
pub(super) fn matching<const N: usize>(
    slots: &[[u8; N]; TAG_SLOTS],
    tags: impl Iterator<Item = [u8; N]>,
) -> u8 {
    tags.fold(0, |bits, tag| {
        slots
            .iter()
            .enumerate()
            .fold(bits, |bits, (at, slot)| bits | u8::from(kdf::same(slot, &tag)) << at)
    })
}

/// Puts up to eight tags into slots in random order; the rest is random.
pub(super) fn fill_slots<const N: usize>(
    tags: impl IntoIterator<Item = [u8; N]>,
    rng: &mut Rng,
) -> [[u8; N]; TAG_SLOTS] {
    let mut slots = [[0; N]; TAG_SLOTS];
    rng.fill_bytes(slots.as_flattened_mut());
    for (slot, tag) in slots.iter_mut().zip(tags) {
        *slot = tag;
    }
    for last in (1..TAG_SLOTS).rev() {
        slots.swap(last, below(rng, last as u64 + 1));
    }
    slots
}

/// True if one of the slots holds `tag`; the time does not depend on which.
pub(super) fn holds<const N: usize>(slots: &[[u8; N]; TAG_SLOTS], tag: &[u8; N]) -> bool {
    slots.iter().fold(false, |found, slot| found | kdf::same(slot, tag))
}

/// The slots of a DDE as its RGI repeats them for the path.
pub(super) fn shorten(tags: &Tags) -> ShortTags {
    tags.map(|tag| short(&tag))
}

pub(super) fn short(tag: &[u8; MAC_LEN]) -> [u8; SHORT_TAG] {
    let mut short = [0; SHORT_TAG];
    short.copy_from_slice(&tag[..SHORT_TAG]);
    short
}

/// Appends `mac1` to a message.
pub(super) fn append_mac1(message: &mut Vec<u8>, mac1_key: &Secret32) {
    let mac1: [u8; MAC_LEN] = kdf::short_hmac(mac1_key, &[message]);
    message.extend_from_slice(&mac1);
}

pub(super) fn mac1_is_right(mac1_key: &Secret32, covered: &[u8], mac1: &[u8; MAC_LEN]) -> bool {
    let right: [u8; MAC_LEN] = kdf::short_hmac(mac1_key, &[covered]);
    kdf::same(&right, mac1)
}

/// A number below `bound`. The bias of the remainder (2^-61) is far below what a shuffle of eight
/// could show.
fn below(rng: &mut Rng, bound: u64) -> usize {
    (rng.next_u64() % bound) as usize
}
