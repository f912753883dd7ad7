//! The tokio side of a running agent: people, metrics, the management server, signals.

use crate::clock;
use crate::command::{Command, CommandSender, SendError};
use crate::frontend::Frontend;
use crate::key_client::{KeyClient, KeyUpdate, SyncState};
use crate::metrics::Metrics;
use crate::options::RunError;
use crate::report::SharedFacts;
use std::future::Future;
use std::sync::Arc;
use std::time::{Duration, SystemTime};
use tokio::sync::{mpsc, watch};
use tracing::{error, warn};

/// Updates that wait for the engine thread; each replaces the one before.
const UPDATES: usize = 4;
/// Between two attempts to hand an update to a busy engine.
const RETRY: Duration = Duration::from_millis(50);

/// Serves until the engine thread has ended, which `engine_ended` says, or `shutdown` asks for it.
pub(super) async fn serve(
    frontend: Frontend,
    client: KeyClient,
    engine: CommandSender,
    facts: SharedFacts,
    metrics: Arc<Metrics>,
    shutdown: impl Future<Output = ()>,
    engine_ended: impl Future<Output = ()>,
) -> Result<(), RunError> {
    let (updates, news) = mpsc::channel(UPDATES);
    let (state, stand) = watch::channel(client.sync_state());
    facts.set_server(client.sync_state().server);
    // A removed host goes on running, so that people can ask it why nothing works.
    tokio::spawn(async move {
        if let Err(error) = client.follow(updates, state).await {
            error!(%error, "the management server is no longer followed");
        }
    });
    tokio::spawn(hand_on(news, engine.clone()));
    tokio::spawn(note(stand, facts.clone()));
    let stop = async {
        shutdown.await;
        if engine.send(Command::Stop).is_err() {
            warn!("the engine had stopped already");
        }
        std::future::pending().await
    };
    tokio::select! {
        result = frontend.serve(engine.clone(), facts, metrics) => result,
        () = stop => Ok(()),
        () = engine_ended => Ok(()),
    }
}

/// Hands what the server says to the engine thread.
async fn hand_on(mut news: mpsc::Receiver<KeyUpdate>, engine: CommandSender) {
    while let Some(update) = news.recv().await {
        loop {
            let command = match &update {
                KeyUpdate::Membership(membership) => {
                    Command::Install(Box::new(membership.as_ref().clone()))
                }
                KeyUpdate::Removed => Command::Expel,
            };
            match engine.send(command) {
                Ok(()) => break,
                Err(SendError::Full) => tokio::time::sleep(RETRY).await,
                Err(SendError::Stopped) => return,
            }
        }
    }
}

/// Keeps the facts about the server for people.
async fn note(mut stand: watch::Receiver<SyncState>, facts: SharedFacts) {
    while stand.changed().await.is_ok() {
        let state = stand.borrow_and_update().clone();
        facts.set_server(state.server);
        clock::follow_server(state.clock_offset);
        match (state.last_error, state.last_success) {
            (Some((since, _)), _) => facts.server_failed(since),
            (None, Some(at)) => facts.server_reached(at),
            (None, None) => facts.server_failed(SystemTime::now()),
        }
    }
}
