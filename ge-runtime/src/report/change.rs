//! A change of a flow's verdict, as `flows --follow` tells it.

use super::{FlowReport, rfc3339};
use crate::command::Told;
use serde::{Deserialize, Serialize};
use std::net::IpAddr;
use std::time::SystemTime;

/// One line of `flows --follow --json`, schemas `ges.flow-change/1` and `gen.flow-change/1`.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct ChangeReport {
    /// When it was seen, RFC 3339.
    pub at: String,
    /// Changes before this one that were not told, because they came faster than they were read.
    pub lost: u64,
    /// Our side.
    pub local: IpAddr,
    /// The other side.
    pub remote: IpAddr,
    /// The row now; `null` if it is gone.
    pub flow: Option<FlowReport>,
}

impl ChangeReport {
    /// What was told at `now`.
    #[must_use]
    pub fn new(told: &Told, now: SystemTime) -> Self {
        let Told { lost, change } = told;
        Self {
            at: rfc3339(now),
            lost: *lost,
            local: change.pair.local.0,
            remote: change.pair.remote.0,
            flow: change.flow.as_ref().map(FlowReport::new),
        }
    }
}
