//! One transaction: all of it takes effect at once, or nothing does.

use super::rule::{Rule, Verdict};
use super::uapi::*;
use crate::netlink::Writer;
use std::borrow::Cow;
use std::time::Duration;

/// Elements in one message. An element takes at most 64 bytes and a list of them must stay under
/// the 64 KiB of an attribute.
const ELEMENTS_PER_MESSAGE: usize = 512;

/// Messages for one table of the netdev family.
pub(crate) struct Batch {
    table: &'static str,
    writer: Writer,
    /// What the message with this sequence number is about.
    objects: Vec<Cow<'static, str>>,
}

/// A set whose keys are fields one after the other, each padded to 32 bits.
pub(crate) struct Set {
    pub(crate) name: &'static str,
    /// Key length in bytes, padding included.
    pub(crate) key_len: u32,
    /// How `nft` shows keys: its type numbers, six bits each. The kernel does not look at it.
    pub(crate) key_type: u32,
    /// Elements may carry a timeout.
    pub(crate) timeout: bool,
    /// Most elements it takes.
    pub(crate) size: u32,
}

/// Where a base chain sits.
#[derive(Clone, Copy)]
pub(crate) enum HookPoint {
    /// Frames that arrive, before anything else sees them but packet sockets.
    Ingress,
    /// Frames that leave, before the queueing discipline.
    Egress,
}

/// An element to add, and how long it lives.
pub(crate) type Element = (Vec<u8>, Option<Duration>);

impl Batch {
    /// An empty transaction on a table.
    pub(crate) fn new(table: &'static str) -> Self {
        let mut batch = Self { table, writer: Writer::default(), objects: Vec::new() };
        batch.control(libc::NFNL_MSG_BATCH_BEGIN);
        batch
    }

    /// Makes the table if it is not there. Without flags it changes nothing on one that is.
    pub(crate) fn add_table(&mut self, flags: Option<u32>) {
        let table = self.table;
        self.message(libc::NFT_MSG_NEWTABLE, libc::NLM_F_CREATE, format!("table {table}"), |out| {
            out.attr_str(TABLE_NAME, table);
            if let Some(flags) = flags {
                out.attr_be32(TABLE_FLAGS, flags);
            }
        });
    }

    /// Deletes the table and all in it. It must be there.
    pub(crate) fn delete_table(&mut self) {
        let table = self.table;
        self.message(libc::NFT_MSG_DELTABLE, 0, format!("removal of table {table}"), |out| {
            out.attr_str(TABLE_NAME, table);
        });
    }

    /// Makes a chain that others jump to.
    pub(crate) fn add_chain(&mut self, name: &str) {
        let table = self.table;
        self.message(libc::NFT_MSG_NEWCHAIN, libc::NLM_F_CREATE, format!("chain {name}"), |out| {
            out.attr_str(CHAIN_TABLE, table);
            out.attr_str(CHAIN_NAME, name);
        });
    }

    /// Makes a chain that the kernel calls for each frame of an interface.
    pub(crate) fn add_base_chain(
        &mut self,
        name: &str,
        point: HookPoint,
        device: &str,
        policy: Verdict<'_>,
    ) {
        self.add_base_chain_at(0, name, point, device, policy);
    }

    /// The same, called in the order of `priority`.
    pub(crate) fn add_base_chain_at(
        &mut self,
        priority: i32,
        name: &str,
        point: HookPoint,
        device: &str,
        policy: Verdict<'_>,
    ) {
        let table = self.table;
        let number = match point {
            HookPoint::Ingress => libc::NF_NETDEV_INGRESS,
            HookPoint::Egress => libc::NF_NETDEV_EGRESS,
        };
        let policy = if policy == Verdict::Drop { libc::NF_DROP } else { libc::NF_ACCEPT };
        let object = format!("chain {name} on interface {device}");
        self.message(libc::NFT_MSG_NEWCHAIN, libc::NLM_F_CREATE, object, |out| {
            out.attr_str(CHAIN_TABLE, table);
            out.attr_str(CHAIN_NAME, name);
            out.nest(CHAIN_HOOK, |hook| {
                hook.attr_be32(HOOK_NUMBER, number.cast_unsigned());
                hook.attr_be32(HOOK_PRIORITY, priority.cast_unsigned());
                hook.attr_str(HOOK_DEVICE, device);
            });
            out.attr_be32(CHAIN_POLICY, policy.cast_unsigned());
            out.attr_str(CHAIN_TYPE, "filter");
        });
    }

    /// Appends a rule to a chain. `what` names it in errors.
    pub(crate) fn add_rule(&mut self, chain: &str, what: &str, rule: &Rule) {
        let table = self.table;
        let flags = libc::NLM_F_CREATE | libc::NLM_F_APPEND;
        let object = format!("rule \"{what}\" in chain {chain}");
        self.message(libc::NFT_MSG_NEWRULE, flags, object, |out| {
            out.attr_str(RULE_TABLE, table);
            out.attr_str(RULE_CHAIN, chain);
            out.nest(RULE_EXPRESSIONS, |list| list.raw(rule.as_bytes()));
        });
    }

    /// Makes a set.
    pub(crate) fn add_set(&mut self, set: &Set) {
        let table = self.table;
        let id = u32::try_from(self.objects.len()).unwrap_or(u32::MAX);
        let flags = if set.timeout { libc::NFT_SET_TIMEOUT.cast_unsigned() } else { 0 };
        let object = format!("set {}", set.name);
        self.message(libc::NFT_MSG_NEWSET, libc::NLM_F_CREATE, object, |out| {
            out.attr_str(SET_TABLE, table);
            out.attr_str(SET_NAME, set.name);
            out.attr_be32(SET_FLAGS, flags);
            out.attr_be32(SET_KEY_TYPE, set.key_type);
            out.attr_be32(SET_KEY_LEN, set.key_len);
            out.nest(SET_DESC, |desc| desc.attr_be32(SET_DESC_SIZE, set.size));
            out.attr_be32(SET_ID, id);
        });
    }

    /// Adds elements. One that is there already stays as it is.
    pub(crate) fn add_elements(&mut self, set: &'static str, elements: &[Element]) {
        self.elements(libc::NFT_MSG_NEWSETELEM, libc::NLM_F_CREATE, set, elements);
    }

    /// Deletes elements. Each must be there once.
    pub(crate) fn delete_elements(&mut self, set: &'static str, elements: &[Element]) {
        self.elements(libc::NFT_MSG_DELSETELEM, 0, set, elements);
    }

    /// Ends the transaction. What it is about, by sequence number, is needed to read the answer.
    pub(super) fn finish(mut self) -> (Writer, Vec<Cow<'static, str>>) {
        self.control(libc::NFNL_MSG_BATCH_END);
        (self.writer, self.objects)
    }

    fn elements(&mut self, kind: i32, flags: i32, set: &'static str, elements: &[Element]) {
        let table = self.table;
        for part in elements.chunks(ELEMENTS_PER_MESSAGE) {
            self.message(kind, flags, set, |out| {
                out.attr_str(ELEMENTS_TABLE, table);
                out.attr_str(ELEMENTS_SET, set);
                out.nest(ELEMENTS_LIST, |list| {
                    part.iter().for_each(|element| write_element(list, element));
                });
            });
        }
    }

    fn message(
        &mut self,
        kind: i32,
        flags: i32,
        object: impl Into<Cow<'static, str>>,
        body: impl FnOnce(&mut Writer),
    ) {
        let header = [libc::NFPROTO_NETDEV.to_le_bytes()[0], 0, 0, 0];
        let flags = libc::NLM_F_REQUEST | libc::NLM_F_ACK | flags;
        self.push((libc::NFNL_SUBSYS_NFTABLES << 8) | kind, flags, header, object.into(), body);
    }

    fn control(&mut self, kind: i32) {
        let subsystem = libc::NFNL_SUBSYS_NFTABLES.to_be_bytes();
        let header = [0, 0, subsystem[2], subsystem[3]];
        self.push(kind, libc::NLM_F_REQUEST, header, "the transaction".into(), |_| ());
    }

    fn push(
        &mut self,
        kind: i32,
        flags: i32,
        header: [u8; 4],
        object: Cow<'static, str>,
        body: impl FnOnce(&mut Writer),
    ) {
        let sequence = u32::try_from(self.objects.len()).unwrap_or(u32::MAX);
        let half = |value: i32| u16::try_from(value).expect("invariant: a constant of 16 bits");
        self.writer.message(half(kind), half(flags), sequence, &header, body);
        self.objects.push(object);
    }
}

fn write_element(list: &mut Writer, (key, lifetime): &Element) {
    list.nest(LIST_ELEMENT, |element| {
        element.nest(ELEMENT_KEY, |data| data.attr(DATA_VALUE, key));
        if let Some(lifetime) = lifetime {
            let millis = u64::try_from(lifetime.as_millis()).unwrap_or(u64::MAX).max(1);
            element.attr_be64(ELEMENT_TIMEOUT, millis);
        }
    });
}
