//! Subkeys, inferred counters, replay and tampering, for both ciphers.

use super::*;

const KINDS: [AeadKind; 2] = [AeadKind::Aes256Gcm, AeadKind::ChaCha20Poly1305];
const INDEX: SessionIndex = SessionIndex(0x0012_3456);
const SECRET: Secret32 = Secret32([0x42; 32]);
const TEXT: &[u8] = b"the quick brown fox jumps over the lazy dog";

fn pair(kind: AeadKind) -> (Sealer, Opener) {
    (Sealer::new(&SECRET, kind, INDEX), Opener::new(&SECRET, kind))
}

fn seal(sealer: &mut Sealer) -> Vec<u8> {
    try_seal(sealer).unwrap()
}

fn try_seal(sealer: &mut Sealer) -> Result<Vec<u8>, Exhausted> {
    let mut slot = [&[0; SHIM_LEN], TEXT, &[0; TAG_LEN]].concat();
    sealer.seal(Kind::Transport, false, &mut slot).map(|()| slot)
}

fn open(opener: &mut Opener, datagram: &[u8]) -> Result<u64, DropReason> {
    let mut datagram = datagram.to_vec();
    let opened = opener.open(&mut datagram)?;
    assert_eq!(&datagram[opened.plaintext], TEXT);
    Ok(opened.counter)
}

#[test]
fn what_is_sealed_opens_with_all_its_facts() {
    for kind in KINDS {
        let (mut sealer, mut opener) = pair(kind);
        let shims = [(Kind::Transport, true), (Kind::Tunnel, false), (Kind::Control, false)];
        for (number, (shim_kind, partial)) in shims.into_iter().enumerate() {
            let mut slot = [&[0; SHIM_LEN], TEXT, &[0; TAG_LEN]].concat();
            sealer.seal(shim_kind, partial, &mut slot).unwrap();
            assert!(!slot.windows(8).any(|window| TEXT.windows(8).any(|text| text == window)));
            assert_eq!(Shim::parse(&slot).unwrap().index, INDEX);
            let opened = opener.open(&mut slot).unwrap();
            assert_eq!((opened.kind, opened.partial_checksum), (shim_kind, partial));
            assert_eq!(opened.counter, number as u64);
            assert_eq!(&slot[opened.plaintext], TEXT);
        }
        assert_eq!(sealer.sent(), 3);
        assert_eq!(opener.highest(), 3);
    }
}

#[test]
fn an_empty_packet_is_a_packet() {
    let (mut sealer, mut opener) = pair(AeadKind::Aes256Gcm);
    let mut slot = [0; OVERHEAD];
    sealer.seal(Kind::Control, false, &mut slot).unwrap();
    assert_eq!(opener.open(&mut slot).unwrap().plaintext, 8..8);
}

#[test]
fn ciphers_secrets_and_directions_differ() {
    let (mut sealer, _) = pair(AeadKind::Aes256Gcm);
    let datagram = seal(&mut sealer);
    let mut other_kind = Opener::new(&SECRET, AeadKind::ChaCha20Poly1305);
    let mut other_secret = Opener::new(&Secret32([0x43; 32]), AeadKind::Aes256Gcm);
    assert_eq!(open(&mut other_kind, &datagram), Err(DropReason::BadTag));
    assert_eq!(open(&mut other_secret, &datagram), Err(DropReason::BadTag));
}

#[test]
fn every_bit_is_authenticated_and_a_forgery_moves_nothing() {
    for kind in KINDS {
        let (mut sealer, mut opener) = pair(kind);
        let datagram = seal(&mut sealer);
        let mut wrong_tags = 0;
        for bit in 0..datagram.len() * 8 {
            let mut forged = datagram.clone();
            forged[bit / 8] ^= 1 << (bit % 8);
            let reason = open(&mut opener, &forged).unwrap_err();
            assert!(matches!(reason, DropReason::BadTag | DropReason::Malformed), "bit {bit}");
            wrong_tags += u64::from(reason == DropReason::BadTag);
        }
        assert_eq!(opener.failed_openings(), wrong_tags);
        assert!(wrong_tags > 400, "{wrong_tags} reached the tag");
        assert_eq!(opener.highest(), 0);
        for length in 0..datagram.len() {
            let reason = open(&mut opener, &datagram[..length]).unwrap_err();
            let short = length < OVERHEAD;
            assert_eq!(reason, if short { DropReason::TooShort } else { DropReason::BadTag });
        }
        assert_eq!(open(&mut opener, &datagram), Ok(0));
        assert_eq!(open(&mut opener, &datagram), Err(DropReason::Replay));
    }
}

#[test]
fn packets_may_overtake_each_other_across_a_subkey() {
    for kind in KINDS {
        let (mut sealer, mut opener) = pair(kind);
        sealer.counter = SUBKEY_SPAN - 3;
        let datagrams: Vec<_> = (0..6).map(|_| seal(&mut sealer)).collect();
        for arrival in [3, 1, 5, 0, 4, 2] {
            let expected = SUBKEY_SPAN - 3 + arrival as u64;
            assert_eq!(open(&mut opener, &datagrams[arrival]), Ok(expected));
        }
        assert!(datagrams.iter().all(|d| open(&mut opener, d) == Err(DropReason::Replay)));
    }
}

#[test]
fn the_next_subkey_is_made_ahead() {
    let (mut sealer, mut opener) = pair(AeadKind::Aes256Gcm);
    sealer.counter = SUBKEY_SPAN / 2 - 1;
    let before = seal(&mut sealer);
    assert!(sealer.next.is_none());
    let after = seal(&mut sealer);
    assert_eq!(sealer.next.as_ref().map(|next| next.high), Some(1));
    open(&mut opener, &before).unwrap();
    assert!(opener.next.is_none());
    open(&mut opener, &after).unwrap();
    assert_eq!(opener.next.as_ref().map(|next| next.high), Some(1));
    sealer.counter = SUBKEY_SPAN;
    open(&mut opener, &seal(&mut sealer)).unwrap();
    assert_eq!((sealer.current.high, opener.current.high), (1, 1));
    assert_eq!(opener.previous.as_ref().map(|previous| previous.high), Some(0));
}

#[test]
fn the_same_low_bits_under_another_subkey_are_another_packet() {
    let (mut sealer, mut opener) = pair(AeadKind::Aes256Gcm);
    let first = seal(&mut sealer);
    sealer.counter = SUBKEY_SPAN;
    let second = seal(&mut sealer);
    assert_ne!(first[SHIM_LEN..], second[SHIM_LEN..]);
    assert_eq!(open(&mut opener, &first), Ok(0));
    assert_eq!(open(&mut opener, &second), Ok(SUBKEY_SPAN));
}

#[test]
fn the_high_half_of_the_counter_is_inferred() {
    for kind in KINDS {
        let (mut sealer, mut opener) = pair(kind);
        let near = 1_u64 << 32;
        // Steps of less than 2^31, then both sides of the point where the low half wraps.
        let counters = [1 << 30, 1 << 31, 3 << 30, near - 2, near + 1, near - 1, near, near + 2];
        for counter in counters {
            sealer.counter = counter;
            assert_eq!(open(&mut opener, &seal(&mut sealer)), Ok(counter));
        }
        // A datagram 2^32 ahead has the low half of one that was seen: refused, not misread.
        sealer.counter = 2 * near + 2;
        assert_eq!(open(&mut opener, &seal(&mut sealer)), Err(DropReason::Replay));
    }
}

#[test]
fn inference_truth_table() {
    const K: u64 = 1 << 32;
    const H: u64 = 1 << 31;
    let rows: &[(u64, u32, u64)] = &[
        (0, 0, 0),
        (0, 5, 5),
        (0, u32::MAX, K - 1),
        (H, 0, 0),
        (H + 1, 0, K),
        (H - 1, 0, 0),
        (K, 0, K),
        (K, u32::MAX, K - 1),
        (K - 1, 0, K),
        (K + 7, 3, K + 3),
        (K + H, 0, K),
        (K + H + 1, 0, 2 * K),
        (5 * K + 1, 0x8000_0002, 4 * K + 0x8000_0002),
        (5 * K + 1, 0x8000_0001, 5 * K + 0x8000_0001),
        (u64::MAX, 0, u64::MAX),
    ];
    for &(expected, low, counter) in rows {
        assert_eq!(infer_counter(expected, low), counter, "expected {expected:#x} low {low:#x}");
    }
}

#[test]
fn the_key_ends_at_its_limit() {
    for kind in KINDS {
        let (mut sealer, mut opener) = pair(kind);
        // Bring the receiver near, in steps it can follow by inference: set both alike.
        sealer.counter = REJECT_AFTER_MESSAGES - 2;
        opener.window.commit(REJECT_AFTER_MESSAGES - 3);
        for counter in [REJECT_AFTER_MESSAGES - 2, REJECT_AFTER_MESSAGES - 1] {
            assert_eq!(open(&mut opener, &seal(&mut sealer)), Ok(counter));
        }
        assert_eq!(try_seal(&mut sealer), Err(Exhausted));
        assert_eq!(sealer.sent(), REJECT_AFTER_MESSAGES);
        // A datagram that claims the next counter is refused before its tag is looked at.
        let counter_low = REJECT_AFTER_MESSAGES as u32;
        let (kind, lane) = (Kind::Tunnel, Lane::ENGINE);
        let shim = Shim { kind, lane, partial_checksum: false, index: INDEX, counter_low };
        let forged = [shim.emit().as_slice(), &[0; 40]].concat();
        assert_eq!(open(&mut opener, &forged), Err(DropReason::KeyExhausted));
        assert_eq!(opener.failed_openings(), 0);
    }
}

#[test]
fn too_many_forgeries_end_the_key() {
    let (mut sealer, mut opener) = pair(AeadKind::Aes256Gcm);
    let datagram = seal(&mut sealer);
    opener.failed = FAILED_OPEN_KILL - 1;
    let mut forged = datagram.clone();
    forged[20] ^= 1;
    assert_eq!(open(&mut opener, &forged), Err(DropReason::BadTag));
    assert_eq!(open(&mut opener, &datagram), Err(DropReason::KeyExhausted));
}

#[test]
fn aes_only_where_both_have_it() {
    assert_eq!(AeadKind::of(true, true), AeadKind::Aes256Gcm);
    for (one, other) in [(true, false), (false, true), (false, false)] {
        assert_eq!(AeadKind::of(one, other), AeadKind::ChaCha20Poly1305);
    }
    assert_eq!(KINDS.map(AeadKind::as_str), ["aes-256-gcm", "chacha20-poly1305"]);
}

#[test]
fn lanes_share_neither_counters_nor_keys_nor_windows() {
    for kind in KINDS {
        let (mut sealer, _) = pair(kind);
        let mut openers = Openers::new(&SECRET, kind);
        let lanes: Vec<Lane> = (1..Lane::COUNT).map(Lane::of).collect();
        let mut sealers: Vec<Sealer> = lanes.iter().map(|lane| sealer.of_lane(*lane)).collect();
        let mut datagrams = vec![seal(&mut sealer)];
        datagrams.extend(sealers.iter_mut().map(seal));
        for (number, datagram) in datagrams.iter().enumerate() {
            let lane = Lane::of(number as u8);
            let opened = openers.open(&mut datagram.clone()).unwrap();
            assert_eq!((opened.lane, opened.counter), (lane, 0));
            assert_eq!(openers.open(&mut datagram.clone()).err(), Some(DropReason::Replay));
            assert_eq!(openers.highest(lane), 1);
            // Under the same counter no two lanes seal alike.
            let alike = datagrams.iter().filter(|other| other[SHIM_LEN..] == datagram[SHIM_LEN..]);
            assert_eq!(alike.count(), 1);
        }
    }
}

#[test]
fn a_datagram_moved_to_another_lane_is_no_ones() {
    let (mut sealer, mut opener) = pair(AeadKind::Aes256Gcm);
    let mut openers = Openers::new(&SECRET, AeadKind::Aes256Gcm);
    let datagram = seal(&mut sealer);
    for lane in 1..Lane::COUNT {
        let mut moved = datagram.clone();
        moved[0] |= lane << 1;
        assert_eq!(openers.open(&mut moved.clone()).err(), Some(DropReason::BadTag));
        assert_eq!(open(&mut opener, &moved).err(), Some(DropReason::BadTag));
    }
    assert_eq!(openers.failed_openings(), u64::from(Lane::COUNT) - 1);
    let mut datagram = datagram;
    assert!(openers.open(&mut datagram).is_ok());
}

#[test]
fn the_engine_s_lane_is_what_it_was_before_there_were_others() {
    let (mut sealer, _) = pair(AeadKind::Aes256Gcm);
    let mut again = sealer.of_lane(Lane::ENGINE);
    assert_eq!(seal(&mut sealer), seal(&mut again));
    assert_eq!(seal(&mut sealer)[0], 0x10);
}

/// Or a receiver would put fragments of two packets together.
#[test]
fn packets_that_are_cut_in_different_lanes_are_told_apart() {
    let (sealer, _) = pair(AeadKind::Aes256Gcm);
    let mut numbers = Vec::new();
    for lane in (0..Lane::COUNT).map(Lane::of) {
        let mut sealer = sealer.of_lane(lane);
        for _ in 0..50 {
            numbers.push(sealer.identification());
            seal(&mut sealer);
        }
    }
    numbers.sort_unstable();
    numbers.dedup();
    assert_eq!(numbers.len(), 50 * usize::from(Lane::COUNT));
}
