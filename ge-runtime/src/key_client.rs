//! The agent's side of the management server: enrols once, then follows.
//!
//! ```text
//! token ─ enrol ─> identity proved in TLS, membership ─┐
//! cached membership (server may be away) ──────────────┤
//!                                                      v
//!            follow: long poll ─ verify ─ seal to disk ─ KeyUpdate ─> engine
//! ```
//!
//! The server is believed because of its key: the fingerprint in the token at first, the same
//! fingerprint for ever after. Issuing keys are believed because the root key, pinned when the
//! agent enrolled, signed them. A version lower than one ever put in force is refused, also after
//! a restart (THREATS.md row 44).

mod backoff;
mod connection;
mod connector;
mod directory;
mod follow;
mod machine;
mod tls;
mod verify;

pub use connector::Connector;
pub use directory::Directory;
pub use machine::{Machine, has_aes, host_name};
pub use verify::Unbelievable;

use crate::clock;
use crate::entropy::EntropyError;
use crate::state_dir::{Enrolment, StateDir, StateError};
use connection::Connection;
use ge_core::UnixTime;
use ge_core::crypto::x25519;
use ge_core::membership::{Identity, Membership};
use mgmt_api::{
    Bundle, EnrolRequest, ErrorBody, ErrorCode, HexBytes, Lease, ServerAddress, Token, path,
};
use std::sync::Arc;
use std::time::SystemTime;

/// News for the engine.
#[derive(Clone)]
pub enum KeyUpdate {
    /// Put this in force.
    Membership(Arc<Membership>),
    /// This host was removed from the domain: forget the keys.
    Removed,
}

/// How the agent and its server stand, for people.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct SyncState {
    /// `https://HOST:PORT` of the server last tried.
    pub server: String,
    /// When it last answered.
    pub last_success: Option<SystemTime>,
    /// Since when it has not answered, and why; `None` while it does.
    pub last_error: Option<(SystemTime, String)>,
    /// End of this agent's certificate. New negotiations fail from here on.
    pub lease_until: Option<UnixTime>,
    /// Version of the membership in force.
    pub version: u64,
    /// Seconds the server's clock is ahead of this machine's.
    pub clock_offset: i64,
}

/// Why the server could not be used. One sentence with the fix.
#[derive(Debug, thiserror::Error)]
pub enum KeyClientError {
    /// The server refused, with its own words.
    #[error("{}", .0.message)]
    Refused(ErrorBody),
    /// Another key than the pinned one.
    #[error(
        "the server's key at {server} is not the one in the token; the token is of another \
         server, or somebody stands in between: make a new token on the right server"
    )]
    WrongFingerprint {
        /// Address tried.
        server: ServerAddress,
    },
    /// No TLS 1.3 with X25519MLKEM768.
    #[error(
        "the server at {server} does not speak TLS 1.3 with X25519MLKEM768; update it, or check \
         that the address is the management server's ({cause})"
    )]
    TlsTooOld {
        /// Address tried.
        server: ServerAddress,
        /// What TLS said.
        cause: String,
    },
    /// Nobody answers.
    #[error(
        "the management server at {server} cannot be reached ({cause}); check that it runs and \
         that its port is open"
    )]
    Unreachable {
        /// Address tried.
        server: ServerAddress,
        /// What the network said.
        cause: String,
    },
    /// An answer that makes no sense.
    #[error("the server at {server} answered nonsense ({cause}); is it a management server?")]
    Nonsense {
        /// Address tried.
        server: ServerAddress,
        /// What is wrong with it.
        cause: String,
    },
    /// An answer that must not be believed.
    #[error(transparent)]
    Unbelievable(#[from] Unbelievable),
    /// State cannot be read or written.
    #[error(transparent)]
    State(#[from] StateError),
    /// No randomness.
    #[error(transparent)]
    Entropy(#[from] EntropyError),
    /// The identity cannot be used for TLS.
    #[error(
        "the identity key cannot be used for TLS: {0}; remove the state directory and enrol again"
    )]
    Identity(String),
}

impl KeyClientError {
    /// True if the server said that this host was removed: nothing will change that.
    #[must_use]
    pub fn is_removed(&self) -> bool {
        matches!(self, Self::Refused(body) if body.code == ErrorCode::Removed)
    }

    /// True if the server refused the token or the request for good, false if trying again may
    /// help.
    #[must_use]
    pub const fn is_final(&self) -> bool {
        match self {
            Self::Refused(body) => !matches!(body.code, ErrorCode::Internal | ErrorCode::Unknown),
            Self::Unreachable { .. } | Self::Nonsense { .. } => false,
            Self::WrongFingerprint { .. }
            | Self::TlsTooOld { .. }
            | Self::Unbelievable(_)
            | Self::State(_)
            | Self::Entropy(_)
            | Self::Identity(_) => true,
        }
    }
}

/// A client that is enrolled.
pub struct KeyClient {
    state: StateDir,
    identity: Identity,
    enrolment: Enrolment,
    connector: Arc<dyn Connector>,
    aes: bool,
    /// Highest version ever in force here; nothing lower is believed.
    floor: u64,
    /// What is in force, as far as following goes.
    held: Option<Held>,
}

/// What a state directory says about this machine.
#[allow(clippy::large_enum_variant, reason = "there is one, for a moment")]
pub enum Resumed {
    /// It enrolled before; with its last membership if that can be believed.
    Enrolled(KeyClient, Option<Membership>),
    /// It never did; here is the directory back.
    NotEnrolled(StateDir),
}

struct Held {
    version: u64,
    lease: Lease,
}

impl KeyClient {
    /// Enrols this machine with a token, or finds that the same token enrolled it already.
    /// `server` comes before the addresses in the token.
    ///
    /// # Errors
    /// The server refused, cannot be reached or cannot be believed; state cannot be written.
    /// Nothing but the identity is left behind then.
    pub async fn enrol(
        state: StateDir,
        token: &Token,
        server: Option<&ServerAddress>,
        machine: &Machine,
        connector: Arc<dyn Connector>,
    ) -> Result<(Self, Membership), KeyClientError> {
        let identity = state.identity()?;
        let mut servers: Vec<ServerAddress> = server.into_iter().cloned().collect();
        servers.extend(token.servers.iter().filter(|known| Some(*known) != server).cloned());
        let request = EnrolRequest {
            token: token.id,
            secret: token.secret.clone(),
            noise_key: HexBytes(x25519::public_key(&identity.noise_static)),
            name: machine.name.clone(),
            kind: machine.kind,
            aes: machine.aes,
            subnets: machine.subnets.clone(),
        };
        let tls = tls::client_config(&identity, token.fingerprint)?;
        let mut connection = connect_any(&servers, &tls, &*connector).await?;
        let bundle: Bundle = connection.post(path::ENROL, &request).await?;
        let enrolment = Enrolment::new(servers, token.fingerprint, &bundle);
        let membership = verify::membership(&bundle, &enrolment, &identity)?;
        verify::version(bundle.version, state.version()?)?;
        // The membership first: an enrolment without one would wait for the server at next start.
        state.save_membership(&identity, &bundle)?;
        state.save_enrolment(&enrolment)?;
        let held = Some(Held { version: bundle.version, lease: bundle.lease });
        let (aes, floor) = (machine.aes, bundle.version);
        Ok((Self { state, identity, enrolment, connector, aes, floor, held }, membership))
    }

    /// A client of a machine that enrolled before, with the membership it had last, if that can
    /// be read. The server need not be there.
    ///
    /// # Errors
    /// State is damaged or cannot be read.
    pub fn resume(
        state: StateDir,
        aes: bool,
        connector: Arc<dyn Connector>,
    ) -> Result<Resumed, KeyClientError> {
        let Some(enrolment) = state.enrolment()? else { return Ok(Resumed::NotEnrolled(state)) };
        let identity = state.identity()?;
        let floor = state.version()?;
        let mut client = Self { state, identity, enrolment, connector, aes, floor, held: None };
        let Some(bundle) = client.state.membership(&client.identity)? else {
            return Ok(Resumed::Enrolled(client, None));
        };
        let believed = verify::version(bundle.version, floor)
            .and_then(|()| verify::membership(&bundle, &client.enrolment, &client.identity));
        match believed {
            Ok(membership) => {
                client.held = Some(Held { version: bundle.version, lease: bundle.lease });
                Ok(Resumed::Enrolled(client, Some(membership)))
            }
            Err(why) => {
                tracing::warn!(%why, "the cached membership is not used; the server sends it again");
                Ok(Resumed::Enrolled(client, None))
            }
        }
    }

    /// The agent's private keys, for the engine.
    #[must_use]
    pub const fn identity(&self) -> &Identity {
        &self.identity
    }

    /// What enrolment fixed.
    #[must_use]
    pub const fn enrolment(&self) -> &Enrolment {
        &self.enrolment
    }

    /// How things stand before the first contact.
    #[must_use]
    pub fn sync_state(&self) -> SyncState {
        SyncState {
            server: self.enrolment.servers.first().map(url).unwrap_or_default(),
            lease_until: self.held.as_ref().map(|held| UnixTime(held.lease.expires)),
            version: self.held.as_ref().map_or(0, |held| held.version),
            ..SyncState::default()
        }
    }

    /// True if exactly this is in force: nothing to verify, keep or tell.
    fn is_held(&self, bundle: &Bundle) -> bool {
        self.held
            .as_ref()
            .is_some_and(|held| held.version == bundle.version && held.lease == bundle.lease)
    }

    /// Verifies an answer, keeps it and puts it into words of the engine.
    fn take_in(&mut self, bundle: &Bundle) -> Result<Membership, KeyClientError> {
        let membership = verify::membership(bundle, &self.enrolment, &self.identity)?;
        verify::version(bundle.version, self.floor)?;
        self.floor = bundle.version;
        self.held = Some(Held { version: bundle.version, lease: bundle.lease });
        if let Err(err) = self.state.save_membership(&self.identity, bundle) {
            // A full disk must not cut this host off from its group.
            tracing::error!(%err, "the membership is in force but could not be kept");
        }
        Ok(membership)
    }
}

/// Connects to the first server that answers as it should. The first error is the one that counts:
/// it is of the server the administrator named first.
async fn connect_any(
    servers: &[ServerAddress],
    tls: &tls::Config,
    connector: &dyn Connector,
) -> Result<Connection, KeyClientError> {
    let mut first = None;
    for server in servers {
        match Connection::open(server, tls, connector).await {
            Ok(connection) => return Ok(connection),
            Err(err) => {
                tracing::debug!(%server, %err, "a server cannot be used");
                first.get_or_insert(err);
            }
        }
    }
    Err(first.unwrap_or_else(|| KeyClientError::Identity("no server is known".into())))
}

fn url(server: &ServerAddress) -> String {
    format!("https://{server}")
}

/// Seconds `server_time` is ahead of this machine's clock.
fn clock_offset(server_time: u64) -> i64 {
    let signed = |time: u64| i64::try_from(time).unwrap_or(i64::MAX);
    signed(server_time).saturating_sub(signed(clock::unix().0))
}
