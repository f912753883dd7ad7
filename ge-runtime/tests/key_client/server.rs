//! A management server in this process, and servers that are none.

use core::net::SocketAddr;
use mgmt_api::{Fingerprint, Kind, Mode, Token};
use mgmt_server::app::{Act, App, MemberChange, NewToken};
use mgmt_server::data_dir::DataDir;
use mgmt_server::serve::{self, unix_now};
use mgmt_server::tls;
use rustls::ServerConfig;
use rustls::crypto::{CryptoProvider, aws_lc_rs};
use std::path::Path;
use std::sync::Arc;
use tempfile::TempDir;
use tokio::net::TcpListener;
use tokio::sync::oneshot;
use tokio::task::JoinHandle;
use tokio_rustls::TlsAcceptor;

/// A running server with the group `sales`.
pub(crate) struct Server {
    home: TempDir,
    pub(crate) address: SocketAddr,
    clock_offset: i64,
    running: Option<(oneshot::Sender<()>, JoinHandle<()>)>,
}

impl Server {
    pub(crate) async fn start() -> Self {
        Self::start_at(0).await
    }

    /// A server whose clock is `clock_offset` seconds ahead of ours.
    pub(crate) async fn start_at(clock_offset: i64) -> Self {
        let home = tempfile::tempdir().unwrap();
        let listen: SocketAddr = "127.0.0.1:0".parse().unwrap();
        let mut this = Self { home, address: listen, clock_offset, running: None };
        let data = DataDir::init(&this.data(), listen, Vec::new(), this.act()).unwrap();
        data.app().unwrap().create_group(this.act(), "sales", 0).unwrap();
        this.start_again().await;
        this
    }

    /// Starts on the address it had before, if any.
    pub(crate) async fn start_again(&mut self) {
        let listener = TcpListener::bind(self.address).await.unwrap();
        self.address = listener.local_addr().unwrap();
        let offset = self.clock_offset;
        let clock = Arc::new(move || unix_now().saturating_add_signed(offset));
        let server = serve::Server::new(DataDir::open(&self.data()).unwrap(), clock).unwrap();
        let (stop, stopped) = oneshot::channel();
        let (tell, ready) = oneshot::channel();
        let task = tokio::spawn(async move {
            let ready = async {
                let _ = tell.send(());
                Ok(())
            };
            let stop = async {
                let _ = stopped.await;
            };
            server.run(listener, None, ready, stop).await.unwrap();
        });
        ready.await.unwrap();
        self.running = Some((stop, task));
    }

    pub(crate) async fn stop(&mut self) {
        let (stop, task) = self.running.take().unwrap();
        let _ = stop.send(());
        task.await.unwrap();
    }

    pub(crate) fn token(&self) -> Token {
        let new = NewToken {
            groups: vec!["sales".into()],
            kind: Kind::Host,
            mode: Mode::Open,
            prefixes: Vec::new(),
            uses: 1,
            expires: self.act().now + 3600,
        };
        let data = DataDir::open(&self.data()).unwrap();
        let fingerprint = tls::fingerprint(&data.tls().unwrap().0).unwrap();
        self.app().create_token(self.act(), &new, fingerprint).unwrap()
    }

    /// Changes the one member.
    pub(crate) fn set_mode(&self, mode: Mode) {
        let change = MemberChange { mode: Some(mode), ..MemberChange::default() };
        self.app().change_member(self.act(), "host", &change).unwrap();
    }

    pub(crate) fn remove(&self, id: &str) {
        self.app().remove_member(self.act(), id).unwrap();
    }

    pub(crate) fn enrolled(&self) -> usize {
        self.app().members().unwrap().len()
    }

    /// A backup of the stopped server.
    pub(crate) fn copy(&self) -> TempDir {
        assert!(self.running.is_none());
        let backup = tempfile::tempdir().unwrap();
        copy_files(&self.data(), backup.path());
        backup
    }

    /// Sets the stopped server back to a backup.
    pub(crate) fn restore(&self, backup: &TempDir) {
        assert!(self.running.is_none());
        std::fs::remove_dir_all(self.data()).unwrap();
        std::fs::create_dir(self.data()).unwrap();
        copy_files(backup.path(), &self.data());
    }

    fn app(&self) -> App {
        DataDir::open(&self.data()).unwrap().app().unwrap()
    }

    fn data(&self) -> std::path::PathBuf {
        self.home.path().join("data")
    }

    fn act(&self) -> Act<'static> {
        Act { actor: "test", now: unix_now().saturating_add_signed(self.clock_offset) }
    }
}

fn copy_files(from: &Path, to: &Path) {
    for entry in std::fs::read_dir(from).unwrap() {
        let entry = entry.unwrap();
        std::fs::copy(entry.path(), to.join(entry.file_name())).unwrap();
    }
}

/// A server with TLS 1.3 but a classical key exchange, or with TLS 1.2 only.
pub(crate) async fn old_tls(tls13: bool) -> (SocketAddr, Fingerprint) {
    let provider = CryptoProvider {
        kx_groups: vec![aws_lc_rs::kx_group::X25519],
        ..aws_lc_rs::default_provider()
    };
    let versions = if tls13 { [&rustls::version::TLS13] } else { [&rustls::version::TLS12] };
    let key = rcgen::KeyPair::generate().unwrap();
    let params = rcgen::CertificateParams::new(vec!["mgmt-server".to_owned()]).unwrap();
    let certificate = params.self_signed(&key).unwrap().der().clone();
    let fingerprint = tls::fingerprint(&certificate).unwrap();
    let key = rustls::pki_types::PrivatePkcs8KeyDer::from(key.serialize_der());
    let config = ServerConfig::builder_with_provider(Arc::new(provider))
        .with_protocol_versions(&versions)
        .unwrap()
        .with_no_client_auth()
        .with_single_cert(vec![certificate], key.into())
        .unwrap();
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    let acceptor = TlsAcceptor::from(Arc::new(config));
    tokio::spawn(async move {
        while let Ok((stream, _)) = listener.accept().await {
            let _ = acceptor.accept(stream).await;
        }
    });
    (address, fingerprint)
}
