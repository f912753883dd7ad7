//! Public-key operations, of which a negotiation mostly consists.

use crate::figure::{Figure, time};
use anyhow::{Context, Result};
use ge_core::crypto::{sign, x25519};
use ge_core::membership::Secret32;
use std::hint::black_box;

const RUNS: usize = 1_000;
/// As long as the text of a certificate.
const TEXT: [u8; 256] = [0x5a; 256];

pub(crate) fn figures() -> Result<Vec<Figure>> {
    let (own, peer) = (Secret32([1; 32]), x25519::public_key(&Secret32([2; 32])));
    let pair = x25519::KeyPair::new(&own);
    pair.shared_secret(&peer).ok().context("a key of low order")?;
    let signer = sign::Signer::new(&own);
    let (key, signature) = (signer.public_key(), signer.sign(&TEXT));
    anyhow::ensure!(sign::verify(&key, &TEXT, &signature), "a wrong signature");
    Ok(vec![
        figure("X25519 key pair", || black_box(x25519::KeyPair::new(&own))),
        figure("X25519 shared secret", || black_box(pair.shared_secret(&peer))),
        figure("Ed25519 sign 256 B", || black_box(signer.sign(&TEXT))),
        figure("Ed25519 verify 256 B", || black_box(sign::verify(&key, &TEXT, &signature))),
    ])
}

fn figure<T>(name: &str, work: impl Fn() -> T) -> Figure {
    let samples = (0..RUNS).map(|_| time(&work).0).collect();
    Figure::median(name.to_owned(), samples, 1)
}
