//! Failures of the database, and what a client may know of them.
//!
//! Policy: what the client did wrong is a [`Problem`] where it is noticed (`refusal`, `body`, `call`). What went wrong
//! here is a [`Trouble`], and becomes a problem here alone: 503 when trying again later can help, otherwise 500. Causes
//! go to the log and never to a client.

use chassis::Problem;
use diesel::result::{DatabaseErrorKind, Error as DieselError};
use diesel_async::pooled_connection::deadpool::PoolError;
use outbox::AppendError;

use crate::problems::OVERLOADED;

#[derive(Debug, thiserror::Error)]
pub(crate) enum Trouble {
    /// Too many wait for a connection already.
    #[error("the queue for database connections is full")]
    QueueFull,
    /// No connection was free in time, or none could be made.
    #[error("no database connection: {0}")]
    Pool(#[from] PoolError),
    #[error("the database refused: {0}")]
    Database(#[from] DieselError),
    #[error("the facts could not be appended: {0}")]
    Append(#[source] AppendError),
    /// A row that the table's constraints should not have let in.
    #[error("a row of {table} is not valid: {why}")]
    Corrupt { table: &'static str, why: String },
}

impl Trouble {
    /// The `error.type` of spans.
    pub(crate) fn kind(&self) -> &'static str {
        match self {
            Trouble::QueueFull => "queue-full",
            Trouble::Pool(_) => "pool",
            Trouble::Database(_) => "database",
            Trouble::Append(_) => "append",
            Trouble::Corrupt { .. } => "corrupt",
        }
    }
}

impl From<AppendError> for Trouble {
    fn from(error: AppendError) -> Trouble {
        match error {
            AppendError::Database(error) => Trouble::Database(error),
            error => Trouble::Append(error),
        }
    }
}

impl From<Trouble> for Problem {
    fn from(trouble: Trouble) -> Problem {
        if passes(&trouble) {
            overloaded().caused_by(trouble)
        } else {
            Problem::internal(trouble)
        }
    }
}

/// 503.
pub(crate) fn overloaded() -> Problem {
    OVERLOADED.because("nothing was changed").retry_after(1)
}

/// Whether a statement waited for a lock longer than it may.
pub(crate) fn is_lock_timeout(error: &DieselError) -> bool {
    matches!(error, DieselError::DatabaseError(_, information) if information.message().starts_with(LOCK_TIMEOUT))
}

const LOCK_TIMEOUT: &str = "canceling statement due to lock timeout";

/// Whether the same request may well succeed a moment later.
pub(crate) fn passes(trouble: &Trouble) -> bool {
    match trouble {
        Trouble::QueueFull | Trouble::Pool(_) => true,
        Trouble::Database(DieselError::DatabaseError(kind, information)) => match kind {
            DatabaseErrorKind::SerializationFailure
            | DatabaseErrorKind::UnableToSendCommand
            | DatabaseErrorKind::ClosedConnection => true,
            // diesel keeps no SQLSTATE; these are 55P03, 57014, 40P01, 57P01 and 25P03. A server that speaks another
            // language is not served with (`database::wait_until_up`).
            _ => [
                LOCK_TIMEOUT,
                "canceling statement due to statement timeout",
                "deadlock detected",
                "terminating connection",
            ]
            .iter()
            .any(|message| information.message().starts_with(message)),
        },
        Trouble::Database(DieselError::BrokenTransactionManager) => true,
        Trouble::Database(_) | Trouble::Append(_) | Trouble::Corrupt { .. } => false,
    }
}
