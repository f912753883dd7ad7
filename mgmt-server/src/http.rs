//! The contract's paths over the application.

use crate::app::{Answer, App, Error};
use crate::metrics::Metrics;
use crate::store::MemberId;
use axum::body::Body;
use axum::extract::{Request, State};
use axum::http::{StatusCode, Uri, header};
use axum::response::{IntoResponse, Response};
use axum::routing::{get, post};
use axum::{Extension, Router};
use core::time::Duration;
use http_body_util::{BodyExt, Limited};
use mgmt_api::{ErrorBody, ErrorCode, HexBytes, limits, path};
use serde::Serialize;
use serde::de::DeserializeOwned;
use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};
use tokio::sync::watch;
use tokio::time::{Instant, sleep_until, timeout};

/// A request body arrives within this time: it is smaller than two packets' worth of TLS records.
const BODY_TIMEOUT: Duration = Duration::from_secs(10);

/// Unix seconds. An argument of the server, so that tests can let days pass.
pub type Clock = Arc<dyn Fn() -> u64 + Send + Sync>;

/// The key the TLS client proved, if it showed a certificate.
#[derive(Clone, Copy, Debug)]
pub struct Identity(pub Option<HexBytes<32>>);

/// What requests share.
#[derive(Clone)]
pub(crate) struct Shared {
    pub(crate) app: App,
    pub(crate) clock: Clock,
    /// Version of the domain; waiting requests look again when it changes.
    pub(crate) version: watch::Receiver<u64>,
    /// When members were last heard of, until it is written down.
    pub(crate) seen: Arc<Mutex<HashMap<MemberId, u64>>>,
    pub(crate) metrics: Arc<Metrics>,
}

/// The paths. Requests carry an [`Identity`] extension.
pub(crate) fn router(shared: Shared) -> Router {
    Router::new()
        .route(path::ENROL, post(enrol))
        .route(path::RENEW, post(renew))
        .route(path::BUNDLE, get(bundle))
        .route(path::WHO, post(who))
        .route(path::HEALTH, get(health))
        .fallback(|| async { Refusal::bad_request("there is nothing at this path") })
        .with_state(shared)
}

async fn enrol(
    State(shared): State<Shared>,
    Extension(identity): Extension<Identity>,
    request: Request,
) -> Result<Response, Refusal> {
    let identity = known(identity)?;
    let body = read_body(request).await?;
    let answer = shared.act(move |app, now| app.enrol(now, identity, &body)).await;
    shared.metrics.count_enrolment(answer.as_ref().err().map(|refusal| refusal.0.code));
    Ok(json(StatusCode::OK, &answer?))
}

async fn renew(
    State(shared): State<Shared>,
    Extension(identity): Extension<Identity>,
    request: Request,
) -> Result<Response, Refusal> {
    let identity = known(identity)?;
    let body = read_body(request).await?;
    let answer = shared.act(move |app, now| app.renew(now, identity, &body)).await?;
    Ok(json(StatusCode::OK, &answer))
}

async fn who(
    State(shared): State<Shared>,
    Extension(identity): Extension<Identity>,
    request: Request,
) -> Result<Response, Refusal> {
    let identity = known(identity)?;
    let body = read_body(request).await?;
    let answer = shared.act(move |app, _| app.who(identity, &body)).await?;
    Ok(json(StatusCode::OK, &answer))
}

async fn bundle(
    State(shared): State<Shared>,
    Extension(identity): Extension<Identity>,
    uri: Uri,
) -> Result<Response, Refusal> {
    let identity = known(identity)?;
    let after = after(&uri)?;
    let deadline = Instant::now() + limits::LONG_POLL;
    let mut version = shared.version.clone();
    loop {
        // Marked as seen before the look, so that a change in between is not slept through.
        version.borrow_and_update();
        let look = shared.act(move |app, now| app.bundle(now, identity, after.unwrap_or(0)));
        let (member, answer) = look.await?;
        shared.note_seen(member);
        match (answer, after) {
            (Answer::Newer(bundle), _) => return Ok(json(StatusCode::OK, &*bundle)),
            (Answer::Unchanged, None) => return Ok(StatusCode::NO_CONTENT.into_response()),
            (Answer::Unchanged, Some(_)) => {}
        }
        let ended = tokio::select! {
            changed = version.changed() => changed.is_err(),
            () = sleep_until(deadline) => true,
        };
        if ended {
            return Ok(StatusCode::NO_CONTENT.into_response());
        }
    }
}

async fn health(State(shared): State<Shared>) -> Result<&'static str, Refusal> {
    shared.act(|app, _| app.version()).await?;
    Ok("ok\n")
}

impl Shared {
    /// Runs an act where blocking does no harm.
    async fn act<T: Send + 'static>(
        &self,
        act: impl FnOnce(&App, u64) -> Result<T, Error> + Send + 'static,
    ) -> Result<T, Refusal> {
        let (app, now) = (self.app.clone(), (self.clock)());
        match tokio::task::spawn_blocking(move || act(&app, now)).await {
            Ok(done) => done.map_err(Refusal::from),
            Err(_) => Err(Refusal::internal()),
        }
    }

    fn note_seen(&self, member: MemberId) {
        let now = (self.clock)();
        self.seen.lock().unwrap_or_else(PoisonError::into_inner).insert(member, now);
    }
}

/// A refusal on its way out.
struct Refusal(ErrorBody);

impl Refusal {
    fn bad_request(message: &str) -> Self {
        Self(ErrorBody { code: ErrorCode::BadRequest, message: message.into() })
    }

    fn internal() -> Self {
        let message = "the server failed; its log says why, asking again later may help".into();
        Self(ErrorBody { code: ErrorCode::Internal, message })
    }
}

impl From<Error> for Refusal {
    fn from(err: Error) -> Self {
        match err {
            Error::Refused { code, message } => Self(ErrorBody { code, message }),
            Error::Unfit(_) | Error::Store(_) | Error::Entropy(_) => {
                tracing::error!(%err, "a request failed");
                Self::internal()
            }
        }
    }
}

impl IntoResponse for Refusal {
    fn into_response(self) -> Response {
        let status = StatusCode::from_u16(self.0.code.status());
        json(status.unwrap_or(StatusCode::INTERNAL_SERVER_ERROR), &self.0)
    }
}

fn known(identity: Identity) -> Result<HexBytes<32>, Refusal> {
    identity.0.ok_or_else(|| {
        let message = "the request came without a client certificate; an agent has one".into();
        Refusal(ErrorBody { code: ErrorCode::NoIdentity, message })
    })
}

/// The version in `?after=VERSION`; `None` without one: answer at once.
fn after(uri: &Uri) -> Result<Option<u64>, Refusal> {
    match uri.query() {
        None => Ok(None),
        Some(query) => query
            .strip_prefix("after=")
            .and_then(|version| version.parse().ok())
            .map(Some)
            .ok_or_else(|| Refusal::bad_request("the query must be after=VERSION")),
    }
}

async fn read_body<T: DeserializeOwned>(request: Request) -> Result<T, Refusal> {
    let body = Limited::new(request.into_body(), limits::REQUEST_BYTES);
    let bytes = match timeout(BODY_TIMEOUT, body.collect()).await {
        Ok(Ok(body)) => body.to_bytes(),
        Ok(Err(_)) => return Err(Refusal::bad_request("the body is cut off or over 16 KiB")),
        Err(_) => return Err(Refusal::bad_request("the body did not arrive within 10 s")),
    };
    // The reader's own words stay here: they could repeat a piece of the secret.
    serde_json::from_slice(&bytes).map_err(|err| {
        Refusal::bad_request(&format!(
            "the body is not as expected, line {}, \
            column {}",
            err.line(),
            err.column()
        ))
    })
}

fn json(status: StatusCode, body: &impl Serialize) -> Response {
    match serde_json::to_vec(body) {
        Ok(bytes) => {
            let kind = [(header::CONTENT_TYPE, "application/json")];
            (status, kind, Body::from(bytes)).into_response()
        }
        Err(err) => {
            tracing::error!(%err, "an answer cannot be written as JSON");
            StatusCode::INTERNAL_SERVER_ERROR.into_response()
        }
    }
}
