//! How an agent comes by its membership when it starts: from its cache if it can (the server may
//! be away), from the server it enrolled with otherwise, with a token the first time.

use super::connector::HookConnector;
use super::{kernel_error, offered};
use crate::hook::Hook;
use crate::key_client::{
    KeyClient, KeyClientError, KeyUpdate, Machine, Resumed, SyncState, has_aes,
};
use crate::options::{RunError, RunOptions};
use crate::state_dir::{StateDir, StateError};
use crate::udp_socket::UdpSocket;
use ge_core::limits::{DATA_PORT, MARK};
use ge_core::membership::Membership;
use mgmt_api::{ServerAddress, Token};
use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::{mpsc, watch};
use tokio::time::timeout;
use tracing::warn;
use zeroize::Zeroizing;

/// An enrolled host without a cache waits so long for the server at start.
const FIRST_CONTACT: Duration = Duration::from_secs(15);

/// What a start needs of the server's side.
pub(super) struct Enrolled {
    pub(super) client: KeyClient,
    /// `None`: a dead agent's closed rules are in force and there is no cache. The data path must
    /// take the rules over, closed and without keys, before the server can be reached at all.
    pub(super) membership: Option<Membership>,
}

/// Finds the membership.
pub(super) async fn enrolled(
    options: &RunOptions,
    connector: &HookConnector,
) -> Result<Enrolled, RunError> {
    let state = StateDir::open(&options.state).map_err(state_error)?;
    let connector = Arc::new(connector.clone());
    match KeyClient::resume(state, has_aes(), connector.clone()).map_err(client_error)? {
        Resumed::Enrolled(client, Some(membership)) => {
            Ok(Enrolled { client, membership: Some(membership) })
        }
        Resumed::Enrolled(client, None) if orphaned_rules()? => {
            Ok(Enrolled { client, membership: None })
        }
        Resumed::Enrolled(client, None) => fetch(client, options, connector).await,
        Resumed::NotEnrolled(state) => enrol(state, options, connector).await,
    }
}

async fn enrol(
    state: StateDir,
    options: &RunOptions,
    connector: Arc<HookConnector>,
) -> Result<Enrolled, RunError> {
    let token = read_token(options)?;
    if orphaned_rules()? {
        return Err(RunError::NotEnrolled(format!(
            "the rules of a closed agent are still in force here but its state is gone, so the \
             management server cannot be reached; remove them first: {} down --purge",
            options.program.name()
        )));
    }
    let server = options.server.as_deref().map(parse_server).transpose()?;
    let machine = Machine::here(options.program.kind(), offered(options).map_err(kernel_error)?);
    let (client, membership) =
        KeyClient::enrol(state, &token, server.as_ref(), &machine, connector)
            .await
            .map_err(client_error)?;
    Ok(Enrolled { client, membership: Some(membership) })
}

fn read_token(options: &RunOptions) -> Result<Token, RunError> {
    let Some(path) = &options.token_file else {
        let kind = options.program.kind();
        return Err(RunError::NotEnrolled(format!(
            "this {} is not enrolled yet; get a token with `mgmt-server token create --kind \
             {kind}` and give it with --token-file FILE",
            options.program.machine()
        )));
    };
    let failed = |error| {
        RunError::BadOption(format!("the token file {} cannot be read: {error}", path.display()))
    };
    if fs::metadata(path).map_err(failed)?.permissions().mode() & 0o077 != 0 {
        warn!(file = %path.display(), "others may read the token file; chmod 600 it");
    }
    let text = Zeroizing::new(fs::read_to_string(path).map_err(failed)?);
    text.trim().parse().map_err(|error| RunError::BadOption(format!("{}: {error}", path.display())))
}

fn parse_server(url: &str) -> Result<ServerAddress, RunError> {
    let address = url.strip_prefix("https://").unwrap_or(url).trim_end_matches('/');
    address.parse().map_err(|error| {
        RunError::BadOption(format!("--server {url}: {error}; write https://HOST:PORT"))
    })
}

/// The cache is gone but the host is enrolled: the server's first word is waited for.
async fn fetch(
    client: KeyClient,
    options: &RunOptions,
    connector: Arc<HookConnector>,
) -> Result<Enrolled, RunError> {
    let server = client.sync_state().server;
    let (updates, mut news) = mpsc::channel(1);
    let (state, _) = watch::channel(SyncState::default());
    let following = client.follow(updates, state);
    let first = async {
        tokio::pin!(following);
        tokio::select! {
            ended = &mut following => Err(ended.err().map_or_else(
                || RunError::NotEnrolled("the server ended the connection".into()),
                client_error,
            )),
            update = news.recv() => Ok(update),
        }
    };
    let update = timeout(FIRST_CONTACT, first)
        .await
        .map_err(|_| RunError::ServerUnreachable { server, cause: "no answer in time".into() })??;
    let Some(KeyUpdate::Membership(membership)) = update else {
        return Err(RunError::NotEnrolled("this machine was removed by an administrator".into()));
    };
    // Following moved the client; what it kept on disk makes the next one.
    let state = StateDir::open(&options.state).map_err(state_error)?;
    match KeyClient::resume(state, has_aes(), connector).map_err(client_error)? {
        Resumed::Enrolled(client, _) => {
            Ok(Enrolled { client, membership: Some(Membership::clone(&membership)) })
        }
        Resumed::NotEnrolled(_) => {
            Err(RunError::NotEnrolled("the state directory changed while starting".into()))
        }
    }
}

/// A table of ours is there although no agent runs: a closed agent died.
fn orphaned_rules() -> Result<bool, RunError> {
    // What cannot be read will fail again, with its reason, when the hook is installed.
    if !Hook::installed().unwrap_or(false) {
        return Ok(false);
    }
    // A living agent holds the data port as well.
    UdpSocket::bind_v4(DATA_PORT, MARK, &Arc::default()).map(|_| true).map_err(kernel_error)
}

fn state_error(error: StateError) -> RunError {
    RunError::System {
        what: "use the state directory".into(),
        source: std::io::Error::other(error),
    }
}

fn client_error(error: KeyClientError) -> RunError {
    match error {
        KeyClientError::Unreachable { server, cause } => {
            RunError::ServerUnreachable { server: format!("https://{server}"), cause }
        }
        KeyClientError::State(error) => state_error(error),
        other => RunError::NotEnrolled(other.to_string()),
    }
}
