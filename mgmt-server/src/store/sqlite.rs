//! The store as one SQLite file.
//!
//! Writers take the write lock when they begin (`BEGIN IMMEDIATE`), so check-then-write is
//! serialisable between processes and never has to start over. WAL with `synchronous = FULL`: what
//! was answered survives power loss. `secure_delete` overwrites erased keys.

use super::sqlite_rows::Rows;
use super::{Access, Outcome, Store, StoreError, Work};
use core::time::Duration;
use rusqlite::{Connection, OpenFlags, TransactionBehavior};
use std::path::Path;
use std::sync::{Mutex, MutexGuard, PoisonError};

/// What makes each format of the file from the one before it; the first from nothing. A new file
/// takes all of them, so an old one ends the same.
const MIGRATIONS: [&str; 3] =
    [include_str!("schema/1.sql"), include_str!("schema/2.sql"), include_str!("schema/3.sql")];
/// Format this server works with.
#[expect(clippy::cast_possible_truncation, reason = "3")]
const SCHEMA_VERSION: u32 = MIGRATIONS.len() as u32;
/// How long a command waits for another one's transaction. Transactions take milliseconds.
const BUSY_TIMEOUT: Duration = Duration::from_secs(10);

/// A domain in one SQLite file.
pub struct SqliteStore {
    connection: Mutex<Connection>,
    /// `PRAGMA data_version` counts the commits of *other* connections, so the watch has its own.
    watch: Mutex<Connection>,
}

impl SqliteStore {
    /// Makes a new file.
    ///
    /// # Errors
    /// The file exists or cannot be made.
    pub fn create(path: &Path) -> Result<Self, StoreError> {
        if path.exists() {
            return Err(StoreError(format!("{} exists already", path.display())));
        }
        let flags = OpenFlags::SQLITE_OPEN_READ_WRITE | OpenFlags::SQLITE_OPEN_CREATE;
        let mut connection = Connection::open_with_flags(path, flags)?;
        configure(&connection)?;
        migrate(&mut connection, path)?;
        Ok(Self { connection: Mutex::new(connection), watch: Mutex::new(open(path)?) })
    }

    /// Opens an existing file, and brings it to the present format.
    ///
    /// # Errors
    /// There is none, it is damaged, or a newer server made it.
    pub fn open(path: &Path) -> Result<Self, StoreError> {
        let mut connection = open(path)?;
        if format_version(&connection, path)? < SCHEMA_VERSION {
            migrate(&mut connection, path)?;
        }
        Ok(Self { connection: Mutex::new(connection), watch: Mutex::new(open(path)?) })
    }
}

impl Store for SqliteStore {
    fn run(&self, access: Access, work: &mut Work<'_>) -> Result<(), StoreError> {
        let mut connection = lock(&self.connection);
        let behavior = match access {
            Access::Read => TransactionBehavior::Deferred,
            Access::Write => TransactionBehavior::Immediate,
        };
        let mut rows = Rows::new(connection.transaction_with_behavior(behavior)?);
        match work(&mut rows) {
            Outcome::Commit => {
                let erased = rows.commit()?;
                if erased {
                    // Old keys are overwritten in the file only once the log is merged into it. A
                    // reader may be in the way; then the next merge does it.
                    connection
                        .query_row("PRAGMA wal_checkpoint(TRUNCATE)", [], |_| Ok(()))
                        .or_else(|err| if is_busy(&err) { Ok(()) } else { Err(err) })?;
                }
                Ok(())
            }
            Outcome::RollBack => Ok(rows.roll_back()?),
        }
    }

    fn change_mark(&self) -> Result<u64, StoreError> {
        let mark: i64 = lock(&self.watch).query_row("PRAGMA data_version", [], |row| row.get(0))?;
        Ok(mark.unsigned_abs())
    }
}

fn open(path: &Path) -> Result<Connection, StoreError> {
    let connection = Connection::open_with_flags(path, OpenFlags::SQLITE_OPEN_READ_WRITE)?;
    configure(&connection)?;
    Ok(connection)
}

/// Format of the file; 0 if it is new.
fn format_version(connection: &Connection, path: &Path) -> Result<u32, StoreError> {
    let version = connection.query_row("PRAGMA user_version", [], |row| row.get(0))?;
    if version > SCHEMA_VERSION {
        return Err(StoreError(format!(
            "{} has format {version}, this server understands {SCHEMA_VERSION}; \
             use the server version that made it",
            path.display()
        )));
    }
    Ok(version)
}

/// Brings the file to the present format, or leaves it as it is.
fn migrate(connection: &mut Connection, path: &Path) -> Result<(), StoreError> {
    let transaction = connection.transaction_with_behavior(TransactionBehavior::Immediate)?;
    // Looked at again under the write lock: another command may have been faster.
    let done = format_version(&transaction, path)?;
    for migration in MIGRATIONS.iter().skip(done as usize) {
        transaction.execute_batch(migration)?;
    }
    transaction.pragma_update(None, "user_version", SCHEMA_VERSION)?;
    Ok(transaction.commit()?)
}

fn configure(connection: &Connection) -> Result<(), StoreError> {
    connection.busy_timeout(BUSY_TIMEOUT)?;
    connection.pragma_update_and_check(None, "journal_mode", "wal", |_| Ok(()))?;
    connection.pragma_update(None, "synchronous", "full")?;
    connection.pragma_update_and_check(None, "secure_delete", "on", |_| Ok(()))?;
    connection.pragma_update(None, "trusted_schema", "off")?;
    Ok(())
}

fn is_busy(err: &rusqlite::Error) -> bool {
    err.sqlite_error_code() == Some(rusqlite::ErrorCode::DatabaseBusy)
}

/// A panic inside a transaction rolled it back when it was dropped: the connection is sound.
fn lock(connection: &Mutex<Connection>) -> MutexGuard<'_, Connection> {
    connection.lock().unwrap_or_else(PoisonError::into_inner)
}

impl From<rusqlite::Error> for StoreError {
    fn from(err: rusqlite::Error) -> Self {
        Self(match err.sqlite_error_code() {
            Some(rusqlite::ErrorCode::DatabaseBusy) => {
                "the database is in use by another command; try again".into()
            }
            Some(rusqlite::ErrorCode::DiskFull) => {
                "the disk is full; make room and try again".into()
            }
            Some(rusqlite::ErrorCode::ReadOnly) => {
                "the database is read-only; run as the user who owns the data directory".into()
            }
            Some(rusqlite::ErrorCode::NotADatabase | rusqlite::ErrorCode::DatabaseCorrupt) => {
                "the database is damaged; restore the data directory from a backup".into()
            }
            _ => format!("database: {err}"),
        })
    }
}
