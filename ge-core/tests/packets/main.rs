//! Packet codecs, segmentation and coalescing, seen from outside the crate: literal vectors, truth
//! tables, and seeded loops against an independent reference.
#![allow(clippy::unwrap_used, reason = "a test's helper may fail the test")]

mod build;
mod clamp;
mod coalesce;
mod fragment;
mod hostile;
mod icmp;
mod icmp_error;
mod ip;
mod properties;
mod reference;
mod round_trip;
mod segment;
mod unmerge;
mod vnet;
