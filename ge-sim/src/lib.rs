//! ge-sim
