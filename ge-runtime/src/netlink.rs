//! The part of netlink that nf_tables and rtnetlink share: messages, nested attributes, answers.
//!
//! ```text
//! message    | length 4 | type 2 | flags 2 | sequence 4 | port 4 | family header | attributes |
//! attribute  | length 2 | type 2 | value, padded to 4 |
//! ```
//!
//! Lengths and types are in the machine's byte order (RFC 3549 2.2); values are in the order their
//! owner wants: big endian in nf_tables, native in rtnetlink.

use netlink_sys::Socket;
use std::io;

/// Length of `struct nlmsghdr`.
const HEADER_LEN: usize = 16;
/// `NLA_F_NESTED`: the value is a list of attributes.
const NESTED: u16 = 1 << 15;
/// `NLM_F_ACK_TLVS`: the answer carries the kernel's own words.
const ACK_TLVS: u16 = 0x200;
/// `NLMSGERR_ATTR_MSG`: the kernel's own words.
const ERROR_TEXT: u16 = 1;

/// A growing sequence of messages.
#[derive(Default)]
pub struct Writer {
    bytes: Vec<u8>,
}

impl Writer {
    /// Appends one message. `header` is the family's fixed header (`nfgenmsg`, `ifinfomsg`, …).
    pub fn message(
        &mut self,
        kind: u16,
        flags: u16,
        sequence: u32,
        header: &[u8],
        body: impl FnOnce(&mut Self),
    ) {
        let start = self.bytes.len();
        self.bytes.extend_from_slice(&[0; 4]);
        self.bytes.extend_from_slice(&kind.to_ne_bytes());
        self.bytes.extend_from_slice(&flags.to_ne_bytes());
        self.bytes.extend_from_slice(&sequence.to_ne_bytes());
        self.bytes.extend_from_slice(&[0; 4]);
        self.bytes.extend_from_slice(header);
        self.pad();
        body(self);
        let length = u32::try_from(self.bytes.len() - start)
            .expect("invariant: a message is made of bounded parts");
        self.bytes[start..start + 4].copy_from_slice(&length.to_ne_bytes());
    }

    /// Appends an attribute with this value.
    pub fn attr(&mut self, kind: u16, value: &[u8]) {
        let length = u16::try_from(4 + value.len())
            .expect("invariant: a value is an address, a name, a number or a rule");
        self.bytes.extend_from_slice(&length.to_ne_bytes());
        self.bytes.extend_from_slice(&kind.to_ne_bytes());
        self.bytes.extend_from_slice(value);
        self.pad();
    }

    /// Appends a name, with the zero byte the kernel wants.
    pub fn attr_str(&mut self, kind: u16, value: &str) {
        let mut bytes = value.as_bytes().to_vec();
        bytes.push(0);
        self.attr(kind, &bytes);
    }

    /// Appends a big-endian number (nf_tables).
    pub(crate) fn attr_be32(&mut self, kind: u16, value: u32) {
        self.attr(kind, &value.to_be_bytes());
    }

    /// Appends a big-endian number (nf_tables).
    pub(crate) fn attr_be64(&mut self, kind: u16, value: u64) {
        self.attr(kind, &value.to_be_bytes());
    }

    /// Appends a native-endian number (rtnetlink).
    pub(crate) fn attr_ne32(&mut self, kind: u16, value: u32) {
        self.attr(kind, &value.to_ne_bytes());
    }

    /// Appends an attribute whose value is what `body` appends.
    pub fn nest(&mut self, kind: u16, body: impl FnOnce(&mut Self)) {
        let start = self.bytes.len();
        self.bytes.extend_from_slice(&[0; 2]);
        self.bytes.extend_from_slice(&(kind | NESTED).to_ne_bytes());
        body(self);
        let length = u16::try_from(self.bytes.len() - start)
            .expect("invariant: element lists are cut into parts that fit 16 bits");
        self.bytes[start..start + 2].copy_from_slice(&length.to_ne_bytes());
    }

    /// Appends attributes made elsewhere.
    pub fn raw(&mut self, attributes: &[u8]) {
        self.bytes.extend_from_slice(attributes);
        self.pad();
    }

    /// The bytes so far.
    pub fn as_bytes(&self) -> &[u8] {
        &self.bytes
    }

    fn pad(&mut self) {
        self.bytes.resize(self.bytes.len().next_multiple_of(4), 0);
    }
}

/// One message of an answer.
pub struct Reply<'a> {
    /// Message type.
    pub kind: u16,
    /// Sequence number of the message it answers.
    pub sequence: u32,
    /// What follows the header.
    pub body: &'a [u8],
    flags: u16,
}

impl Reply<'_> {
    /// Error number and the kernel's own words, if this is an answer of that kind; zero is success.
    pub fn error(&self) -> Option<(i32, String)> {
        if i32::from(self.kind) != libc::NLMSG_ERROR {
            return None;
        }
        let errno = i32::from_ne_bytes(self.body.get(..4)?.try_into().ok()?).saturating_neg();
        // With NETLINK_CAP_ACK only the header of the request is quoted.
        let quoted = self.body.get(4 + HEADER_LEN..).unwrap_or(&[]);
        let text = (self.flags & ACK_TLVS != 0)
            .then(|| attributes(quoted).find(|(kind, _)| *kind == ERROR_TEXT))
            .flatten()
            .map(|(_, value)| text(value))
            .unwrap_or_default();
        Some((errno, text))
    }
}

/// Splits an answer into its messages; stops at the first that does not fit.
pub fn replies(mut bytes: &[u8]) -> impl Iterator<Item = Reply<'_>> {
    std::iter::from_fn(move || {
        let length = u32::from_ne_bytes(bytes.get(..4)?.try_into().ok()?);
        let length = usize::try_from(length).ok()?;
        let message = bytes.get(..length).filter(|_| length >= HEADER_LEN)?;
        bytes = bytes.get(length.next_multiple_of(4)..).unwrap_or(&[]);
        let half = |at: usize| u16::from_ne_bytes([message[at], message[at + 1]]);
        let sequence = u32::from_ne_bytes(message[8..12].try_into().ok()?);
        Some(Reply { kind: half(4), flags: half(6), sequence, body: &message[HEADER_LEN..] })
    })
}

/// Splits a list of attributes into types and values; stops at the first that does not fit.
pub fn attributes(mut bytes: &[u8]) -> impl Iterator<Item = (u16, &[u8])> {
    std::iter::from_fn(move || {
        let length = usize::from(u16::from_ne_bytes(bytes.get(..2)?.try_into().ok()?));
        let kind = u16::from_ne_bytes(bytes.get(2..4)?.try_into().ok()?);
        let value = bytes.get(4..length)?;
        bytes = bytes.get(length.next_multiple_of(4)..).unwrap_or(&[]);
        Some((kind & !NESTED, value))
    })
}

/// Opens a socket whose answers are short and carry the kernel's own words.
pub(crate) fn open(protocol: isize) -> io::Result<Socket> {
    let mut socket = Socket::new(protocol)?;
    socket.bind_auto()?;
    socket.set_cap_ack(true)?;
    socket.set_ext_ack(true)?;
    Ok(socket)
}

/// Sends one request with `NLM_F_ACK` and waits for its end: `Ok` with the messages before it.
///
/// # Errors
/// The kernel's error number, or a failed system call.
pub(crate) fn request(socket: &Socket, request: &Writer) -> io::Result<Vec<Vec<u8>>> {
    socket.send(request.as_bytes(), 0)?;
    let mut data = Vec::new();
    loop {
        let (bytes, _) = socket.recv_from_full()?;
        for reply in replies(&bytes) {
            match reply.error() {
                Some((0, _)) => return Ok(data),
                Some((errno, _)) => return Err(io::Error::from_raw_os_error(errno)),
                None if i32::from(reply.kind) == libc::NLMSG_DONE => return Ok(data),
                None => data.push(reply.body.to_vec()),
            }
        }
    }
}

fn text(value: &[u8]) -> String {
    let end = value.iter().position(|byte| *byte == 0).unwrap_or(value.len());
    String::from_utf8_lossy(&value[..end]).into_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn messages_and_attributes_are_read_back_as_written() {
        let mut writer = Writer::default();
        writer.message(7, 1, 42, &[9; 4], |body| {
            body.attr_str(1, "abcd");
            body.nest(2, |inner| inner.attr_be32(3, 0x0102_0304));
        });
        writer.message(8, 0, 43, &[], |_| ());
        let all: Vec<_> = replies(writer.as_bytes()).collect();
        assert_eq!(all.len(), 2);
        assert_eq!((all[0].kind, all[0].sequence, all[1].sequence), (7, 42, 43));
        let list: Vec<_> = attributes(&all[0].body[4..]).collect();
        assert_eq!(list[0], (1, &b"abcd\0"[..]));
        assert_eq!(list[1].0, 2);
        assert_eq!(attributes(list[1].1).next(), Some((3, &[1, 2, 3, 4][..])));
    }

    #[test]
    fn cut_answers_end_the_iteration() {
        let mut writer = Writer::default();
        writer.message(7, 0, 1, &[], |body| body.attr(1, &[1, 2, 3, 4]));
        for cut in 0..writer.as_bytes().len() {
            assert_eq!(replies(&writer.as_bytes()[..cut]).count(), 0, "{cut}");
            attributes(&writer.as_bytes()[..cut]).count();
        }
    }
}
