//! One TLS connection to the server, and requests over it one after the other.

use super::{Connector, KeyClientError, tls};
use core::future::Future;
use core::net::SocketAddr;
use core::time::Duration;
use http_body_util::{BodyExt, Full, Limited};
use hyper::body::Bytes;
use hyper::client::conn::http1::{SendRequest, handshake};
use hyper::{Method, Request, Response, StatusCode, header};
use hyper_util::rt::TokioIo;
use mgmt_api::{Bundle, ErrorBody, ServerAddress, limits, path};
use rustls::{AlertDescription, CertificateError};
use serde::Serialize;
use serde::de::DeserializeOwned;
use std::io;
use tokio::task::JoinHandle;
use tokio::time::timeout;
use tokio_rustls::TlsConnector;
use zeroize::Zeroizing;

/// For each of: name look-up, TCP connection, TLS handshake. Three SYNs fit.
const STEP_TIMEOUT: Duration = Duration::from_secs(8);
/// For an answer the server need not wait for.
const ANSWER_TIMEOUT: Duration = Duration::from_secs(15);

/// A connection to one server.
pub(super) struct Connection {
    server: ServerAddress,
    requests: SendRequest<Full<Bytes>>,
    driver: JoinHandle<()>,
}

impl Drop for Connection {
    fn drop(&mut self) {
        self.driver.abort();
    }
}

impl Connection {
    /// Connects and proves both keys.
    pub(super) async fn open(
        server: &ServerAddress,
        tls: &tls::Config,
        connector: &dyn Connector,
    ) -> Result<Self, KeyClientError> {
        let stream = connect_tcp(server, connector).await?;
        // Small requests, one at a time: waiting to fill a packet only delays them.
        let _ = stream.set_nodelay(true);
        let connecting = TlsConnector::from(tls.clone()).connect(tls::server_name(), stream);
        let stream = within(STEP_TIMEOUT, server, "TLS handshake", connecting)
            .await?
            .map_err(|err| tls_error(server, &err))?;
        let (requests, driver) =
            handshake(TokioIo::new(stream)).await.map_err(|err| unreachable(server, &err))?;
        let driver = tokio::spawn(async move {
            // Its error comes out of the request that was under way.
            let _ = driver.await;
        });
        Ok(Self { server: server.clone(), requests, driver })
    }

    /// The server at the other end.
    pub(super) const fn server(&self) -> &ServerAddress {
        &self.server
    }

    /// Sends `body`, reads the answer.
    pub(super) async fn post<A: DeserializeOwned>(
        &mut self,
        path: &str,
        body: &impl Serialize,
    ) -> Result<A, KeyClientError> {
        let body = serde_json::to_vec(body).map_err(|err| self.nonsense(err))?;
        let request = Request::builder().method(Method::POST).uri(path);
        let (_, bytes) = self.send(request, body, ANSWER_TIMEOUT).await?;
        serde_json::from_slice(&bytes).map_err(|err| self.nonsense(err))
    }

    /// Waits for a view newer than `after`; `None` if there was none for a while.
    pub(super) async fn bundle(&mut self, after: u64) -> Result<Option<Bundle>, KeyClientError> {
        let request =
            Request::builder().method(Method::GET).uri(format!("{}?after={after}", path::BUNDLE));
        let patience = limits::LONG_POLL + ANSWER_TIMEOUT;
        let (status, bytes) = self.send(request, Vec::new(), patience).await?;
        if status == StatusCode::NO_CONTENT {
            return Ok(None);
        }
        serde_json::from_slice(&bytes).map(Some).map_err(|err| self.nonsense(err))
    }

    async fn send(
        &mut self,
        request: hyper::http::request::Builder,
        body: Vec<u8>,
        patience: Duration,
    ) -> Result<(StatusCode, Zeroizing<Vec<u8>>), KeyClientError> {
        let request = request
            .header(header::HOST, path::TLS_NAME)
            .header(header::CONTENT_TYPE, "application/json")
            .body(Full::new(Bytes::from(body)))
            .map_err(|err| self.nonsense(err))?;
        let server = self.server.clone();
        let exchange = async {
            self.requests.ready().await?;
            self.requests.send_request(request).await
        };
        let answer: Response<_> = within(patience, &server, "answer", exchange)
            .await?
            .map_err(|err| unreachable(&server, &err))?;
        let status = answer.status();
        let body = Limited::new(answer.into_body(), limits::RESPONSE_BYTES).collect();
        let bytes = within(ANSWER_TIMEOUT, &server, "answer", body)
            .await?
            .map_err(|err| unreachable(&server, &*err))?
            .to_bytes();
        // The copy is wiped; the parts the body came in belong to hyper.
        let bytes = Zeroizing::new(bytes.to_vec());
        if status.is_success() {
            return Ok((status, bytes));
        }
        match serde_json::from_slice::<ErrorBody>(&bytes) {
            Ok(body) => Err(KeyClientError::Refused(body)),
            Err(_) => Err(self.nonsense(format!("status {status}"))),
        }
    }

    fn nonsense(&self, cause: impl ToString) -> KeyClientError {
        KeyClientError::Nonsense { server: self.server.clone(), cause: cause.to_string() }
    }
}

async fn connect_tcp(
    server: &ServerAddress,
    connector: &dyn Connector,
) -> Result<tokio::net::TcpStream, KeyClientError> {
    let looking = tokio::net::lookup_host((server.host().to_owned(), server.port()));
    let addresses: Vec<SocketAddr> = within(STEP_TIMEOUT, server, "name look-up", looking)
        .await?
        .map_err(|err| unreachable(server, &err))?
        .collect();
    let mut last = unreachable(server, &io::Error::other("its name has no address"));
    for address in addresses {
        match within(STEP_TIMEOUT, server, "connection", connector.connect(address)).await {
            Ok(Ok(stream)) => return Ok(stream),
            Ok(Err(err)) => last = unreachable(server, &err),
            Err(err) => last = err,
        }
    }
    Err(last)
}

async fn within<F: Future>(
    limit: Duration,
    server: &ServerAddress,
    what: &str,
    work: F,
) -> Result<F::Output, KeyClientError> {
    timeout(limit, work).await.map_err(|_| {
        unreachable(server, &io::Error::other(format!("no {what} within {} s", limit.as_secs())))
    })
}

fn unreachable<E: core::error::Error + ?Sized>(server: &ServerAddress, err: &E) -> KeyClientError {
    // The innermost cause is the one that says something ("connection refused").
    let mut cause = err.to_string();
    let mut source = err.source();
    while let Some(inner) = source {
        cause = inner.to_string();
        source = inner.source();
    }
    KeyClientError::Unreachable { server: server.clone(), cause }
}

fn tls_error(server: &ServerAddress, err: &io::Error) -> KeyClientError {
    let server_too_old = |cause: &rustls::Error| KeyClientError::TlsTooOld {
        server: server.clone(),
        cause: cause.to_string(),
    };
    match err.get_ref().and_then(|inner| inner.downcast_ref::<rustls::Error>()) {
        Some(rustls::Error::InvalidCertificate(
            CertificateError::ApplicationVerificationFailure,
        )) => KeyClientError::WrongFingerprint { server: server.clone() },
        Some(cause @ rustls::Error::PeerIncompatible(_)) => server_too_old(cause),
        Some(
            cause @ rustls::Error::AlertReceived(
                AlertDescription::ProtocolVersion
                | AlertDescription::HandshakeFailure
                | AlertDescription::InsufficientSecurity,
            ),
        ) => server_too_old(cause),
        _ => unreachable(server, err),
    }
}
