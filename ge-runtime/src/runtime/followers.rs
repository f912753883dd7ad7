//! Who follows changes of verdicts. Each has a bounded queue of its own: a slow one loses changes and
//! is told how many, and nobody else notices.

use crate::command::Told;
use ge_core::Now;
use ge_core::engine::Engine;
use tokio::sync::mpsc::{Sender, error::TrySendError};

/// Followers of one engine.
#[derive(Default)]
pub(super) struct Followers(Vec<Follower>);

struct Follower {
    queue: Sender<Told>,
    lost: u64,
}

impl Followers {
    /// Adds one; the engine keeps changes from here on.
    pub(super) fn add(&mut self, engine: &mut Engine, queue: Sender<Told>) {
        if self.0.is_empty() {
            engine.watch(true);
        }
        self.0.push(Follower { queue, lost: 0 });
    }

    /// Tells them what changed. Never blocks.
    pub(super) fn tell(&mut self, engine: &mut Engine, now: Now) {
        if self.0.is_empty() {
            return;
        }
        let (changes, lost) = engine.take_changes(now);
        self.0.iter_mut().for_each(|follower| follower.lost += lost);
        for change in changes {
            self.0.retain_mut(|follower| {
                let told = Told { lost: follower.lost, change: change.clone() };
                match follower.queue.try_send(told) {
                    Ok(()) => follower.lost = 0,
                    Err(TrySendError::Full(_)) => follower.lost += 1,
                    Err(TrySendError::Closed(_)) => return false,
                }
                true
            });
        }
        self.0.retain(|follower| !follower.queue.is_closed());
        if self.0.is_empty() {
            engine.watch(false);
        }
    }
}
