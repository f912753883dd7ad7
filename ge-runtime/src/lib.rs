//! ge-runtime
