//! Nothing a stranger sends, cut anywhere or made of noise, panics or breaks a property.

use crate::build::specimens;
use crate::properties;
use ge_core::io::VNET_LEN;
use ge_core::wire::ip::parse;
use ge_core::wire::vnet::VnetHeader;
use rand_chacha::ChaCha20Rng;
use rand_core::{Rng, SeedableRng};

/// True if the bytes were a packet at all.
fn check_all(vnet: [u8; VNET_LEN], packet: &[u8], limit: usize) -> bool {
    properties::ip_parse(packet);
    properties::icmp_error(packet);
    properties::vnet_hdr(&[&vnet, packet].concat());
    let vnet = VnetHeader::parse(&vnet).unwrap_or_default();
    properties::segment(&vnet, packet, limit);
    parse(packet).is_ok()
}

#[test]
fn every_truncation_of_every_kind() {
    for built in specimens() {
        let vnet = built.vnet.emit();
        assert!(check_all(vnet, &built.bytes, 150));
        for len in 0..built.bytes.len() {
            // As it is, and with the length field made to agree.
            assert!(!check_all(vnet, &built.bytes[..len], 150));
            let mut agreed = built.bytes[..len].to_vec();
            if agreed.len() >= 40 {
                let (at, value) = if agreed[0] >> 4 == 4 { (2, len) } else { (4, len - 40) };
                agreed[at..at + 2].copy_from_slice(&(value as u16).to_be_bytes());
            }
            check_all(vnet, &agreed, 150);
        }
    }
}

#[test]
fn random_changes() {
    let mut rng = ChaCha20Rng::seed_from_u64(5);
    let specimens = specimens();
    let mut readable = 0;
    for round in 0..100_000 {
        let mut built = specimens[round % specimens.len()].clone();
        for _ in 0..rng.next_u32() % 4 {
            let at = rng.next_u32() as usize % built.bytes.len();
            built.bytes[at] = rng.next_u32() as u8;
        }
        let mut vnet = built.vnet.emit();
        if rng.next_u32() & 1 == 0 {
            vnet[rng.next_u32() as usize % VNET_LEN] = rng.next_u32() as u8;
        }
        let limit = rng.next_u32() as usize % 400;
        readable += u32::from(check_all(vnet, &built.bytes, limit));
    }
    assert!(readable > 50_000, "most changes leave a readable packet: {readable}");
}

#[test]
fn random_bytes() {
    let mut rng = ChaCha20Rng::seed_from_u64(6);
    for _ in 0..100_000 {
        let mut bytes = vec![0; rng.next_u32() as usize % 120];
        rng.fill_bytes(&mut bytes);
        if let Some(first) = bytes.first_mut() {
            *first = if *first & 1 == 0 { 0x45 } else { 0x60 };
        }
        let mut vnet = [0; VNET_LEN];
        rng.fill_bytes(&mut vnet);
        vnet[1] %= 6;
        check_all(vnet, &bytes, 60);
    }
}
