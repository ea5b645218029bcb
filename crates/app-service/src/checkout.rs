//! A connection of the pool, for as long as somebody works on it.

use std::ops::{Deref, DerefMut};

use database::Pool;
use diesel_async::AsyncPgConnection;
use diesel_async::pooled_connection::deadpool::Object;

use crate::trouble::Trouble;

/// Dropped without [`give_back`](Checkout::give_back), as when a caller's deadline passes in the middle of a statement,
/// the connection is closed: in the pool it would keep its transaction's locks, and let the next user wait for the
/// statement.
pub(crate) struct Checkout {
    /// `None` only once it is given back.
    connection: Option<Object<AsyncPgConnection>>,
}

impl Checkout {
    pub(crate) async fn of(pool: &Pool) -> Result<Checkout, Trouble> {
        Ok(Checkout {
            connection: Some(pool.get().await?),
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
