//! The only source of entropy: the kernel's, by `getrandom`. Seeds come from here; everything
//! random inside the engine comes from those seeds.

/// The kernel gave no random bytes. There is no weaker source to fall back to.
#[derive(Debug, thiserror::Error)]
#[error("the kernel gave no random bytes: {0}; the agent cannot make keys and stops")]
pub struct EntropyError(getrandom::Error);

/// Fills `bytes` with random bytes.
///
/// # Errors
/// If the kernel has none to give; `bytes` is then unchanged or partly filled and must not be used.
pub fn fill(bytes: &mut [u8]) -> Result<(), EntropyError> {
    getrandom::fill(bytes).map_err(EntropyError)
}

/// A fresh 32-byte seed.
///
/// # Errors
/// As [`fill`].
pub fn seed() -> Result<[u8; 32], EntropyError> {
    let mut seed = [0; 32];
    fill(&mut seed)?;
    Ok(seed)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn two_seeds_differ() {
        assert_ne!(seed().unwrap(), seed().unwrap());
    }
}
