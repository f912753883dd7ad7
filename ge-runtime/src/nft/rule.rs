//! Rules: a list of expressions that run over one packet until one says no.

use super::uapi::*;
use crate::netlink::Writer;

/// What a rule does with a packet that it matches.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Verdict<'a> {
    /// Let it go on.
    Accept,
    /// End it.
    Drop,
    /// Back to the chain that jumped here.
    Return,
    /// Go on in another chain, and come back.
    Jump(&'a str),
    /// Go on in another chain, and from its end, or its return, to where this one was jumped to from.
    Goto(&'a str),
}

/// From which header a field's offset counts.
#[derive(Clone, Copy)]
pub(crate) enum Base {
    /// Ethernet. A VLAN tag that the device took off counts as if it were still there.
    Link,
    /// IPv4 or IPv6.
    Network,
    /// TCP, UDP, ICMP. In IPv6 ask for [`Rule::not_fragmented`] first: the kernel looks for the
    /// transport header of a later fragment at the start of the frame (seen on Linux 6.18). In IPv4
    /// it does not match there.
    Transport,
}

/// A field of the packet.
#[derive(Clone, Copy)]
pub(crate) struct Field {
    pub(crate) base: Base,
    /// Offset in bytes.
    pub(crate) offset: u32,
    /// Length in bytes.
    pub(crate) len: u32,
}

/// One rule under construction. Each method appends expressions; the last one is a verdict.
#[derive(Default)]
pub(crate) struct Rule {
    expressions: Writer,
}

impl Rule {
    /// Matches if a packet property (`libc::NFT_META_*`) has this value.
    pub(crate) fn meta_is(mut self, key: i32, value: &[u8]) -> Self {
        self.expression("meta", |data| {
            data.attr_be32(META_KEY, key.cast_unsigned());
            data.attr_be32(META_REGISTER, REG32);
        });
        self.compare(libc::NFT_CMP_EQ, value)
    }

    /// Matches IPv6 packets without a fragment header.
    pub(crate) fn not_fragmented(mut self) -> Self {
        const FRAGMENT: u8 = 44;
        self.expression("exthdr", |data| {
            data.attr_be32(EXTHDR_REGISTER, REG32);
            data.attr(EXTHDR_TYPE, &[FRAGMENT]);
            data.attr_be32(EXTHDR_OFFSET, 0);
            data.attr_be32(EXTHDR_LEN, 1);
            data.attr_be32(EXTHDR_FLAGS, EXTHDR_F_PRESENT);
        });
        self.compare(libc::NFT_CMP_EQ, &[0])
    }

    /// Matches if the field has this value.
    pub(crate) fn equals(self, field: Field, value: &[u8]) -> Self {
        self.load(field, 0).compare(libc::NFT_CMP_EQ, value)
    }

    /// Matches if the field has another value.
    pub(crate) fn differs(self, field: Field, value: &[u8]) -> Self {
        self.load(field, 0).compare(libc::NFT_CMP_NEQ, value)
    }

    /// Matches if the field lies between the two values, both included.
    pub(crate) fn between(self, field: Field, low: &[u8], high: &[u8]) -> Self {
        self.load(field, 0).compare(libc::NFT_CMP_GTE, low).compare(libc::NFT_CMP_LTE, high)
    }

    /// Matches if the field, seen through the mask, has this value.
    pub(crate) fn masked(self, field: Field, mask: &[u8], value: &[u8]) -> Self {
        let mut rule = self.load(field, 0);
        rule.expression("bitwise", |data| {
            data.attr_be32(BITWISE_SOURCE, REG32);
            data.attr_be32(BITWISE_TARGET, REG32);
            data.attr_be32(BITWISE_LEN, field.len);
            data.nest(BITWISE_MASK, |value| value.attr(DATA_VALUE, mask));
            data.nest(BITWISE_XOR, |value| value.attr(DATA_VALUE, &vec![0; mask.len()]));
        });
        rule.compare(libc::NFT_CMP_EQ, value)
    }

    /// Matches if the fields, one after the other and each padded to 32 bits, are in the set.
    pub(crate) fn in_set(self, fields: &[Field], set: &str) -> Self {
        let mut register = 0;
        let mut rule = self;
        for field in fields {
            rule = rule.load(*field, register);
            register += field.len.div_ceil(4);
        }
        rule.expression("lookup", |data| {
            data.attr_str(LOOKUP_SET, set);
            data.attr_be32(LOOKUP_REGISTER, REG32);
        });
        rule
    }

    /// Counts packets and bytes that come this far.
    pub(crate) fn counted(mut self) -> Self {
        self.expression("counter", |_| ());
        self
    }

    /// Ends the rule with a verdict.
    pub(crate) fn verdict(mut self, verdict: Verdict<'_>) -> Self {
        self.expression("immediate", |data| {
            data.attr_be32(IMMEDIATE_REGISTER, REG_VERDICT);
            data.nest(IMMEDIATE_DATA, |value| {
                value.nest(DATA_VERDICT, |code| verdict.write(code));
            });
        });
        self
    }

    /// Ends the rule: the packet leaves by the interface with this index, or dies with it.
    pub(crate) fn forward(mut self, ifindex: u32) -> Self {
        self.expression("immediate", |data| {
            data.attr_be32(IMMEDIATE_REGISTER, REG32);
            data.nest(IMMEDIATE_DATA, |value| value.attr(DATA_VALUE, &ifindex.to_ne_bytes()));
        });
        self.expression("fwd", |data| data.attr_be32(FWD_REGISTER, REG32));
        self
    }

    /// The expressions as attributes.
    pub(super) fn as_bytes(&self) -> &[u8] {
        self.expressions.as_bytes()
    }

    fn load(mut self, field: Field, register: u32) -> Self {
        let base = match field.base {
            Base::Link => libc::NFT_PAYLOAD_LL_HEADER,
            Base::Network => libc::NFT_PAYLOAD_NETWORK_HEADER,
            Base::Transport => libc::NFT_PAYLOAD_TRANSPORT_HEADER,
        };
        self.expression("payload", |data| {
            data.attr_be32(PAYLOAD_REGISTER, REG32 + register);
            data.attr_be32(PAYLOAD_BASE, base.cast_unsigned());
            data.attr_be32(PAYLOAD_OFFSET, field.offset);
            data.attr_be32(PAYLOAD_LEN, field.len);
        });
        self
    }

    fn compare(mut self, op: i32, value: &[u8]) -> Self {
        self.expression("cmp", |data| {
            data.attr_be32(CMP_REGISTER, REG32);
            data.attr_be32(CMP_OP, op.cast_unsigned());
            data.nest(CMP_DATA, |data| data.attr(DATA_VALUE, value));
        });
        self
    }

    fn expression(&mut self, name: &str, data: impl FnOnce(&mut Writer)) {
        self.expressions.nest(LIST_ELEMENT, |expression| {
            expression.attr_str(EXPR_NAME, name);
            expression.nest(EXPR_DATA, data);
        });
    }
}

impl Verdict<'_> {
    fn write(self, out: &mut Writer) {
        let code = match self {
            Self::Accept => libc::NF_ACCEPT,
            Self::Drop => libc::NF_DROP,
            Self::Return => libc::NFT_RETURN,
            Self::Jump(_) => libc::NFT_JUMP,
            Self::Goto(_) => libc::NFT_GOTO,
        };
        out.attr_be32(VERDICT_CODE, code.cast_unsigned());
        if let Self::Jump(chain) | Self::Goto(chain) = self {
            out.attr_str(VERDICT_CHAIN, chain);
        }
    }
}
