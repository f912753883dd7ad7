//! What the server does, without HTTP and without SQL.
//!
//! Every act is one transaction of the [`Store`]: it checks, changes, gives the views of the
//! members concerned the next version and appends to the audit log, or does nothing. Time is an
//! argument. The same code runs in `mgmt-server run` and in the commands beside it.

mod certificate;
mod domain;
mod enrol;
mod group;
mod issuer;
mod maintenance;
mod member;
mod must_protect;
mod policy;
mod token;
mod view;

pub use domain::NewDomain;
pub use group::{GroupSummary, PRIORITY};
pub use member::MemberChange;
pub use policy::title as policy_title;
pub use token::{NewToken, TokenState};
pub use view::Answer;

use crate::random::EntropyError;
use crate::store::{Access, AuditEntry, Outcome, Store, StoreError, Transaction};
use mgmt_api::ErrorCode;
use std::sync::Arc;

/// Why an act was not done. Nothing was changed then.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// An agent's request, refused: a code for it and a sentence for its owner.
    #[error("{message}")]
    Refused {
        /// For the agent.
        code: ErrorCode,
        /// For people.
        message: String,
    },
    /// An administrator's wish that cannot be met: one sentence that names the fix.
    #[error("{0}")]
    Unfit(String),
    /// The store failed.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// No randomness.
    #[error(transparent)]
    Entropy(#[from] EntropyError),
}

impl Error {
    fn refused(code: ErrorCode, message: impl Into<String>) -> Self {
        Self::Refused { code, message: message.into() }
    }

    fn unfit(message: impl Into<String>) -> Self {
        Self::Unfit(message.into())
    }
}

/// The application over some store.
#[derive(Clone)]
pub struct App {
    store: Arc<dyn Store>,
}

impl App {
    /// An application over `store`, which holds a domain already or is about to be given one.
    #[must_use]
    pub fn new(store: Arc<dyn Store>) -> Self {
        Self { store }
    }

    /// A number that changes with every commit of any process; see [`Store::change_mark`].
    ///
    /// # Errors
    /// The store cannot be read.
    pub fn change_mark(&self) -> Result<u64, Error> {
        Ok(self.store.change_mark()?)
    }

    /// The last `limit` audit entries, newest first.
    ///
    /// # Errors
    /// The store cannot be read.
    pub fn audit(&self, limit: u32) -> Result<Vec<AuditEntry>, Error> {
        self.read(|tx| Ok(tx.audit(limit)?))
    }

    fn read<T>(
        &self,
        work: impl FnMut(&mut dyn Transaction) -> Result<T, Error>,
    ) -> Result<T, Error> {
        self.transact(Access::Read, work)
    }

    fn write<T>(
        &self,
        work: impl FnMut(&mut dyn Transaction) -> Result<T, Error>,
    ) -> Result<T, Error> {
        self.transact(Access::Write, work)
    }

    fn transact<T>(
        &self,
        access: Access,
        mut work: impl FnMut(&mut dyn Transaction) -> Result<T, Error>,
    ) -> Result<T, Error> {
        let mut result = None;
        self.store.run(access, &mut |tx| {
            let done = work(tx);
            let outcome = if done.is_ok() { Outcome::Commit } else { Outcome::RollBack };
            result = Some(done);
            outcome
        })?;
        result.unwrap_or_else(|| Err(StoreError("the store did not run the work".into()).into()))
    }
}

/// Who acts, and when: what every audit entry begins with.
#[derive(Clone, Copy, Debug)]
pub struct Act<'a> {
    /// `admin uid 0`, `agent 01ab…`, `server`.
    pub actor: &'a str,
    /// Unix seconds.
    pub now: u64,
}

impl Act<'_> {
    fn note(
        &self,
        tx: &mut dyn Transaction,
        action: &str,
        subject: &str,
        before: impl Into<String>,
        after: impl Into<String>,
    ) -> Result<(), StoreError> {
        tx.append_audit(&AuditEntry {
            time: self.now,
            actor: self.actor.to_owned(),
            action: action.to_owned(),
            subject: subject.to_owned(),
            before: before.into(),
            after: after.into(),
        })
    }
}
