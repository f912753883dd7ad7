//! The key client against the real server, in one process on loopback.
#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

#[path = "key_client/server.rs"]
mod server;

use core::net::SocketAddr;
use ge_core::Mode;
use ge_core::membership::Membership;
use ge_runtime::key_client::{
    Connector, KeyClient, KeyClientError, KeyUpdate, Machine, Resumed, SyncState,
};
use ge_runtime::state_dir::{StateDir, StateError};
use mgmt_api::{ErrorCode, HexBytes, Kind, Secret, ServerAddress, Token};
use server::Server;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{mpsc, watch};
use tokio::task::JoinHandle;

fn connector() -> Arc<dyn Connector> {
    Arc::new(TcpStream::connect::<SocketAddr>)
}

fn machine() -> Machine {
    Machine { name: "host".into(), kind: Kind::Host, aes: true, subnets: Vec::new() }
}

async fn enrol(state: &Path, token: &Token) -> Result<(KeyClient, Membership), KeyClientError> {
    let state = StateDir::open(state).unwrap();
    KeyClient::enrol(state, token, None, &machine(), connector()).await
}

/// The refusal of an enrolment, which leaves no enrolment behind.
async fn refused(token: &Token) -> KeyClientError {
    let home = tempfile::tempdir().unwrap();
    let err = enrol(home.path(), token).await.err().unwrap();
    assert!(StateDir::open(home.path()).unwrap().enrolment().unwrap().is_none());
    err
}

fn resume(state: &Path) -> (KeyClient, Option<Membership>) {
    match KeyClient::resume(StateDir::open(state).unwrap(), true, connector()).unwrap() {
        Resumed::Enrolled(client, membership) => (client, membership),
        Resumed::NotEnrolled(_) => panic!("it is enrolled"),
    }
}

struct Following {
    updates: mpsc::Receiver<KeyUpdate>,
    state: watch::Receiver<SyncState>,
    task: JoinHandle<Result<(), KeyClientError>>,
}

impl Following {
    fn start(client: KeyClient) -> Self {
        let (to_updates, updates) = mpsc::channel(4);
        let (to_state, state) = watch::channel(client.sync_state());
        let task = tokio::spawn(client.follow(to_updates, to_state));
        Self { updates, state, task }
    }

    async fn membership(&mut self) -> Arc<Membership> {
        match self.updates.recv().await.unwrap() {
            KeyUpdate::Membership(membership) => membership,
            KeyUpdate::Removed => panic!("removed"),
        }
    }

    async fn stop(self) {
        drop(self.updates);
        self.task.await.unwrap().unwrap();
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn enrols_and_follows_each_change() {
    let server = Server::start().await;
    let home = tempfile::tempdir().unwrap();
    let (client, first) = enrol(home.path(), &server.token()).await.unwrap();
    assert_eq!((first.mode, first.groups[0].name.as_str()), (Mode::Open, "sales"));
    let mut following = Following::start(client);
    server.set_mode(mgmt_api::Mode::Closed);
    let second = following.membership().await;
    assert_eq!(second.mode, Mode::Closed);
    assert!(second.version > first.version);
    server.set_mode(mgmt_api::Mode::Open);
    let third = following.membership().await;
    assert!(third.version > second.version);
    let known = |state: &SyncState| state.version == third.version && state.last_success.is_some();
    let state = following.state.wait_for(known).await.unwrap().clone();
    assert_eq!(state.server, format!("https://{}", server.address));
    assert_eq!(state.last_error, None);
    assert!(state.lease_until.is_some());
    following.stop().await;
    assert_eq!(StateDir::open(home.path()).unwrap().version().unwrap(), third.version);
}

#[tokio::test(flavor = "multi_thread")]
async fn starts_from_the_cache_while_the_server_is_away_and_catches_up() {
    let mut server = Server::start().await;
    let home = tempfile::tempdir().unwrap();
    let (client, first) = enrol(home.path(), &server.token()).await.unwrap();
    drop(client);
    server.stop().await;

    let (client, cached) = resume(home.path());
    let cached = cached.unwrap();
    assert_eq!((cached.version, &cached.certificate), (first.version, &first.certificate));
    let mut following = Following::start(client);
    let failing = |state: &SyncState| state.last_error.is_some();
    let error = following.state.wait_for(failing).await.unwrap().last_error.clone().unwrap().1;
    assert!(error.contains("cannot be reached"), "{error}");
    server.set_mode(mgmt_api::Mode::Closed);
    server.start_again().await;
    assert_eq!(following.membership().await.mode, Mode::Closed);
    following.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_removed_host_forgets_its_keys() {
    let server = Server::start().await;
    let home = tempfile::tempdir().unwrap();
    let (client, membership) = enrol(home.path(), &server.token()).await.unwrap();
    let mut following = Following::start(client);
    server.remove(&membership.agent.to_string());
    assert!(matches!(following.updates.recv().await, Some(KeyUpdate::Removed)));
    assert!(following.task.await.unwrap().unwrap_err().is_removed());
    let (_client, cached) = resume(home.path());
    assert!(cached.is_none());
}

#[tokio::test(flavor = "multi_thread")]
async fn renews_in_time() {
    // The server's clock is nine hours behind, so by ours the renewal is due at once.
    let server = Server::start_at(-9 * 3600).await;
    let home = tempfile::tempdir().unwrap();
    let (client, first) = enrol(home.path(), &server.token()).await.unwrap();
    let mut following = Following::start(client);
    let renewed = following.membership().await;
    assert!(renewed.version > first.version);
    assert_ne!(renewed.certificate, first.certificate);
    let behind = |state: &SyncState| state.clock_offset < -8 * 3600;
    following.state.wait_for(behind).await.unwrap();
    following.stop().await;
}

/// THREATS.md row 44: also after a restart, and with the cache gone.
#[tokio::test(flavor = "multi_thread")]
async fn a_server_set_back_to_an_old_backup_is_not_believed() {
    let mut server = Server::start().await;
    let home = tempfile::tempdir().unwrap();
    let (client, first) = enrol(home.path(), &server.token()).await.unwrap();
    server.stop().await;
    let backup = server.copy();
    server.start_again().await;
    let mut following = Following::start(client);
    server.set_mode(mgmt_api::Mode::Closed);
    assert!(following.membership().await.version > first.version);
    following.stop().await;
    server.stop().await;

    server.restore(&backup);
    server.start_again().await;
    std::fs::remove_file(home.path().join("membership.seal")).unwrap();
    let (client, cached) = resume(home.path());
    assert!(cached.is_none());
    let mut following = Following::start(client);
    let failing = |state: &SyncState| state.last_error.is_some();
    let error = following.state.wait_for(failing).await.unwrap().last_error.clone().unwrap().1;
    assert!(error.contains("old backup"), "{error}");
    assert!(following.updates.try_recv().is_err());
    following.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn tokens_that_do_not_count() {
    let server = Server::start().await;
    let code = |err: KeyClientError| match err {
        KeyClientError::Refused(body) => body.code,
        other => panic!("{other}"),
    };
    let token = server.token();
    let mut wrong = token.clone();
    wrong.secret = Secret::new([0; 32]);
    assert_eq!(code(refused(&wrong).await), ErrorCode::WrongToken);
    let home = tempfile::tempdir().unwrap();
    enrol(home.path(), &token).await.unwrap();
    assert_eq!(code(refused(&token).await), ErrorCode::TokenUsed);
    // The same machine may repeat it: its answer may have been lost.
    enrol(home.path(), &token).await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_server_with_another_key_gets_nothing() {
    let server = Server::start().await;
    let mut token = server.token();
    token.fingerprint = HexBytes([9; 32]);
    let err = refused(&token).await;
    assert!(matches!(err, KeyClientError::WrongFingerprint { .. }), "{err}");
    assert!(err.to_string().contains("is not the one in the token"));
    assert_eq!(server.enrolled(), 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_server_that_is_not_there_is_named() {
    let server = Server::start().await;
    let mut token = server.token();
    let nobody = TcpListener::bind("127.0.0.1:0").await.unwrap().local_addr().unwrap();
    token.servers = vec![ServerAddress::from(nobody)];
    let err = refused(&token).await;
    assert!(matches!(err, KeyClientError::Unreachable { .. }), "{err}");
    assert!(err.to_string().contains(&nobody.to_string()), "{err}");
    assert!(err.to_string().contains("refused"), "{err}");
    // A second address helps.
    token.servers.push(ServerAddress::from(server.address));
    enrol(tempfile::tempdir().unwrap().path(), &token).await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn old_tls_is_named() {
    for tls13 in [true, false] {
        let (address, fingerprint) = server::old_tls(tls13).await;
        let token = Token {
            fingerprint,
            id: HexBytes([1; 8]),
            secret: Secret::new([2; 32]),
            servers: vec![ServerAddress::from(address)],
        };
        let err = refused(&token).await;
        assert!(matches!(err, KeyClientError::TlsTooOld { .. }), "TLS 1.3 {tls13}: {err}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn every_connection_is_made_by_the_callers_connector() {
    let server = Server::start().await;
    let home = tempfile::tempdir().unwrap();
    let made = Arc::new(AtomicUsize::new(0));
    let (count, address) = (made.clone(), server.address);
    let counting = move |to: SocketAddr| {
        assert_eq!(to, address);
        count.fetch_add(1, Ordering::SeqCst);
        TcpStream::connect(to)
    };
    let state = StateDir::open(home.path()).unwrap();
    let token = server.token();
    let client = KeyClient::enrol(state, &token, None, &machine(), Arc::new(counting)).await;
    assert_eq!(made.load(Ordering::SeqCst), 1);
    let mut following = Following::start(client.unwrap().0);
    server.set_mode(mgmt_api::Mode::Closed);
    following.membership().await;
    assert_eq!(made.load(Ordering::SeqCst), 2);
    following.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn state_that_is_damaged_or_in_use() {
    let server = Server::start().await;
    let home = tempfile::tempdir().unwrap();
    let file = |name: &str| -> PathBuf { home.path().join(name) };
    let (client, _) = enrol(home.path(), &server.token()).await.unwrap();
    assert!(matches!(StateDir::open(home.path()), Err(StateError::InUse(_))));
    drop(client);
    for name in ["identity.key", "enrolment.json", "version", "membership.seal", "lock"] {
        use std::os::unix::fs::PermissionsExt;
        let mode = std::fs::metadata(file(name)).unwrap().permissions().mode();
        assert_eq!(mode & 0o777, 0o600, "{name}");
    }

    let sealed = std::fs::read(file("membership.seal")).unwrap();
    for damaged in [&sealed[..sealed.len() / 2], b"", b"junk"] {
        std::fs::write(file("membership.seal"), damaged).unwrap();
        assert!(resume(home.path()).1.is_none());
    }
    std::fs::write(file("membership.seal"), &sealed).unwrap();
    assert!(resume(home.path()).1.is_some());

    for name in ["identity.key", "enrolment.json", "version"] {
        let sound = std::fs::read(file(name)).unwrap();
        std::fs::write(file(name), "junk").unwrap();
        let state = StateDir::open(home.path()).unwrap();
        let err = KeyClient::resume(state, true, connector()).err().unwrap();
        assert!(err.to_string().contains("is damaged"), "{name}: {err}");
        std::fs::write(file(name), sound).unwrap();
    }
}
