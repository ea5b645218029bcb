use std::pin::Pin;
use std::task::{Context, Poll, ready};

use bytes::Bytes;
use hyper::body::{Body, Frame, Incoming, SizeHint};
use tokio::sync::OwnedSemaphorePermit;
use tokio::time::{Instant, Sleep, sleep_until};

use super::pool::Connection;

/// An answer's body on its way from app-service to the client, one piece at a time.
///
/// When it breaks off, or is not complete by the deadline, it ends in an error: hyper then breaks the connection to the
/// client, which can tell this from an end. Trailers are not passed on.
pub(crate) struct Relay {
    body: Incoming,
    deadline: Pin<Box<Sleep>>,
    connection: Option<Connection>,
    _permit: OwnedSemaphorePermit,
}

/// Why an answer was broken off.
#[derive(Debug, thiserror::Error)]
pub(crate) enum Broken {
    #[error("the rest of the answer did not come in time")]
    Deadline,
    #[error("the answer broke off: {0}")]
    Upstream(#[from] hyper::Error),
}

impl Relay {
    pub(super) fn new(
        body: Incoming,
        deadline: Instant,
        connection: Connection,
        permit: OwnedSemaphorePermit,
    ) -> Relay {
        let mut relay = Relay {
            body,
            deadline: Box::pin(sleep_until(deadline)),
            connection: Some(connection),
            _permit: permit,
        };
        relay.keep_connection_at_end();
        relay
    }

    /// Called after each piece: a server that knows the length stops asking after the last one.
    fn keep_connection_at_end(&mut self) {
        if self.body.is_end_stream()
            && let Some(connection) = self.connection.take()
        {
            connection.keep();
        }
    }
}

impl Body for Relay {
    type Data = Bytes;
    type Error = Broken;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Broken>>> {
        let relay = &mut *self;
        let Poll::Ready(frame) = Pin::new(&mut relay.body).poll_frame(context) else {
            ready!(relay.deadline.as_mut().poll(context));
            relay.connection = None;
            return Poll::Ready(Some(Err(Broken::Deadline)));
        };
        Poll::Ready(match frame {
            Some(Ok(frame)) if frame.is_data() => {
                relay.keep_connection_at_end();
                Some(Ok(frame))
            }
            Some(Err(error)) => {
                relay.connection = None;
                Some(Err(error.into()))
            }
            Some(Ok(_)) | None => {
                if let Some(connection) = relay.connection.take() {
                    connection.keep();
                }
                None
            }
        })
    }

    fn is_end_stream(&self) -> bool {
        self.body.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.body.size_hint()
    }
}
