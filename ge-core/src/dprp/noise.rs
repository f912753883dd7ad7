//! The Noise core: `Noise_XXpsk0+psk2_25519_ChaChaPoly_SHA256` through the snow library.
//!
//! Two things are ours. Randomness: the one random value of a handshake, the ephemeral key, is handed
//! in, so that the caller's seed decides it and the exchange can be built again from its messages.
//! Diffie-Hellman: low-order points are refused wherever they appear (`e` and `s` of either end),
//! and private keys are wiped.

use crate::crypto::x25519::KeyPair;
use crate::membership::Secret32;
use snow::params::{CipherChoice, DHChoice, HashChoice, NoiseParams};
use snow::resolvers::{CryptoResolver, DefaultResolver};
use snow::types::{Cipher, Dh, Hash, Random};
use snow::{Builder, Error, HandshakeState};
use std::sync::{Arc, OnceLock};

/// The one suite. Its name is part of every handshake hash.
const PATTERN: &str = "Noise_XXpsk0+psk2_25519_ChaChaPoly_SHA256";

/// Keys and name of a finished exchange.
pub(super) struct Split {
    /// From the initiator to the responder.
    pub(super) forward: Secret32,
    /// From the responder to the initiator.
    pub(super) backward: Secret32,
    pub(super) hash: [u8; 32],
}

/// One handshake in progress.
pub(super) struct Noise {
    state: HandshakeState,
    own: Arc<OwnKeys>,
}

impl Noise {
    pub(super) fn initiator(keys: &Keys<'_>) -> Self {
        Self::new(keys, Builder::build_initiator)
    }

    pub(super) fn responder(keys: &Keys<'_>) -> Self {
        Self::new(keys, Builder::build_responder)
    }

    fn new<'a>(keys: &Keys<'a>, build: fn(Builder<'a>) -> Result<HandshakeState, Error>) -> Self {
        let params: NoiseParams = PATTERN.parse().expect("invariant: the pattern is known");
        let local = keys.local_static.clone();
        let own = Arc::new(OwnKeys { local, ephemeral: OnceLock::new() });
        let resolver = Resolver(Arc::clone(&own));
        let state = Builder::with_resolver(params, Box::new(resolver))
            .local_private_key(&keys.local_static.secret().0)
            .and_then(|builder| builder.prologue(keys.prologue))
            .and_then(|builder| builder.psk(0, &keys.psk0.0))
            .and_then(build)
            .expect("invariant: every part of the pattern is provided, each once");
        Self { state, own }
    }

    /// Sets the ephemeral key; needed before this end writes its first message. Only the first call
    /// counts.
    pub(super) fn set_ephemeral(&self, ephemeral: &KeyPair) {
        let _ = self.own.ephemeral.set(ephemeral.clone());
    }

    /// Sets the key of the chosen group, needed for the second message.
    pub(super) fn set_group_key(&mut self, psk2: &Secret32) {
        self.state.set_psk(2, &psk2.0).expect("invariant: 32 bytes at a place of the pattern");
    }

    /// Writes the next message. An error means that it is not our turn, or that the peer's key is
    /// a low-order point.
    pub(super) fn write(&mut self, payload: &[u8]) -> Result<Vec<u8>, Error> {
        let mut message = vec![0; payload.len() + OVERHEAD_MAX];
        let length = self.state.write_message(payload, &mut message)?;
        message.truncate(length);
        Ok(message)
    }

    /// Reads the next message. After an error this state must not be used again.
    pub(super) fn read(&mut self, message: &[u8]) -> Result<Vec<u8>, Error> {
        let mut payload = vec![0; message.len()];
        let length = self.state.read_message(message, &mut payload)?;
        payload.truncate(length);
        Ok(payload)
    }

    /// The peer's static public key, once its message was read.
    pub(super) fn remote_static(&self) -> Option<[u8; 32]> {
        self.state.get_remote_static()?.try_into().ok()
    }

    /// Keys of the finished exchange. `None` before its last message.
    pub(super) fn split(mut self) -> Option<Split> {
        if !self.state.is_handshake_finished() {
            return None;
        }
        let hash = self.state.get_handshake_hash().try_into().ok()?;
        let (forward, backward) = self.state.dangerously_get_raw_split();
        Some(Split { forward: Secret32(forward), backward: Secret32(backward), hash })
    }
}

/// What a handshake starts from.
#[derive(Clone, Copy)]
pub(super) struct Keys<'a> {
    pub(super) local_static: &'a KeyPair,
    pub(super) prologue: &'a [u8],
    pub(super) psk0: &'a Secret32,
}

/// A message is at most this much longer than its payload: two keys, two tags.
const OVERHEAD_MAX: usize = 96;

/// The two keys of this end.
struct OwnKeys {
    local: KeyPair,
    ephemeral: OnceLock<KeyPair>,
}

/// Hash and cipher are snow's own, randomness and Diffie-Hellman ours.
struct Resolver(Arc<OwnKeys>);

impl CryptoResolver for Resolver {
    fn resolve_rng(&self) -> Option<Box<dyn Random>> {
        Some(Box::new(NoRandomness))
    }

    fn resolve_dh(&self, choice: &DHChoice) -> Option<Box<dyn Dh>> {
        let dh = X25519 { own: Arc::clone(&self.0), pair: None };
        matches!(choice, DHChoice::Curve25519).then(|| Box::new(dh) as Box<dyn Dh>)
    }

    fn resolve_hash(&self, choice: &HashChoice) -> Option<Box<dyn Hash>> {
        DefaultResolver.resolve_hash(choice)
    }

    fn resolve_cipher(&self, choice: &CipherChoice) -> Option<Box<dyn Cipher>> {
        DefaultResolver.resolve_cipher(choice)
    }
}

/// Nothing in a handshake is random but the ephemeral key, and that is handed in.
struct NoRandomness;

impl Random for NoRandomness {
    fn try_fill_bytes(&mut self, _: &mut [u8]) -> Result<(), Error> {
        Err(Error::Rng)
    }
}

/// One of this end's two keys: the static one after `set`, the ephemeral one after `generate`.
struct X25519 {
    own: Arc<OwnKeys>,
    pair: Option<(KeyPair, [u8; 32])>,
}

impl X25519 {
    fn hold(&mut self, pair: &KeyPair) {
        self.pair = Some((pair.clone(), pair.public()));
    }
}

impl Dh for X25519 {
    fn name(&self) -> &'static str {
        "25519"
    }

    fn pub_len(&self) -> usize {
        32
    }

    fn priv_len(&self) -> usize {
        32
    }

    /// Called with the static key only, which is known already.
    fn set(&mut self, _: &[u8]) {
        let own = Arc::clone(&self.own);
        self.hold(&own.local);
    }

    fn generate(&mut self, _: &mut dyn Random) -> Result<(), Error> {
        let own = Arc::clone(&self.own);
        self.hold(own.ephemeral.get().ok_or(Error::Rng)?);
        Ok(())
    }

    /// Empty before `set` or `generate`; snow asks only afterwards.
    fn pubkey(&self) -> &[u8] {
        self.pair.as_ref().map_or(&[], |(_, public)| public)
    }

    fn privkey(&self) -> &[u8] {
        self.pair.as_ref().map_or(&[], |(pair, _)| &pair.secret().0)
    }

    fn dh(&self, pubkey: &[u8], out: &mut [u8]) -> Result<(), Error> {
        let public = pubkey.first_chunk().ok_or(Error::Dh)?;
        let (pair, _) = self.pair.as_ref().ok_or(Error::Dh)?;
        let shared = pair.shared_secret(public).map_err(|_| Error::Dh)?;
        out.get_mut(..32).ok_or(Error::Dh)?.copy_from_slice(&shared.0);
        Ok(())
    }
}

#[cfg(test)]
mod tests;
