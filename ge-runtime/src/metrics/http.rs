//! The metrics port: `GET /metrics` over plain HTTP/1.1, nothing else.

use crate::control::Console;
use http_body_util::Full;
use hyper::body::{Bytes, Incoming};
use hyper::header::{ALLOW, CONTENT_TYPE};
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper::{Method, Request, Response, StatusCode};
use hyper_util::rt::{TokioIo, TokioTimer};
use std::convert::Infallible;
use std::sync::Arc;
use std::time::Duration;
use tokio::net::TcpListener;
use tokio::sync::Semaphore;
use tokio::time::{sleep, timeout};
use tracing::{debug, warn};

/// Scrapers at once. One or two are usual.
const CONNECTIONS: usize = 16;
/// A request's header must be there by then.
const HEADER_PATIENCE: Duration = Duration::from_secs(5);
/// A connection is closed after this, whatever it does; scrapers come again.
const CONNECTION_LIFE: Duration = Duration::from_secs(60);
/// Pause after a failed accept, so that a full descriptor table does not spin.
const ACCEPT_PAUSE: Duration = Duration::from_millis(100);

const OPEN_METRICS: &str = "application/openmetrics-text; version=1.0.0; charset=utf-8";

/// Serves `listener` until the task is dropped.
pub async fn serve(listener: TcpListener, console: Console) {
    let places = Arc::new(Semaphore::new(CONNECTIONS));
    loop {
        let stream = match listener.accept().await {
            Ok((stream, _)) => stream,
            Err(error) => {
                warn!(%error, "accept on the metrics port failed");
                sleep(ACCEPT_PAUSE).await;
                continue;
            }
        };
        let Ok(place) = Arc::clone(&places).try_acquire_owned() else { continue };
        let console = console.clone();
        tokio::spawn(async move {
            let service = service_fn(|request| answer(request, &console));
            let connection = http1::Builder::new()
                .timer(TokioTimer::new())
                .header_read_timeout(HEADER_PATIENCE)
                .serve_connection(TokioIo::new(stream), service);
            if let Ok(Err(error)) = timeout(CONNECTION_LIFE, connection).await {
                debug!(%error, "a metrics connection ended early");
            }
            drop(place);
        });
    }
}

async fn answer(
    request: Request<Incoming>,
    console: &Console,
) -> Result<Response<Full<Bytes>>, Infallible> {
    if request.uri().path() != "/metrics" {
        return Ok(plain(StatusCode::NOT_FOUND, "the metrics are at /metrics\n".to_owned()));
    }
    if request.method() != Method::GET {
        let mut response = plain(StatusCode::METHOD_NOT_ALLOWED, String::new());
        response.headers_mut().insert(ALLOW, hyper::header::HeaderValue::from_static("GET"));
        return Ok(response);
    }
    Ok(match console.metrics().await {
        Ok(text) => {
            let mut response = plain(StatusCode::OK, text);
            let kind = hyper::header::HeaderValue::from_static(OPEN_METRICS);
            response.headers_mut().insert(CONTENT_TYPE, kind);
            response
        }
        Err(refusal) => plain(StatusCode::SERVICE_UNAVAILABLE, format!("{}\n", refusal.message)),
    })
}

fn plain(status: StatusCode, text: String) -> Response<Full<Bytes>> {
    let mut response = Response::new(Full::new(Bytes::from(text)));
    *response.status_mut() = status;
    response
}
