//! The scenarios, one file for each side of the product.

pub(crate) mod carrier;
pub(crate) mod explain;
pub(crate) mod groups;
pub(crate) mod interface;
pub(crate) mod keys;
pub(crate) mod kill;
pub(crate) mod lab;
pub(crate) mod lifecycle;
pub(crate) mod matrix;
pub(crate) mod merging;
pub(crate) mod moving;
pub(crate) mod mtu;
pub(crate) mod offloads;
pub(crate) mod outsider;
pub(crate) mod path_change;
pub(crate) mod paths;
pub(crate) mod policy;
pub(crate) mod programs;
pub(crate) mod refusal;
pub(crate) mod report;
pub(crate) mod router;
pub(crate) mod server;
pub(crate) mod traffic;
