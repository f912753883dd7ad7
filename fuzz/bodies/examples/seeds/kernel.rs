//! Right answers of the kernel. Numbers are those of linux/rtnetlink.h, if_link.h and if_addr.h.

use fuzz_bodies::{SEQUENCE, TOKEN};
use ge_runtime::netlink::Writer;

const ERROR: u16 = 2;
const DONE: u16 = 3;
const NEW_LINK: u16 = 16;
const NEW_ADDRESS: u16 = 20;
const NEW_ROUTE: u16 = 24;
/// One part of several.
const MULTI: u16 = 2;
/// The answer carries the kernel's own words.
const WORDS: u16 = 0x200;

/// Listings of an interface, its address and its default routes; a refusal in words.
pub(crate) fn answers() -> Vec<Vec<u8>> {
    let mut listing = Writer::default();
    // Family, padding, Ethernet, index 2, up, change.
    let link = [&[0, 0, 1, 0, 2, 0, 0, 0, 1, 0, 0, 0][..], &[0; 4]].concat();
    listing.message(NEW_LINK, MULTI, 1, &link, |body| {
        body.attr(1, &[2, 0, 0, 0, 0, 1]);
        body.attr_str(3, "eth0");
        body.attr(4, &1500_u32.to_ne_bytes());
    });
    // IPv4, /24, index 2.
    listing.message(NEW_ADDRESS, MULTI, 1, &[2, 24, 0, 0, 2, 0, 0, 0], |body| {
        body.attr(1, &[192, 0, 2, 1]);
        body.attr(2, &[192, 0, 2, 1]);
    });
    let done = |writer: &mut Writer| writer.message(DONE, MULTI, 1, &[0; 4], |_| ());
    done(&mut listing);

    let mut routes = Writer::default();
    // IPv4, destination of length 0, main table, unicast.
    let default = [2, 0, 0, 0, 254, 3, 0, 1, 0, 0, 0, 0];
    routes.message(NEW_ROUTE, MULTI, 1, &default, |body| body.attr(4, &2_u32.to_ne_bytes()));
    routes.message(NEW_ROUTE, MULTI, 1, &default, |body| {
        body.nest(9, |hops| hops.raw(&[8, 0, 0, 0, 2, 0, 0, 0, 8, 0, 0, 0, 3, 0, 0, 0]));
    });
    done(&mut routes);

    let refusal = |errno: i32| {
        let mut writer = Writer::default();
        let quoted = [&errno.to_ne_bytes()[..], &[0; 16]].concat();
        writer.message(ERROR, WORDS, 1, &quoted, |body| body.attr_str(1, "no such table"));
        writer.as_bytes().to_vec()
    };
    let whole = [listing.as_bytes().to_vec(), routes.as_bytes().to_vec()];
    whole.into_iter().chain([refusal(-2), refusal(i32::MIN)]).collect()
}

/// Replies by a ping socket of either version, and by a raw socket.
pub(crate) fn replies() -> Vec<Vec<u8>> {
    let icmp = |kind| [&[kind, 0, 0, 0, 0xec, 0xec, 0, SEQUENCE as u8][..], &TOKEN].concat();
    vec![
        [&[4][..], &icmp(0)].concat(),
        [&[6][..], &icmp(129)].concat(),
        [&[4][..], &[0x46; 24], &icmp(0)].concat(),
    ]
}
