//! Cookies: proof that an initiator receives what is sent to its address, asked for under load.
//!
//! ```text
//! cookie = HMAC(secret, origin 19)[0..16]
//! mac2   = HMAC(cookie, the DDE before mac2)[0..16]
//! COOKIE = header | nonce 24 | XChaCha20-Poly1305(K_cookie, nonce, ad = mac1 of the DDE, cookie)
//! ```
//!
//! The secret is this agent's own and lives [`COOKIE_LIFETIME`]; nothing is kept of who was given a
//! cookie. `K_cookie` comes from the domain key, so that whoever only watches or forges addresses
//! learns no cookie. Source: PROTOCOL.md 2.3 and 2.5, after WireGuard 5.4.7.

use super::Reject;
use super::received::read_clear;
use crate::NegotiationId;
use crate::crypto::seal::{open_cookie, seal_cookie};
use crate::crypto::{self, Rng, kdf, random_secret};
use crate::keyring::{DomainKeys, Keyring};
use crate::limits::{COOKIE_GRACE, COOKIE_LIFETIME};
use crate::membership::Secret32;
use crate::now::{Instant, UnixTime};
use crate::origin::Origin;
use crate::wire::dprp::cookie::{COOKIE_LEN, CookieParts};
use crate::wire::dprp::dde::DdeParts;
use crate::wire::dprp::{Header, Kind, MAC_LEN, Malformed};
use zeroize::{Zeroize, ZeroizeOnDrop};

/// What an agent under load gives to whoever asks it something. Wiped on drop.
#[derive(Clone, Zeroize, ZeroizeOnDrop)]
pub struct Cookie([u8; MAC_LEN]);

impl Cookie {
    /// Puts `mac2` into a DDE.
    pub fn sign(&self, dde: &mut [u8]) {
        if let Some((covered, mac2)) = dde.split_last_chunk_mut::<MAC_LEN>() {
            *mac2 = self.mac2(covered);
        }
    }

    /// True if the DDE carries `mac2` under this cookie.
    #[must_use]
    pub fn signed(&self, dde: &[u8]) -> bool {
        let tail = dde.split_last_chunk::<MAC_LEN>();
        tail.is_some_and(|(covered, mac2)| kdf::same(mac2, &self.mac2(covered)))
    }

    fn mac2(&self, covered: &[u8]) -> [u8; MAC_LEN] {
        kdf::short_hmac_under(&self.0, &[covered])
    }
}

/// By what this agent makes its cookies and knows them again.
pub struct CookieSecret {
    current: Secret32,
    previous: Option<Secret32>,
    since: Instant,
}

impl CookieSecret {
    /// A fresh secret.
    #[must_use]
    pub fn new(rng: &mut Rng, now: Instant) -> Self {
        Self { current: random_secret(rng), previous: None, since: now }
    }

    /// The cookie of an origin.
    #[must_use]
    pub fn cookie(&mut self, origin: &Origin, rng: &mut Rng, now: Instant) -> Cookie {
        self.rotate(rng, now);
        cookie_under(&self.current, origin)
    }

    /// True if `dde` carries `mac2` under a cookie that this agent gave to this origin at most
    /// [`COOKIE_LIFETIME`] ago.
    #[must_use]
    pub fn proves(&mut self, dde: &[u8], origin: &Origin, rng: &mut Rng, now: Instant) -> bool {
        self.rotate(rng, now);
        if now.since(self.since) >= COOKIE_GRACE {
            self.previous = None;
        }
        let secrets = [Some(&self.current), self.previous.as_ref()];
        secrets.into_iter().flatten().any(|secret| cookie_under(secret, origin).signed(dde))
    }

    fn rotate(&mut self, rng: &mut Rng, now: Instant) {
        let age = now.since(self.since);
        if age < COOKIE_LIFETIME {
            return;
        }
        let last = std::mem::replace(&mut self.current, random_secret(rng));
        // A secret nobody asked about for longer has ended without having been replaced.
        let due = self.since + COOKIE_LIFETIME;
        self.previous = (age < COOKIE_LIFETIME + COOKIE_GRACE).then_some(last);
        self.since = if self.previous.is_some() { due } else { now };
    }
}

fn cookie_under(secret: &Secret32, origin: &Origin) -> Cookie {
    Cookie(kdf::short_hmac(secret, &[&origin.emit()]))
}

/// The COOKIE that answers `dde`, a DDE with right `mac1`.
///
/// # Errors
/// [`Reject`] if it is no DDE of this domain.
pub fn create_cookie(
    keyring: &Keyring,
    dde: &[u8],
    cookie: &Cookie,
    rng: &mut Rng,
    unix: UnixTime,
) -> Result<Vec<u8>, Reject> {
    let seen = read_clear(keyring, dde, unix)?;
    let keys = keyring.domain_epoch(seen.domain_epoch, unix).ok_or(Reject::Stale)?;
    let mac1 = DdeParts::parse(dde)?.mac1;
    let (sid_i, sid_r) = (seen.id, NegotiationId::default());
    let length = COOKIE_LEN as u16;
    let header = Header { kind: Kind::Cookie, records: 0, length, sid_i, sid_r };
    let nonce = crypto::random(rng);
    let sealed = seal_cookie(&keys.cookie, &nonce, mac1, &cookie.0);
    Ok([header.emit().as_slice(), &nonce, &sealed].concat())
}

/// Reads the COOKIE that answers `dde`, our own of the negotiation `id`.
pub(super) fn open(
    keys: &DomainKeys,
    message: &[u8],
    dde: &[u8],
    id: NegotiationId,
) -> Result<Cookie, Reject> {
    let parts = CookieParts::parse(message, id)?;
    let mac1 = DdeParts::parse(dde)?.mac1;
    let opened = open_cookie(&keys.cookie, parts.nonce, mac1, parts.sealed)
        .ok_or(Reject::BadSeal("COOKIE"))?;
    let cookie = opened.as_slice().try_into().map_err(|_| Malformed::new("COOKIE", "length"))?;
    Ok(Cookie(cookie))
}

/// A DDE as an agent between remembers it, to know the COOKIE that answers it.
#[derive(Clone, Copy)]
pub struct Questioned {
    domain_epoch: crate::id::Epoch,
    mac1: [u8; MAC_LEN],
    id: NegotiationId,
}

impl Questioned {
    /// Reads what is needed of an authentic DDE.
    ///
    /// # Errors
    /// [`Reject`] if it is no DDE of this domain.
    pub fn read(keyring: &Keyring, dde: &[u8], unix: UnixTime) -> Result<Self, Reject> {
        let seen = read_clear(keyring, dde, unix)?;
        let mac1 = *DdeParts::parse(dde)?.mac1;
        Ok(Self { domain_epoch: seen.domain_epoch, mac1, id: seen.id })
    }

    /// True if `message` is a COOKIE of an agent of the domain to this DDE.
    #[must_use]
    pub fn is_answered(&self, keyring: &Keyring, message: &[u8], unix: UnixTime) -> bool {
        let keys = keyring.domain_epoch(self.domain_epoch, unix);
        let parts = CookieParts::parse(message, self.id).ok();
        keys.zip(parts).is_some_and(|(keys, parts)| {
            open_cookie(&keys.cookie, parts.nonce, &self.mac1, parts.sealed).is_some()
        })
    }
}
