//! The scenarios, one file for each side of the product.

pub(crate) mod lab;
