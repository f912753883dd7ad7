//! ge-runtime

pub mod command;
pub mod exit;
pub mod options;
