//! The running server: accepts connections, watches the store, lets time pass.

use crate::app::{Act, App, Error};
use crate::data_dir::DataDir;
use crate::http::{Clock, Identity, Shared, router};
use crate::metrics::Metrics;
use crate::store::StoreError;
use crate::tls;
use axum::extract::Request;
use axum::{Extension, Router};
use core::future::Future;
use core::time::Duration;
use hyper_util::rt::{TokioIo, TokioTimer};
use hyper_util::service::TowerToHyperService;
use rustls::ServerConfig;
use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{SystemTime, UNIX_EPOCH};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{Semaphore, watch};
use tokio::task::{JoinSet, spawn_blocking};
use tokio::time::{MissedTickBehavior, interval, sleep, timeout};
use tokio_rustls::TlsAcceptor;

/// Connections at a time; each is one waiting agent. Bounds memory to about 200 MiB.
const CONNECTIONS: usize = 4096;
/// A TLS handshake takes two round trips.
const HANDSHAKE_TIMEOUT: Duration = Duration::from_secs(10);
/// The next request's head comes within this time, or the connection is closed.
const HEAD_TIMEOUT: Duration = Duration::from_secs(60);
/// Headers of one request; agents send three.
const HEADERS: usize = 32;
/// Bytes of one request's head.
const HEAD_BYTES: usize = 16 * 1024;
/// How often the store is asked whether another process changed it: a push is due within a second.
const WATCH_PERIOD: Duration = Duration::from_millis(100);
/// How often it is looked whether an epoch begins or ends, in watch periods.
const MAINTENANCE_EVERY: u64 = 10;
/// How often "last seen" is written down and the issuing key looked at, in watch periods.
const BOOKKEEPING_EVERY: u64 = 300;

/// A server about to run.
pub struct Server {
    app: App,
    data: DataDir,
    tls: Arc<ServerConfig>,
    clock: Clock,
}

impl Server {
    /// A server over a data directory.
    ///
    /// # Errors
    /// The directory's files cannot be used.
    pub fn new(data: DataDir, clock: Clock) -> Result<Self, Error> {
        let (certificate, key) = data.tls()?;
        let tls = tls::server_config(certificate, key)
            .map_err(|err| Error::Unfit(format!("the TLS key cannot be used: {err}")))?;
        Ok(Self { app: data.app()?, data, tls, clock })
    }

    /// Serves until `stop` resolves. Connections are cut then; agents come again. `ready` runs
    /// once tokens can be made for the bound address and connections are accepted.
    ///
    /// # Errors
    /// The store cannot be used at the start, or `ready` failed.
    pub async fn run(
        self,
        listener: TcpListener,
        metrics_listener: Option<TcpListener>,
        ready: impl Future<Output = Result<(), Error>>,
        stop: impl Future<Output = ()>,
    ) -> Result<(), Error> {
        let bound = listener
            .local_addr()
            .map_err(|err| StoreError(format!("cannot tell where the server listens: {err}")))?;
        let now = (self.clock)();
        let app = self.app.clone();
        let version = block(move || {
            app.set_bound(bound)?;
            app.maintain(now)?;
            app.version()
        })
        .await?;
        let (publish, version) = watch::channel(version);
        let shared = Shared {
            app: self.app,
            clock: self.clock,
            version,
            seen: Arc::new(Mutex::new(HashMap::new())),
            metrics: Arc::new(Metrics::new()),
        };
        let keeper = Keeper { shared: shared.clone(), data: self.data, publish, warned: false };
        let mut tasks = JoinSet::new();
        tasks.spawn(keeper.keep());
        tasks.spawn(accept(listener, TlsAcceptor::from(self.tls), shared.clone()));
        if let Some(listener) = metrics_listener {
            tasks.spawn(serve_metrics(listener, shared));
        }
        ready.await?;
        tokio::select! {
            () = stop => {}
            ended = tasks.join_next() => tracing::error!(?ended, "a part of the server ended"),
        }
        tasks.shutdown().await;
        Ok(())
    }
}

/// The machine's clock.
#[must_use]
pub fn system_clock() -> Clock {
    Arc::new(unix_now)
}

/// Unix seconds now; 0 on a machine whose clock is before 1970.
#[must_use]
pub fn unix_now() -> u64 {
    SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |since| since.as_secs())
}

async fn block<T: Send + 'static>(
    work: impl FnOnce() -> Result<T, Error> + Send + 'static,
) -> Result<T, Error> {
    spawn_blocking(work)
        .await
        .unwrap_or_else(|_| Err(StoreError("an act of the server ended early".into()).into()))
}

async fn accept(listener: TcpListener, acceptor: TlsAcceptor, shared: Shared) {
    let places = Arc::new(Semaphore::new(CONNECTIONS));
    let router = router(shared.clone());
    let mut connections = JoinSet::new();
    loop {
        while connections.try_join_next().is_some() {}
        let Ok(place) = places.clone().acquire_owned().await else { return };
        let stream = match listener.accept().await {
            Ok((stream, _)) => stream,
            Err(err) => {
                // Out of file descriptors, most likely: wait until some are given back.
                tracing::warn!(%err, "cannot accept a connection");
                sleep(WATCH_PERIOD).await;
                continue;
            }
        };
        let (acceptor, router, shared) = (acceptor.clone(), router.clone(), shared.clone());
        connections.spawn(async move {
            let open = shared.metrics.connections();
            open.inc();
            serve_agent(stream, acceptor, router).await;
            open.dec();
            drop(place);
        });
    }
}

async fn serve_agent(stream: TcpStream, acceptor: TlsAcceptor, router: Router) {
    // Small answers, asked for one at a time: waiting to fill a packet only delays them.
    let _ = stream.set_nodelay(true);
    let stream = match timeout(HANDSHAKE_TIMEOUT, acceptor.accept(stream)).await {
        Ok(Ok(stream)) => stream,
        Ok(Err(err)) => return tracing::debug!(%err, "a TLS handshake failed"),
        Err(_) => return tracing::debug!("a TLS handshake took too long"),
    };
    let identity = match stream.get_ref().1.peer_certificates() {
        Some([certificate, ..]) => tls::identity_key(certificate),
        _ => None,
    };
    serve_http(stream, router.layer(Extension(Identity(identity)))).await;
}

async fn serve_http<S>(stream: S, router: Router)
where
    S: tokio::io::AsyncRead + tokio::io::AsyncWrite + Unpin + Send + 'static,
{
    let mut http = hyper::server::conn::http1::Builder::new();
    http.timer(TokioTimer::new())
        .header_read_timeout(HEAD_TIMEOUT)
        .max_headers(HEADERS)
        .max_buf_size(HEAD_BYTES);
    let service = TowerToHyperService::new(router);
    if let Err(err) = http.serve_connection(TokioIo::new(stream), service).await {
        tracing::debug!(%err, "a connection ended");
    }
}

/// Plain HTTP for the metrics collector: nothing secret, and on an address of its own.
async fn serve_metrics(listener: TcpListener, shared: Shared) {
    let router = Router::new().fallback(move |request: Request| {
        let shared = shared.clone();
        async move {
            let now = (shared.clock)();
            if request.uri().path() != "/metrics" {
                return Err(axum::http::StatusCode::NOT_FOUND);
            }
            block(move || shared.metrics.print(&shared.app, now))
                .await
                .map_err(|_| axum::http::StatusCode::INTERNAL_SERVER_ERROR)
        }
    });
    let mut connections = JoinSet::new();
    loop {
        while connections.try_join_next().is_some() {}
        match listener.accept().await {
            // Collectors are few: more than this is a mistake.
            Ok((stream, _)) if connections.len() < 16 => {
                connections.spawn(timeout(HEAD_TIMEOUT, serve_http(stream, router.clone())));
            }
            Ok(_) => {}
            Err(_) => sleep(WATCH_PERIOD).await,
        }
    }
}

/// Does what is due: publishes changes, lets epochs follow each other, writes down who was seen.
struct Keeper {
    shared: Shared,
    data: DataDir,
    publish: watch::Sender<u64>,
    warned: bool,
}

impl Keeper {
    async fn keep(mut self) {
        let mut ticks = interval(WATCH_PERIOD);
        ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
        let mut mark = None;
        for round in 0u64.. {
            ticks.tick().await;
            if let Err(err) = self.round(round, &mut mark).await {
                tracing::error!(%err, "the store failed; trying again");
                sleep(Duration::from_secs(1)).await;
            }
        }
    }

    async fn round(&mut self, round: u64, mark: &mut Option<u64>) -> Result<(), Error> {
        let now = (self.shared.clock)();
        let app = self.shared.app.clone();
        let (before, maintain) = (*mark, round.is_multiple_of(MAINTENANCE_EVERY));
        let (after, version) = block(move || {
            if maintain {
                app.maintain(now)?;
            }
            let after = app.change_mark()?;
            let version = if before == Some(after) { None } else { Some(app.version()?) };
            Ok((after, version))
        })
        .await?;
        *mark = Some(after);
        if let Some(version) = version {
            self.publish.send_if_modified(|known| core::mem::replace(known, version) != version);
        }
        if round.is_multiple_of(BOOKKEEPING_EVERY) {
            self.keep_books(now).await?;
        }
        Ok(())
    }

    async fn keep_books(&mut self, now: u64) -> Result<(), Error> {
        let seen: Vec<_> = {
            let mut seen = self.shared.seen.lock().unwrap_or_else(PoisonError::into_inner);
            seen.drain().collect()
        };
        let (app, data) = (self.shared.app.clone(), self.data.clone());
        let missing = block(move || {
            app.note_seen(&seen)?;
            if !app.is_issuer_due(now)? {
                return Ok(false);
            }
            let Some(root) = data.root_key()? else { return Ok(true) };
            app.renew_issuer(Act { actor: "server", now }, &root)?;
            Ok(false)
        })
        .await?;
        if missing && !self.warned {
            tracing::warn!(
                "the issuing key ends in less than 7 days and the root key is offline; run \
                 `mgmt-server key issue --root-key FILE`"
            );
        }
        self.warned = missing;
        Ok(())
    }
}
