use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use bytes::Bytes;
use http_body_util::Full;
use hyper::client::conn::http1::{Builder, SendRequest};
use hyper_util::rt::TokioIo;
use tls::Verify;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::TcpStream;
use tokio::time::{Instant, timeout};

use super::AppServiceArgs;

/// Shorter than app-service's lame duck: during it, idle connections to a replica that is going away run out by
/// themselves, and none is closed from the other side just when a request is written to it.
const IDLE: Duration = Duration::from_secs(3);
const CONNECT_TIMEOUT: Duration = Duration::from_millis(250);
/// For TLS on top of that.
const HANDSHAKE_TIMEOUT: Duration = Duration::from_secs(1);
/// Idle connections kept to one endpoint.
const MOST_IDLE: usize = 64;
/// App-service's heads are small; a larger one is a fault.
const MOST_HEAD: usize = 16 * 1024;

type Sender = SendRequest<Full<Bytes>>;

/// One worker's kept connections, by endpoint.
pub(super) struct Pool {
    idle: Mutex<Vec<Vec<Idle>>>,
}

struct Idle {
    sender: Sender,
    since: Instant,
}

/// A connection that one request has to itself.
pub(super) struct Connection {
    sender: Sender,
    endpoint: usize,
    pool: Arc<Pool>,
}

impl Connection {
    pub(super) fn sender(&mut self) -> &mut Sender {
        &mut self.sender
    }

    /// For the next request, once the answer to this one has been read to its end. Dropped instead, it is closed.
    pub(super) fn keep(self) {
        let mut idle = self.pool.lock();
        let kept = &mut idle[self.endpoint];
        if kept.len() < MOST_IDLE && !self.sender.is_closed() {
            kept.push(Idle {
                sender: self.sender,
                since: Instant::now(),
            });
        }
    }
}

impl Pool {
    pub(super) fn new(endpoints: usize) -> Pool {
        Pool {
            idle: Mutex::new((0..endpoints).map(|_| Vec::new()).collect()),
        }
    }

    pub(super) fn prune(&self) {
        for kept in self.lock().iter_mut() {
            kept.retain(|idle| idle.since.elapsed() < IDLE && !idle.sender.is_closed());
        }
    }

    /// Closes what is idle to an endpoint that is going away.
    pub(super) fn forget(&self, endpoint: usize) {
        self.lock()[endpoint].clear();
    }

    /// The connection that was used last, so that those beyond the need run out.
    pub(super) async fn idle(self: &Arc<Pool>, endpoint: usize) -> Option<Connection> {
        loop {
            let Idle { mut sender, since } = self.lock()[endpoint].pop()?;
            // Ready at once, unless its task has not run since the last answer ended.
            if since.elapsed() < IDLE && matches!(timeout(CONNECT_TIMEOUT, sender.ready()).await, Ok(Ok(())))
            {
                return Some(self.connection(sender, endpoint));
            }
        }
    }

    pub(super) async fn connect(
        self: &Arc<Pool>,
        endpoint: usize,
        app_service: &AppServiceArgs,
    ) -> Result<Connection, String> {
        let to = &app_service.endpoints()[endpoint];
        let failed = |error: &dyn std::error::Error| format!("{}: {error}", to.authority);
        let stream = match timeout(CONNECT_TIMEOUT, TcpStream::connect(&to.authority)).await {
            Ok(stream) => stream.map_err(|error| failed(&error))?,
            Err(_) => return Err(format!("{}: connecting took too long", to.authority)),
        };
        stream.set_nodelay(true).map_err(|error| failed(&error))?;
        let sender = if to.tls {
            let config = app_service.tls.client().config(Verify::Full);
            let config = config.map_err(|error| failed(&error))?;
            let handshake = tls::connect(config, app_service.server_name(endpoint), stream);
            let stream = match timeout(HANDSHAKE_TIMEOUT, handshake).await {
                Ok(stream) => stream.map_err(|error| failed(&error))?,
                Err(_) => return Err(format!("{}: the TLS handshake took too long", to.authority)),
            };
            speak_http(stream).await
        } else {
            speak_http(stream).await
        };
        Ok(self.connection(sender.map_err(|error| failed(&error))?, endpoint))
    }

    fn connection(self: &Arc<Pool>, sender: Sender, endpoint: usize) -> Connection {
        Connection {
            sender,
            endpoint,
            pool: Arc::clone(self),
        }
    }

    fn lock(&self) -> MutexGuard<'_, Vec<Vec<Idle>>> {
        self.idle.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

async fn speak_http<S>(stream: S) -> hyper::Result<Sender>
where
    S: AsyncRead + AsyncWrite + Unpin + Send + 'static,
{
    let (sender, connection) = Builder::new()
        .max_header_size(MOST_HEAD)
        .handshake(TokioIo::new(stream))
        .await?;
    // It ends when the sender is dropped or the other side closes; whoever waits for an answer hears of errors.
    tokio::spawn(async move {
        if let Err(error) = connection.await {
            tracing::debug!(%error, "a connection to app-service ended");
        }
    });
    Ok(sender)
}
