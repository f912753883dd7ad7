//! A server of its own for each test, its command line, and a client that speaks the contract
//! without any of the agent's code.

use core::net::SocketAddr;
use ed25519_dalek::SigningKey;
use http_body_util::{BodyExt, Full};
use hyper::body::Bytes;
use hyper::{Request, StatusCode};
use hyper_util::rt::TokioIo;
use mgmt_api::{
    Bundle, EnrolRequest, ErrorBody, ErrorCode, Fingerprint, HexBytes, Kind, Token, path,
};
use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::crypto::{CryptoProvider, SupportedKxGroup, aws_lc_rs};
use rustls::pki_types::{CertificateDer, PrivatePkcs8KeyDer, ServerName, UnixTime};
use rustls::{ClientConfig, DigitallySignedStruct, Error, SignatureScheme};
use serde::Serialize;
use serde::de::DeserializeOwned;
use std::io::{BufRead, BufReader};
use std::path::PathBuf;
use std::process::{Child, Command, Output, Stdio};
use std::sync::Arc;
use tokio::net::TcpStream;
use tokio_rustls::TlsConnector;

/// A data directory with a domain in it.
pub(crate) struct Domain {
    home: tempfile::TempDir,
}

impl Domain {
    pub(crate) fn new() -> Self {
        let this = Self { home: tempfile::tempdir().unwrap() };
        this.ok(&["init", "--listen", "127.0.0.1:0"]);
        this
    }

    pub(crate) fn data(&self) -> PathBuf {
        self.home.path().join("data")
    }

    /// Runs a command on it.
    pub(crate) fn cli(&self, arguments: &[&str]) -> Output {
        self.command(arguments).output().unwrap()
    }

    pub(crate) fn command(&self, arguments: &[&str]) -> Command {
        let mut command = Command::new(env!("CARGO_BIN_EXE_mgmt-server"));
        command.args(arguments).arg("--data").arg(self.data()).stdin(Stdio::null());
        command
    }

    /// Runs a command that must succeed; returns what it printed.
    pub(crate) fn ok(&self, arguments: &[&str]) -> String {
        let output = self.cli(arguments);
        let errors = String::from_utf8_lossy(&output.stderr).into_owned();
        assert!(output.status.success(), "{arguments:?}: {errors}");
        String::from_utf8(output.stdout).unwrap()
    }

    /// Runs a command that must fail with this code; returns its one sentence.
    pub(crate) fn fails(&self, code: i32, arguments: &[&str]) -> String {
        let output = self.cli(arguments);
        let errors = String::from_utf8(output.stderr).unwrap();
        assert_eq!(output.status.code(), Some(code), "{arguments:?}: {errors}");
        assert!(output.stdout.is_empty(), "{arguments:?}");
        errors
    }

    pub(crate) fn json(&self, arguments: &[&str]) -> serde_json::Value {
        serde_json::from_str(&self.ok(arguments)).unwrap()
    }

    pub(crate) fn token(&self, arguments: &[&str]) -> Token {
        self.token_of(&[&["--group", "sales"], arguments].concat())
    }

    /// The same for other groups.
    pub(crate) fn token_of(&self, arguments: &[&str]) -> Token {
        let create = [&["token", "create", "--quiet"], arguments].concat();
        self.ok(&create).parse().unwrap()
    }

    /// Starts the server and waits until it says that it listens.
    pub(crate) fn run(&self) -> Running {
        let mut child =
            self.command(&["run"]).stdout(Stdio::piped()).stderr(Stdio::null()).spawn().unwrap();
        let mut line = String::new();
        BufReader::new(child.stdout.take().unwrap()).read_line(&mut line).unwrap();
        let address = line.trim().strip_prefix("listening on ").unwrap().parse().unwrap();
        Running { child, address }
    }
}

/// A running server; killed at the end of the test.
pub(crate) struct Running {
    child: Child,
    pub(crate) address: SocketAddr,
}

impl Running {
    /// SIGKILL, as a power cut would.
    pub(crate) fn kill(mut self) {
        self.child.kill().unwrap();
        self.child.wait().unwrap();
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// A domain with the group `sales`, and its server.
pub(crate) fn started() -> (Domain, Running) {
    let domain = Domain::new();
    domain.ok(&["group", "create", "sales"]);
    let running = domain.run();
    (domain, running)
}

/// A client with an identity.
pub(crate) struct Agent {
    pub(crate) identity: SigningKey,
    server: SocketAddr,
    config: Arc<ClientConfig>,
}

impl Agent {
    pub(crate) fn new(server: SocketAddr, number: u32) -> Self {
        let mut seed = [0x1d; 32];
        seed[..4].copy_from_slice(&number.to_be_bytes());
        let identity = SigningKey::from_bytes(&seed);
        let config = tls(Some(&identity), aws_lc_rs::kx_group::X25519MLKEM768, true);
        Self { identity, server, config }
    }

    pub(crate) fn request(&self, token: &Token) -> EnrolRequest {
        EnrolRequest {
            token: token.id,
            secret: token.secret.clone(),
            noise_key: HexBytes([0x2e; 32]),
            name: "host".into(),
            kind: Kind::Host,
            aes: true,
            subnets: Vec::new(),
        }
    }

    pub(crate) async fn enrol(&self, token: &Token) -> Result<Bundle, ErrorCode> {
        self.post(path::ENROL, &self.request(token)).await
    }

    pub(crate) async fn post<A: DeserializeOwned>(
        &self,
        path: &str,
        body: &impl Serialize,
    ) -> Result<A, ErrorCode> {
        let body = serde_json::to_vec(body).unwrap();
        read(self.send("POST", path, body).await)
    }

    /// What is newer than `after`; waits for it.
    pub(crate) async fn next(&self, after: u64) -> Result<Bundle, ErrorCode> {
        loop {
            let (status, body) =
                self.send("GET", &format!("{}?after={after}", path::BUNDLE), Vec::new()).await;
            if status != StatusCode::NO_CONTENT {
                return read((status, body));
            }
        }
    }

    pub(crate) async fn send(
        &self,
        method: &str,
        path: &str,
        body: Vec<u8>,
    ) -> (StatusCode, Bytes) {
        let stream = TcpStream::connect(self.server).await.unwrap();
        let stream = connect(stream, self.config.clone()).await.unwrap();
        let (mut requests, driver) =
            hyper::client::conn::http1::handshake(TokioIo::new(stream)).await.unwrap();
        let driver = tokio::spawn(driver);
        let request = Request::builder().method(method).uri(path).header("host", "mgmt-server");
        let request = request.body(Full::new(Bytes::from(body))).unwrap();
        let answer = requests.send_request(request).await.unwrap();
        let status = answer.status();
        let body = answer.into_body().collect().await.unwrap().to_bytes();
        driver.abort();
        (status, body)
    }
}

fn read<A: DeserializeOwned>((status, body): (StatusCode, Bytes)) -> Result<A, ErrorCode> {
    if status == StatusCode::OK {
        return Ok(serde_json::from_slice(&body).unwrap());
    }
    let error: ErrorBody = serde_json::from_slice(&body).unwrap();
    assert_eq!(status.as_u16(), error.code.status());
    assert!(!error.message.is_empty());
    Err(error.code)
}

/// A TLS handshake over `stream`.
pub(crate) async fn connect(
    stream: TcpStream,
    config: Arc<ClientConfig>,
) -> std::io::Result<tokio_rustls::client::TlsStream<TcpStream>> {
    let name = ServerName::try_from(path::TLS_NAME).unwrap();
    TlsConnector::from(config).connect(name, stream).await
}

/// TLS settings with one key exchange, and TLS 1.3 or 1.2.
pub(crate) fn tls(
    identity: Option<&SigningKey>,
    group: &'static dyn SupportedKxGroup,
    tls13: bool,
) -> Arc<ClientConfig> {
    let provider = CryptoProvider { kx_groups: vec![group], ..aws_lc_rs::default_provider() };
    let versions = if tls13 { [&rustls::version::TLS13] } else { [&rustls::version::TLS12] };
    let builder = ClientConfig::builder_with_provider(Arc::new(provider))
        .with_protocol_versions(&versions)
        .unwrap()
        .dangerous()
        .with_custom_certificate_verifier(Arc::new(AnyServer));
    Arc::new(match identity {
        None => builder.with_no_client_auth(),
        Some(identity) => {
            let mut pkcs8 = hex::decode("302e020100300506032b657004220420").unwrap();
            pkcs8.extend_from_slice(&identity.to_bytes());
            let key = PrivatePkcs8KeyDer::from(pkcs8);
            let pair =
                rcgen::KeyPair::from_pkcs8_der_and_sign_algo(&key, &rcgen::PKCS_ED25519).unwrap();
            let params = rcgen::CertificateParams::new(Vec::<String>::new()).unwrap();
            let certificate = params.self_signed(&pair).unwrap().der().clone();
            builder.with_client_auth_cert(vec![certificate], key.into()).unwrap()
        }
    })
}

/// Fingerprint of the server's key as a client sees it.
pub(crate) fn seen_fingerprint(stream: &tokio_rustls::client::TlsStream<TcpStream>) -> Fingerprint {
    let certificate = &stream.get_ref().1.peer_certificates().unwrap()[0];
    mgmt_server::tls::fingerprint(certificate).unwrap()
}

/// These tests are about the server; that the agent pins its key is tested with the agent.
#[derive(Debug)]
struct AnyServer;

impl ServerCertVerifier for AnyServer {
    fn verify_server_cert(
        &self,
        _end_entity: &CertificateDer<'_>,
        _intermediates: &[CertificateDer<'_>],
        _server_name: &ServerName<'_>,
        _ocsp_response: &[u8],
        _now: UnixTime,
    ) -> Result<ServerCertVerified, Error> {
        Ok(ServerCertVerified::assertion())
    }

    fn verify_tls12_signature(
        &self,
        _message: &[u8],
        _cert: &CertificateDer<'_>,
        _dss: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        Ok(HandshakeSignatureValid::assertion())
    }

    fn verify_tls13_signature(
        &self,
        _message: &[u8],
        _cert: &CertificateDer<'_>,
        _dss: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        Ok(HandshakeSignatureValid::assertion())
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        vec![SignatureScheme::ECDSA_NISTP256_SHA256, SignatureScheme::ED25519]
    }
}
