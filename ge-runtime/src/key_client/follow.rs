//! Following the server: long poll, renewal, back-off.

use super::backoff::Backoff;
use super::connection::Connection;
use super::{KeyClient, KeyClientError, KeyUpdate, SyncState, clock_offset, connect_any, tls, url};
use crate::{clock, entropy};
use core::convert::Infallible;
use ge_core::UnixTime;
use ge_core::crypto::x25519;
use mgmt_api::{Bundle, HexBytes, RenewRequest, path};
use std::sync::Arc;
use std::time::SystemTime;
use tokio::sync::{mpsc, watch};
use tokio::time::sleep;

/// Random delay of a renewal, as a share of the time since the certificate was issued: agents that
/// enrolled together renew apart. PROTOCOL.md 2.5.
const RENEWAL_JITTER_PERCENT: u64 = 10;
/// A clock this many seconds off is worth a warning: certificates tolerate 120 s.
const CLOCK_WARNING: u64 = 60;

impl KeyClient {
    /// Follows the server until this host is removed or nobody listens any more. Each new version
    /// goes to `updates`, how things stand to `state`. Errors along the way are waited out.
    ///
    /// # Errors
    /// This host was removed ([`KeyUpdate::Removed`] was sent), or the identity is of no use.
    pub async fn follow(
        self,
        updates: mpsc::Sender<KeyUpdate>,
        state: watch::Sender<SyncState>,
    ) -> Result<(), KeyClientError> {
        let tls = tls::client_config(&self.identity, self.enrolment.fingerprint)?;
        let renewal_jitter = u64::from(random()?) % (RENEWAL_JITTER_PERCENT + 1);
        let mut follower =
            Follower { client: self, tls, updates, state, offset: 0, renewal_jitter };
        let listener = follower.updates.clone();
        tokio::select! {
            removed = follower.follow() => Err(removed),
            () = listener.closed() => Ok(()),
        }
    }
}

struct Follower {
    client: KeyClient,
    tls: tls::Config,
    updates: mpsc::Sender<KeyUpdate>,
    state: watch::Sender<SyncState>,
    /// Seconds the server's clock is ahead.
    offset: i64,
    renewal_jitter: u64,
}

impl Follower {
    /// Connection after connection. Ends with the one error that waiting does not help.
    async fn follow(&mut self) -> KeyClientError {
        let mut backoff = Backoff::default();
        loop {
            let Err(err) = self.connected(&mut backoff).await;
            if err.is_removed() {
                self.expel().await;
                return err;
            }
            self.note_failure(&err);
            match random() {
                Ok(random) => sleep(backoff.next(random)).await,
                Err(err) => return err.into(),
            }
        }
    }

    /// One connection, for as long as it lasts.
    async fn connected(&mut self, backoff: &mut Backoff) -> Result<Infallible, KeyClientError> {
        let servers = &self.client.enrolment.servers;
        let mut connection = connect_any(servers, &self.tls, &*self.client.connector).await?;
        // The first answer of a connection always brings a bundle, and with it the server's clock.
        let mut known = 0;
        loop {
            let news = if self.is_renewal_due() {
                Some(self.renew(&mut connection).await?)
            } else {
                connection.bundle(known).await?
            };
            if let Some(bundle) = news {
                self.take_in(&bundle).await?;
            }
            known = self.client.held.as_ref().map_or(0, |held| held.version);
            backoff.reset();
            self.note_success(&connection);
        }
    }

    async fn renew(&self, connection: &mut Connection) -> Result<Bundle, KeyClientError> {
        let noise_key = HexBytes(x25519::public_key(&self.client.identity.noise_static));
        connection.post(path::RENEW, &RenewRequest { noise_key, aes: self.client.aes }).await
    }

    /// Due by the server's clock; a membership that is missing comes by the long poll.
    fn is_renewal_due(&self) -> bool {
        self.client.held.as_ref().is_some_and(|held| {
            let lease = held.lease;
            let age = lease.renew_after.saturating_sub(lease.issued);
            let due = lease.renew_after.saturating_add(age / 100 * self.renewal_jitter);
            clock::unix().0.saturating_add_signed(self.offset) >= due
        })
    }

    async fn take_in(&mut self, bundle: &Bundle) -> Result<(), KeyClientError> {
        self.offset = clock_offset(bundle.server_time);
        if self.client.is_held(bundle) {
            return Ok(()); // asked for the server's clock only
        }
        let membership = self.client.take_in(bundle)?;
        if self.offset.unsigned_abs() > CLOCK_WARNING {
            tracing::warn!(
                seconds = self.offset,
                "this machine's clock differs from the server's; set it (timedatectl set-ntp true)"
            );
        }
        tracing::info!(version = bundle.version, "membership updated");
        // A listener that is gone ends `KeyClient::follow`.
        let _ = self.updates.send(KeyUpdate::Membership(Arc::new(membership))).await;
        Ok(())
    }

    /// The server said that this host was removed.
    async fn expel(&self) {
        tracing::error!("this host was removed from the domain; its keys are forgotten");
        if let Err(err) = self.client.state.forget_membership() {
            tracing::error!(%err, "the cached membership could not be removed");
        }
        let why = "this host was removed by an administrator".to_owned();
        self.state.send_modify(|state| {
            state.last_error = Some((SystemTime::now(), why));
            state.lease_until = None;
        });
        let _ = self.updates.send(KeyUpdate::Removed).await;
    }

    fn note_success(&self, connection: &Connection) {
        self.state.send_modify(|state| {
            state.server = url(connection.server());
            state.last_success = Some(SystemTime::now());
            state.last_error = None;
            state.clock_offset = self.offset;
            if let Some(held) = &self.client.held {
                state.version = held.version;
                state.lease_until = Some(UnixTime(held.lease.expires));
            }
        });
    }

    fn note_failure(&self, err: &KeyClientError) {
        let first = self.state.borrow().last_error.is_none();
        if first {
            tracing::warn!(%err, "the management server cannot be used; trying again");
        } else {
            tracing::debug!(%err, "the management server still cannot be used");
        }
        self.state.send_modify(|state| {
            let since = state.last_error.as_ref().map_or_else(SystemTime::now, |known| known.0);
            state.last_error = Some((since, err.to_string()));
        });
    }
}

fn random() -> Result<u32, entropy::EntropyError> {
    let mut bytes = [0; 4];
    entropy::fill(&mut bytes)?;
    Ok(u32::from_ne_bytes(bytes))
}
