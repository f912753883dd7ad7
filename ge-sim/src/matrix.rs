//! The mode matrix: every kind of end, every kind of agent between, every way they can share groups.
//! What simulated agents do is compared with what the rule says.

pub mod oracle;
