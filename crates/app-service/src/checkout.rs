//! A connection of the pool, for as long as somebody works on it.

use std::ops::{Deref, DerefMut};
use std::sync::Arc;

use diesel_async::AsyncPgConnection;
use diesel_async::pooled_connection::deadpool::Object;
use tokio::sync::{OwnedSemaphorePermit, Semaphore};

use crate::trouble::Trouble;

/// The process's connections, and a bounded queue for them. Cheap to clone.
///
/// A queue that is longer than its work is done within a caller's patience only makes everybody wait for nothing: who
/// would be further back is refused at once, and may ask another replica.
#[derive(Clone)]
pub(crate) struct Pool {
    connections: database::Pool,
    /// One for each connection and each place in the queue.
    places: Arc<Semaphore>,
}

impl Pool {
    /// At most `most_waiting` checkouts wait for a connection at a time.
    pub(crate) fn new(connections: database::Pool, most_waiting: usize) -> Pool {
        let places = connections.status().max_size.saturating_add(most_waiting);
        Pool {
            connections,
            places: Arc::new(Semaphore::new(places.min(Semaphore::MAX_PERMITS))),
        }
    }

    /// Runs `work` on a connection, outside of any transaction.
    pub(crate) async fn with<T>(
        &self,
        work: impl AsyncFnOnce(&mut AsyncPgConnection) -> Result<T, Trouble>,
    ) -> Result<T, Trouble> {
        let mut conn = Checkout::of(self).await?;
        let outcome = work(&mut conn).await;
        conn.give_back();
        outcome
    }

    /// For who watches them.
    pub(crate) fn connections(&self) -> &database::Pool {
        &self.connections
    }
}

/// Dropped without [`give_back`](Checkout::give_back), as when a caller's deadline passes in the middle of a statement,
/// the connection is closed: in the pool it would keep its transaction's locks, and let the next user wait for the
/// statement.
pub(crate) struct Checkout {
    /// `None` only once it is given back.
    connection: Option<Object<AsyncPgConnection>>,
    _place: OwnedSemaphorePermit,
}

impl Checkout {
    pub(crate) async fn of(pool: &Pool) -> Result<Checkout, Trouble> {
        let place = Arc::clone(&pool.places).try_acquire_owned();
        let place = place.map_err(|_| Trouble::QueueFull)?;
        Ok(Checkout {
            connection: Some(pool.connections.get().await?),
            _place: place,
        })
    }

    /// No transaction is open and no statement is running.
    pub(crate) fn give_back(mut self) {
        self.connection = None;
    }
}

impl Drop for Checkout {
    fn drop(&mut self) {
        if let Some(connection) = self.connection.take() {
            drop(Object::take(connection));
        }
    }
}

impl Deref for Checkout {
    type Target = AsyncPgConnection;

    fn deref(&self) -> &AsyncPgConnection {
        self.connection.as_ref().expect(PRESENT)
    }
}

impl DerefMut for Checkout {
    fn deref_mut(&mut self) -> &mut AsyncPgConnection {
        self.connection.as_mut().expect(PRESENT)
    }
}

const PRESENT: &str = "give_back consumes the checkout";
