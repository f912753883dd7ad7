//! What the kernel answers, and what it hands on from the network to an ordinary socket.

use ge_runtime::echo::{TOKEN_LEN, is_reply};
use ge_runtime::links::{Listing, assemble, default_routes};
use ge_runtime::netlink::{Writer, attributes, replies};

/// Token of the corpus of [`echo_reply`].
pub const TOKEN: [u8; TOKEN_LEN] = [0xec; TOKEN_LEN];
/// Sequence number of the corpus of [`echo_reply`].
pub const SEQUENCE: u16 = 7;

/// An answer over netlink, read as nf_tables' and as a listing of interfaces, addresses and
/// routes: what is read lies in what was received, and is written and read again the same.
pub fn netlink(data: &[u8]) {
    let mut read = 0;
    for reply in replies(data) {
        let _ = reply.error();
        read += 16 + reply.body.len();
        let mut writer = Writer::default();
        writer.message(reply.kind, 0, reply.sequence, reply.body, |_| ());
        let again = replies(writer.as_bytes()).next().expect("as written");
        assert_eq!((again.kind, again.sequence), (reply.kind, reply.sequence));
        assert!(again.body.starts_with(reply.body), "padded at most");
        check_attributes(reply.body);
    }
    assert!(read <= data.len(), "each byte once");
    check_attributes(data);
    check_listing(data);
}

fn check_attributes(list: &[u8]) {
    let mut place: usize = 0;
    for (kind, value) in attributes(list) {
        let mut writer = Writer::default();
        writer.attr(kind, value);
        assert_eq!(list[place..place + 2], writer.as_bytes()[..2], "as long as it says");
        place += writer.as_bytes().len();
        assert_eq!(attributes(writer.as_bytes()).next(), Some((kind, value)), "as written");
    }
}

fn check_listing(data: &[u8]) {
    let mut listing = Listing::default();
    let taken = listing.take(data);
    let objects = listing.objects.len();
    assert!(objects * 16 <= data.len(), "each has a header");
    let links = assemble(&listing.objects, &listing.objects);
    let addresses: usize = links.iter().map(|link| link.info.addresses.len()).sum();
    assert!(links.len() + addresses <= objects, "one of each object");
    let _ = default_routes(&listing.objects).count();
    if taken.is_ok() && listing.ended {
        let _ = listing.take(data);
        assert_eq!(listing.objects.len(), objects, "nothing after the end");
    }
}

/// `| IP version 1 | what arrived |`: a reply carries our token to its end, and is of one version.
pub fn echo_reply(data: &[u8]) {
    let Some((version, received)) = data.split_first() else { return };
    let v6 = *version == 6;
    if is_reply(v6, received, SEQUENCE, &TOKEN) {
        assert!(received.ends_with(&TOKEN), "the token is the payload");
        assert!(!is_reply(v6, received, SEQUENCE + 1, &TOKEN), "of one request");
        assert!(!is_reply(!v6, received, SEQUENCE, &TOKEN), "of one version");
    }
}
