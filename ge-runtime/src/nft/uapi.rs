//! Numbers of `linux/netfilter/nf_tables.h`: the kernel's binary interface, which never changes.
//! Messages and hooks come from `libc`; attribute numbers are not in it.
#![allow(missing_docs, reason = "names and meanings are those of the kernel header")]

pub(crate) const TABLE_NAME: u16 = 1;
pub(crate) const TABLE_FLAGS: u16 = 2;
/// Since Linux 5.12: only the socket that made the table may change it; it goes with the socket.
pub(crate) const TABLE_F_OWNER: u32 = 2;
/// Since Linux 6.9: the table stays when its owner goes, and anybody privileged may take it over.
pub(crate) const TABLE_F_PERSIST: u32 = 4;

pub(crate) const CHAIN_TABLE: u16 = 1;
pub(crate) const CHAIN_NAME: u16 = 3;
pub(crate) const CHAIN_HOOK: u16 = 4;
pub(crate) const CHAIN_POLICY: u16 = 5;
pub(crate) const CHAIN_TYPE: u16 = 7;
pub(crate) const HOOK_NUMBER: u16 = 1;
pub(crate) const HOOK_PRIORITY: u16 = 2;
pub(crate) const HOOK_DEVICE: u16 = 3;

pub(crate) const RULE_TABLE: u16 = 1;
pub(crate) const RULE_CHAIN: u16 = 2;
pub(crate) const RULE_EXPRESSIONS: u16 = 4;
pub(crate) const LIST_ELEMENT: u16 = 1;
pub(crate) const EXPR_NAME: u16 = 1;
pub(crate) const EXPR_DATA: u16 = 2;

pub(crate) const DATA_VALUE: u16 = 1;
pub(crate) const DATA_VERDICT: u16 = 2;
pub(crate) const VERDICT_CODE: u16 = 1;
pub(crate) const VERDICT_CHAIN: u16 = 2;

pub(crate) const META_REGISTER: u16 = 1;
pub(crate) const META_KEY: u16 = 2;
pub(crate) const CMP_REGISTER: u16 = 1;
pub(crate) const CMP_OP: u16 = 2;
pub(crate) const CMP_DATA: u16 = 3;
pub(crate) const PAYLOAD_REGISTER: u16 = 1;
pub(crate) const PAYLOAD_BASE: u16 = 2;
pub(crate) const PAYLOAD_OFFSET: u16 = 3;
pub(crate) const PAYLOAD_LEN: u16 = 4;
pub(crate) const EXTHDR_REGISTER: u16 = 1;
pub(crate) const EXTHDR_TYPE: u16 = 2;
pub(crate) const EXTHDR_OFFSET: u16 = 3;
pub(crate) const EXTHDR_LEN: u16 = 4;
pub(crate) const EXTHDR_FLAGS: u16 = 5;
/// Whether the header is there, instead of what is in it.
pub(crate) const EXTHDR_F_PRESENT: u32 = 1;
pub(crate) const IMMEDIATE_REGISTER: u16 = 1;
pub(crate) const IMMEDIATE_DATA: u16 = 2;
pub(crate) const LOOKUP_SET: u16 = 1;
pub(crate) const LOOKUP_REGISTER: u16 = 2;
pub(crate) const BITWISE_SOURCE: u16 = 1;
pub(crate) const BITWISE_TARGET: u16 = 2;
pub(crate) const BITWISE_LEN: u16 = 3;
pub(crate) const BITWISE_MASK: u16 = 4;
pub(crate) const BITWISE_XOR: u16 = 5;
pub(crate) const FWD_REGISTER: u16 = 1;

/// The verdict "register".
pub(crate) const REG_VERDICT: u32 = 0;
/// First of sixteen registers of 32 bits (`NFT_REG32_00`).
pub(crate) const REG32: u32 = 8;

pub(crate) const SET_TABLE: u16 = 1;
pub(crate) const SET_NAME: u16 = 2;
pub(crate) const SET_FLAGS: u16 = 3;
pub(crate) const SET_KEY_TYPE: u16 = 4;
pub(crate) const SET_KEY_LEN: u16 = 5;
pub(crate) const SET_DESC: u16 = 9;
pub(crate) const SET_ID: u16 = 10;
pub(crate) const SET_DESC_SIZE: u16 = 1;

pub(crate) const ELEMENTS_TABLE: u16 = 1;
pub(crate) const ELEMENTS_SET: u16 = 2;
pub(crate) const ELEMENTS_LIST: u16 = 3;
pub(crate) const ELEMENT_KEY: u16 = 1;
pub(crate) const ELEMENT_TIMEOUT: u16 = 4;
