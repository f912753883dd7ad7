//! Two ends without a kernel: whatever the stack of one hands over, the stack of the other gets the
//! same bytes at the same numbers.

use super::explicit::Explicit;
use super::header::{ACK, FLAGS, PSH, SEQUENCE, SYN, read_u16, read_u32, write_u16, write_u32};
use super::tcp_shaped::TcpShaped;
use super::wire_frame::{IP_LEN, TCP_AT, vnet};
use ge_core::id::SessionIndex;
use ge_core::io::{ETHERNET_LEN, PACKET_AT, VNET_LEN};
use ge_core::membership::Secret32;
use ge_core::traffic::{AeadKind, Opener, Sealer};
use ge_core::wire::ip;
use ge_core::wire::vnet::VnetHeader;
use std::io::IoSlice;
use std::net::Ipv4Addr;

const FIRST: u32 = 0xffff_0000;
const TCP_LEN: usize = 20;

/// One of the two formats at one end.
enum Shape {
    Tcp(TcpShaped),
    Explicit(Explicit),
}

/// Sends frames from one end to the other and collects what arrives, by its number.
struct Pair {
    from: Shape,
    to: Shape,
    sealer: Sealer,
    opener: Opener,
    arrived: Vec<(u32, u8, Vec<u8>)>,
    frames: usize,
    /// Segments go one by one.
    cuts: bool,
}

impl Pair {
    fn new(shape: fn() -> Shape, cuts: bool) -> Self {
        let key = Secret32([3; 32]);
        Self {
            from: shape(),
            to: shape(),
            sealer: Sealer::new(&key, AeadKind::Aes256Gcm, SessionIndex(1)),
            opener: Opener::new(&key, AeadKind::Aes256Gcm),
            arrived: Vec::new(),
            frames: 0,
            cuts,
        }
    }

    /// Frames of one turn.
    fn turn(&mut self, frames: &[Vec<u8>]) {
        let mut wire: Vec<Vec<u8>> = Vec::new();
        for frame in frames {
            let mut frame = frame.clone();
            let view = ip::parse(&frame[PACKET_AT..]).expect("made right");
            let (sealer, mut send) = (&mut self.sealer, |bytes: &[u8]| wire.push(bytes.to_vec()));
            match &mut self.from {
                Shape::Tcp(tcp) => tcp.outgoing(&mut frame, &view, sealer, &mut send),
                Shape::Explicit(tcp) => tcp.outgoing(&mut frame, &view, sealer, &mut send),
            }
            .expect("sealed");
        }
        match &mut self.from {
            Shape::Tcp(tcp) => tcp.flush(|bytes| wire.push(bytes.to_vec())),
            Shape::Explicit(tcp) => tcp.flush(|bytes| wire.push(bytes.to_vec())),
        }
        self.frames += wire.len();
        for mut frame in
            wire.iter().flat_map(|frame| if self.cuts { cut(frame) } else { vec![frame.clone()] })
        {
            let view = ip::parse(&frame[PACKET_AT..]).expect("made right");
            let arrived = &mut self.arrived;
            let deliver = |parts: &[IoSlice<'_>]| {
                let tcp = &parts[1][IP_LEN..];
                let payload = parts[2..].iter().flat_map(|part| part.to_vec()).collect();
                arrived.push((read_u32(tcp, 4), tcp[13], payload));
                Ok(0)
            };
            match &mut self.to {
                Shape::Tcp(tcp) => tcp.incoming(&mut frame, &view, &mut self.opener, deliver),
                Shape::Explicit(tcp) => tcp.incoming(&mut frame, &view, &mut self.opener, deliver),
            }
            .expect("opened");
        }
    }
}

/// A super-packet as the hook hands it over.
fn frame(number: u32, flags: u8, payload: &[u8], size: usize) -> Vec<u8> {
    let len = IP_LEN + TCP_LEN + payload.len();
    let mut bytes = vec![0; PACKET_AT];
    bytes[VNET_LEN + 12] = 8;
    let segments = payload.len().div_ceil(size) as u64;
    bytes[..VNET_LEN].copy_from_slice(&vnet(ETHERNET_LEN, TCP_LEN, segments, size));
    let mut header = [0; ip::HEADER_MAX];
    let (from, to) = (Ipv4Addr::new(10, 0, 0, 1), Ipv4Addr::new(10, 0, 0, 2));
    ip::emit_header(&mut header, from.into(), to.into(), 6, len - IP_LEN, 0, 64);
    bytes.extend_from_slice(&header[..IP_LEN]);
    bytes.extend_from_slice(&[0, 9, 0, 7]);
    bytes.extend_from_slice(&number.to_be_bytes());
    bytes.extend_from_slice(&[0, 0, 0, 0, 5 << 4, flags, 0, 99, 0, 0, 0, 0]);
    bytes.extend_from_slice(payload);
    assert_eq!(read_u16(&bytes, TCP_AT), 9);
    bytes
}

/// What the kernel makes of a super-packet.
fn cut(frame: &[u8]) -> Vec<Vec<u8>> {
    let given = VnetHeader::parse(frame).expect("made by an end");
    let (head, payload) = frame.split_at(TCP_AT + TCP_LEN);
    let size = given.gso.map_or(payload.len(), |gso| usize::from(gso.size));
    let count = payload.len().div_ceil(size);
    let segment = |(index, part): (usize, &[u8])| {
        let mut bytes = [head, part].concat();
        bytes[..VNET_LEN].copy_from_slice(&vnet(ETHERNET_LEN, TCP_LEN, 1, 0));
        let len = (bytes.len() - PACKET_AT) as u16;
        write_u16(&mut bytes, PACKET_AT + 2, len);
        let number = read_u32(head, TCP_AT + SEQUENCE).wrapping_add((index * size) as u32);
        write_u32(&mut bytes, TCP_AT + SEQUENCE, number);
        if index + 1 < count {
            bytes[TCP_AT + FLAGS] &= !PSH;
        }
        bytes
    };
    payload.chunks(size).enumerate().map(segment).collect()
}

/// Writes of these lengths, two in a turn, some of them twice.
fn stream(pair: &mut Pair, lengths: &[usize]) {
    let total: usize = lengths.iter().sum();
    let body: Vec<u8> = (0..total).map(|at| (at * 31 % 251) as u8).collect();
    pair.turn(&[frame(FIRST.wrapping_sub(1), SYN, &[], 1424)]);
    assert_eq!(pair.arrived.pop(), Some((FIRST.wrapping_sub(1), SYN, Vec::new())));
    let mut at = 0;
    let mut frames = Vec::new();
    for length in lengths {
        let number = FIRST.wrapping_add(at as u32);
        frames.push(frame(number, ACK | PSH, &body[at..at + length], 1424));
        at += length;
    }
    for (index, two) in frames.chunks(2).enumerate() {
        pair.turn(two);
        if index % 3 == 2 {
            pair.turn(&two[..1]);
        }
    }
    let mut got = vec![None; total];
    for (number, _, payload) in &pair.arrived {
        let start = number.wrapping_sub(FIRST) as usize;
        for (place, byte) in got[start..].iter_mut().zip(payload) {
            assert!(place.is_none_or(|before| before == *byte), "two bytes at {start}");
            *place = Some(*byte);
        }
    }
    let got: Option<Vec<u8>> = got.into_iter().collect();
    assert!(got.as_deref() == Some(&body[..]), "the stream differs");
}

/// Lengths that shift the stream, end in blocks, and are shorter and shorter within one.
const LENGTHS: [usize; 14] =
    [37, 64_080, 64_080, 500, 300, 200, 100, 50, 25, 1424, 64_080, 1, 1, 62_656];

fn both_ways(shape: fn() -> Shape) {
    for cuts in [false, true] {
        stream(&mut Pair::new(shape, cuts), &LENGTHS);
    }
}

#[test]
fn stretched_numbers_carry_every_byte_to_its_place() {
    both_ways(|| Shape::Tcp(TcpShaped::new(false, true)));
}

#[test]
fn own_numbers_carry_every_byte_to_its_place() {
    both_ways(|| Shape::Tcp(TcpShaped::new(true, true)));
}

#[test]
fn explicit_numbers_carry_every_byte_to_its_place() {
    both_ways(|| Shape::Explicit(Explicit::default()));
}

#[test]
fn nothing_unsealed_is_believed() {
    let key = Secret32([3; 32]);
    let mut opener = Opener::new(&key, AeadKind::Aes256Gcm);
    for flags in [SYN, ACK] {
        let mut bare = frame(FIRST, flags, &[], 1424);
        let view = ip::parse(&bare[PACKET_AT..]).expect("made right");
        let deliver = |_: &[IoSlice<'_>]| panic!("delivered");
        let (mut tcp, mut explicit) = (TcpShaped::new(false, true), Explicit::default());
        assert!(tcp.incoming(&mut bare, &view, &mut opener, deliver).is_none());
        assert!(explicit.incoming(&mut bare, &view, &mut opener, deliver).is_none());
        assert_eq!([tcp.count.frames_in, explicit.count.frames_in], [0, 0]);
    }
}

#[test]
fn a_shifted_stream_costs_a_frame_more_only_where_blocks_must_meet() {
    let lengths = [&[37][..], &[45_568; 10]].concat();
    let mut stretched = Pair::new(|| Shape::Tcp(TcpShaped::new(false, true)), false);
    stream(&mut stretched, &lengths);
    let mut explicit = Pair::new(|| Shape::Explicit(Explicit::default()), false);
    stream(&mut explicit, &lengths);
    assert!(explicit.frames < stretched.frames, "{} {}", explicit.frames, stretched.frames);
}
