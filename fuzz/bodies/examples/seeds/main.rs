//! Writes the corpus: a few right inputs for every target, and the same with small damage.
//!
//! `cargo run -p fuzz-bodies --example seeds`

mod agent;
mod kernel;

#[allow(dead_code, reason = "the packets' own tests use the rest")]
#[path = "../../../../ge-core/tests/packets/build.rs"]
mod build;
#[allow(dead_code, reason = "the packets' own tests use the rest")]
#[path = "../../../../ge-core/tests/packets/reference.rs"]
mod reference;

use fuzz_bodies::domain::{Domain, NOW, proposal};
use fuzz_bodies::{Passing, Scene, TARGETS, scene_cookie};
use ge_core::crypto::sha256;
use ge_core::fragment::fragment_ipv4;
use ge_core::limits::MESSAGE_MAX;
use ge_core::membership::Secret32;
use ge_core::mode::{Prefix, Transit};
use ge_core::shim::Kind;
use ge_core::traffic::{AeadKind, Sealer};
use ge_core::wire::dprp::dde::DdeFacts;
use ge_core::wire::dprp::rgi::{Record, RgiPath, RgiPayload};
use ge_core::wire::dprp::{Consent, MAC_LEN, MAGIC, Place, Standing};
use ge_core::wire::icmp::emit_echo;
use ge_core::wire::ip;
use ge_core::wire::udp::emit_udp;
use ge_core::wire::vnet::VnetHeader;
use mgmt_api::{HexBytes, Secret, Token};
use std::path::PathBuf;
use std::{fs, io};

fn main() -> io::Result<()> {
    let corpus = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("../corpus");
    for (name, _) in TARGETS {
        let directory = corpus.join(name);
        fs::create_dir_all(&directory)?;
        for input in right(name).iter().flat_map(|input| damaged(input)) {
            let digest = sha256(&[&input]);
            let file: String = digest[..8].iter().map(|byte| format!("{byte:02x}")).collect();
            fs::write(directory.join(file), input)?;
        }
    }
    Ok(())
}

/// Right inputs of a target.
fn right(target: &str) -> Vec<Vec<u8>> {
    let mut scene = Scene::new();
    let (mpit, cdn) = scene.finish();
    match target {
        "dde" => vec![scene.dde, facts()],
        "rgi" => vec![scene.rgi],
        "mpit" => vec![mpit],
        "cdn" => vec![cdn],
        "cookie" => vec![scene_cookie(&mut Scene::new())],
        "between" => {
            let passing = Passing::new();
            vec![passing.rgi, passing.mpit, passing.cdn, passing.nomatch]
        }
        "path_part" => path_parts(scene.keyring_r.certificate()),
        "tlv" => vec![vec![1, 4, 10, 0, 0, 5, 0, 0], vec![0x70, 0, 1, 1, 9], vec![0; 116]],
        "certificate" => certificates(),
        "data_frame" => frames(),
        "ip_parse" | "icmp_error" => packets(|_| Vec::new()),
        "vnet_hdr" => packets(|vnet| vnet.emit().to_vec()),
        "segment" => packets(|vnet| [&150_u16.to_be_bytes()[..], &vnet.emit()].concat()),
        "token" => vec![token().encode().as_bytes().to_vec()],
        "bundle" => vec![include_bytes!("../../../../mgmt-api/tests/golden/bundle.json").to_vec()],
        "rest_body" => rest_bodies(),
        "reassembly" => vec![fragments(&[0, 1, 2]), fragments(&[0, 0, 1, 2]), fragments(&[0, 2])],
        "netlink" => kernel::answers(),
        "echo_reply" => kernel::replies(),
        "datagram" => messages(scene.dde),
        other => agent::right(other),
    }
}

fn rest_bodies() -> Vec<Vec<u8>> {
    vec![
        include_bytes!("../../../../mgmt-api/tests/golden/enrol-request.json").to_vec(),
        include_bytes!("../../../../mgmt-api/tests/golden/renew-request.json").to_vec(),
        include_bytes!("../../../../mgmt-api/tests/golden/error.json").to_vec(),
    ]
}

/// A DDE in UDP, both IP versions, and an ICMP error that a NAT would have to translate.
fn messages(dde: Vec<u8>) -> Vec<Vec<u8>> {
    let udp = |(from, to)| {
        let udp = emit_udp((from, 5865), (to, 40_000), &dde);
        build::ip_packet((from, to), 17, &udp)
    };
    let (from, to) = build::v4();
    let error = [&[3, 3, 0, 0, 0, 0, 0, 0], &udp((to, from))[..28]].concat();
    vec![udp(build::v4()), udp(build::v6()), build::ip_packet((from, to), 1, &error)]
}

/// A message as long as can be, of whose three fragments on a path of 576 bytes these arrive.
fn fragments(arrived: &[usize]) -> Vec<u8> {
    let (from, to) = build::v4();
    let message = [&MAGIC[..], &vec![0x5a; MESSAGE_MAX - MAGIC.len()]].concat();
    let mut packet = build::ip_packet((from, to), 1, &emit_echo(true, 7, 1, &message, from, to));
    // Without "don't fragment", which the checksum then does not count.
    packet[6] = 0;
    let sum = u16::from_be_bytes([packet[10], packet[11]]);
    packet[10..12].copy_from_slice(&(sum + 0x4000).to_be_bytes());
    let view = ip::parse(&packet).expect("built well");
    let mut cut: Vec<Vec<u8>> = Vec::new();
    fragment_ipv4(&packet, &view, 576, &mut |part| cut.push(part.to_vec())).expect("may be cut");
    let prefixed = |part: &Vec<u8>| [&(part.len() as u16).to_be_bytes()[..], part].concat();
    arrived.iter().flat_map(|at| prefixed(&cut[*at])).collect()
}

fn token() -> Token {
    Token {
        fingerprint: HexBytes([3; 32]),
        id: HexBytes([4; 8]),
        secret: Secret::new([5; 32]),
        servers: vec!["192.0.2.1:7443".parse().expect("an address")],
    }
}

/// The input itself and some that are nearly right.
fn damaged(input: &[u8]) -> Vec<Vec<u8>> {
    let middle = input.len() / 2;
    let with = |at: usize, bit: u8| {
        let mut copy = input.to_vec();
        copy[at] ^= 1 << bit;
        copy
    };
    vec![
        input.to_vec(),
        with(0, 0),
        with(3.min(input.len() - 1), 1),
        with(5.min(input.len() - 1), 0),
        with(input.len() / 4, 7),
        with(middle, 3),
        with(input.len() * 3 / 4, 5),
        with(input.len() - 1, 7),
        input[..middle].to_vec(),
        input[..input.len() - 1].to_vec(),
        [input, &[0]].concat(),
    ]
}

fn facts() -> Vec<u8> {
    let proposal = proposal();
    let facts = DdeFacts {
        timestamp: NOW,
        pair: proposal.pair,
        ports: proposal.ports,
        standing: Standing { mode: proposal.mode, router: true },
        tags: [[7; MAC_LEN]; 8],
        options: DdeFacts::NO_OPTIONS,
    };
    let mut flow = [0; 40];
    flow[..6].copy_from_slice(&[4, 6, 0x9c, 0x40, 0, 22]);
    flow[8..12].copy_from_slice(&[192, 0, 2, 1]);
    flow[24..28].copy_from_slice(&[192, 0, 2, 2]);
    facts.emit(&flow)
}

fn path_parts(certificate: &[u8]) -> Vec<Vec<u8>> {
    let proposal = proposal();
    let standing = Standing { mode: proposal.mode, router: false };
    let path = RgiPath {
        digest: [1; 32],
        pair: proposal.pair,
        ports: proposal.ports,
        initiator_tags: [[2; 8]; 8],
        responder_tags: [[3; 8]; 8],
        standing,
    };
    let payload = RgiPayload {
        standing,
        parameters: fuzz_bodies::domain::parameters(5),
        observed: [0; 16],
        path_hash: [4; 32],
        certificate: certificate.to_vec(),
    };
    let record = Record {
        certificate_ref: [5; 8],
        consent: Consent::Closed(Transit::Vouched),
        place: Place::Between,
        matches: [1, 0],
        time: 99,
        lmac: [6; MAC_LEN],
    };
    let mut parts = vec![payload.emit(), record.emit().to_vec()];
    parts.extend(path.emit());
    parts
}

fn certificates() -> Vec<Vec<u8>> {
    let domain = Domain::new(1);
    let mut host = domain.member(3, &[1, 2, 3]);
    domain.issue(&mut host, |certificate| certificate.name_hashes = vec![[9; 8]]);
    let mut router = domain.member(4, &[1]);
    domain.issue(&mut router, |certificate| {
        certificate.role = ge_core::cert::CertRole::Router;
        certificate.prefixes = vec![
            Prefix { address: [10, 1, 0, 0].into(), length: 16 },
            Prefix { address: "2001:db8::".parse().expect("an address"), length: 32 },
        ];
    });
    vec![host.membership.certificate, router.membership.certificate]
}

fn frames() -> Vec<Vec<u8>> {
    let mut frames = Vec::new();
    for kind in [AeadKind::Aes256Gcm, AeadKind::ChaCha20Poly1305] {
        let secret: Secret32 = fuzz_bodies::SECRET;
        let mut sealer = Sealer::new(&secret, kind, fuzz_bodies::INDEX);
        for kind in [Kind::Transport, Kind::Tunnel, Kind::Control] {
            let mut slot = [0x61; 60];
            sealer.seal(kind, kind == Kind::Tunnel, &mut slot).expect("far from the limit");
            frames.push(slot.to_vec());
        }
    }
    frames
}

/// One packet of each kind, behind what `before` makes of its vnet header.
fn packets(before: impl Fn(&VnetHeader) -> Vec<u8>) -> Vec<Vec<u8>> {
    build::specimens()
        .into_iter()
        .map(|built| [before(&built.vnet), built.bytes].concat())
        .collect()
}
