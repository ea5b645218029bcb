//! Which connection a thread uses.
//!
//! A connection is driven by a task of the runtime that made it. When another thread sends a command, it wakes that runtime, and the
//! reply wakes the thread: two system calls and two switches, more than the command itself costs. A thread whose runtime is its own
//! drives a connection of its own instead.

use std::sync::atomic::AtomicU32;
use std::sync::{Arc, OnceLock};

use thread_local::ThreadLocal;
use tokio::runtime::{Handle, Id, RuntimeFlavor};

use super::dialer::{Connection, Dialer};
use crate::clock::Clock;

/// The shared connection, and those of single threads. One that breaks is replaced together with all the others.
pub(super) struct Near {
    shared: Line,
    home: Id,
    own: ThreadLocal<Arc<OnceLock<Line>>>,
    dialer: Dialer,
    clock: Arc<Clock>,
}

/// One connection.
pub(super) struct Line {
    pub(super) connection: Connection,
    /// Commands in a row that had no reply in time.
    pub(super) timeouts: AtomicU32,
}

impl Line {
    fn new(connection: Connection) -> Line {
        Line {
            connection,
            timeouts: AtomicU32::new(0),
        }
    }
}

impl Near {
    /// `shared` was made on the calling runtime.
    pub(super) fn new(shared: Connection, dialer: Dialer, clock: Arc<Clock>) -> Near {
        Near {
            shared: Line::new(shared),
            home: Handle::current().id(),
            own: ThreadLocal::new(),
            dialer,
            clock,
        }
    }

    /// The thread's own connection once there is one, until then and for all other threads the shared one.
    pub(super) fn line(&self) -> &Line {
        self.own.get_or(|| self.approach()).get().unwrap_or(&self.shared)
    }

    /// Connects in the background, where that is of use. A failure is no loss: the shared connection is there.
    fn approach(&self) -> Arc<OnceLock<Line>> {
        let own = Arc::new(OnceLock::new());
        let here = Handle::current();
        let is_own_runtime = here.runtime_flavor() == RuntimeFlavor::CurrentThread && here.id() != self.home;
        // A cluster's client has many connections, and tasks of its own between them and the caller.
        if is_own_runtime && matches!(self.shared.connection, Connection::Single(_)) {
            let (slot, dialer, clock) = (Arc::clone(&own), self.dialer.clone(), Arc::clone(&self.clock));
            here.spawn(async move {
                match dialer.dial(&clock).await {
                    // It is set by this task alone.
                    Ok(connection) => drop(slot.set(Line::new(connection))),
                    Err(error) => {
                        tracing::debug!(%error, "this thread goes on with the shared connection to redis")
                    }
                }
            });
        }
        own
    }
}
