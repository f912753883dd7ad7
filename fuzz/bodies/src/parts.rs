//! Parsers that need no keys.

use ge_core::cert::Certificate;
use ge_core::id::SessionIndex;
use ge_core::limits::PATH_RECORDS;
use ge_core::membership::Secret32;
use ge_core::shim::{SHIM_LEN, Shim};
use ge_core::traffic::{AeadKind, Opener};
use ge_core::wire::dprp::cdn::CdnPath;
use ge_core::wire::dprp::mpit::{MpitPath, MpitPayload};
use ge_core::wire::dprp::nomatch::NoMatchFacts;
use ge_core::wire::dprp::rgi::{Record, RgiPath, RgiPayload};
use ge_core::wire::dprp::{Header, Kind, tlv as options};

/// Traffic secret of the corpus of [`data_frame`].
pub const SECRET: Secret32 = Secret32([0x5e; 32]);
/// Receiver index of the corpus of [`data_frame`].
pub const INDEX: SessionIndex = SessionIndex(0x00c0_ffee);

/// Every plaintext part of every message, and the MPIT's with every number of records.
pub fn path_part(data: &[u8]) {
    if let Ok(path) = RgiPath::parse(data) {
        assert_eq!(path.emit().as_deref(), Some(data), "RGI path part");
    }
    if let Ok(payload) = RgiPayload::parse(data) {
        assert_eq!(payload.emit(), data, "RGI payload");
    }
    if let Ok(record) = Record::parse(data) {
        assert_eq!(record.emit(), data, "record");
    }
    if let Ok(payload) = MpitPayload::parse(data) {
        assert_eq!(payload.emit(), data, "MPIT payload");
    }
    for records in 0..=PATH_RECORDS as u8 {
        if let Ok(path) = MpitPath::parse(&mpit_header(records), data) {
            assert_eq!(path.emit(), data, "MPIT path part");
        }
    }
    if let Ok(path) = CdnPath::parse(data) {
        assert_eq!(path.emit(), data, "CDN path part");
    }
    if let Ok(facts) = NoMatchFacts::parse(data) {
        assert_eq!(facts.emit(), data, "NOMATCH");
    }
}

/// The option list of a DDE.
pub fn tlv(data: &[u8]) {
    let Ok(list) = options::parse(data) else { return };
    let used: usize = list.iter().map(|option| 2 + option.value.len()).sum();
    assert!(used <= data.len(), "options end where the area ends");
    assert!(data[used..].iter().all(|byte| *byte == 0), "the rest is zero");
    assert!(list.iter().all(|option| (1..0x80).contains(&option.kind)), "known or skippable");
}

/// A certificate: one encoding per content.
pub fn certificate(data: &[u8]) {
    let Ok(certificate) = Certificate::parse(data) else { return };
    let written = certificate.sign(&[1; 32]);
    assert_eq!(written.len(), data.len(), "same length");
    assert_eq!(written[..data.len() - 64], data[..data.len() - 64], "same content");
    assert_eq!(certificate.check(), Ok(()), "what is read is well formed");
}

/// A sealed datagram, for both ciphers: whatever opens does so once.
pub fn data_frame(data: &[u8]) {
    if let Some(shim) = Shim::parse(data) {
        assert_eq!(shim.emit(), data[..SHIM_LEN], "shim");
    }
    for kind in [AeadKind::Aes256Gcm, AeadKind::ChaCha20Poly1305] {
        let mut opener = Opener::new(&SECRET, kind);
        let Ok(opened) = opener.open(&mut data.to_vec()) else { continue };
        assert_eq!(opened.plaintext.len() + 24, data.len(), "shim and tag");
        assert!(opener.open(&mut data.to_vec()).is_err(), "a second time is a replay");
    }
}

fn mpit_header(records: u8) -> Header {
    let zero = ge_core::NegotiationId::default();
    Header { kind: Kind::Mpit, records, length: 0, sid_i: zero, sid_r: zero }
}
