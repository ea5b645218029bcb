//! Handshakes with a deadline.

use std::io;
use std::net::{IpAddr, TcpStream};
use std::sync::Arc;
use std::time::Duration;

use rustls::pki_types::ServerName;
use rustls::{ClientConfig, ClientConnection, ServerConfig, StreamOwned};
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::time::timeout;
use tokio_rustls::{TlsAcceptor, TlsConnector};

/// Longest handshake of a client that connects to a listener.
pub const HANDSHAKE_LIMIT: Duration = Duration::from_secs(5);

/// A connection of a client.
pub type ClientStream<S> = tokio_rustls::client::TlsStream<S>;
/// A connection that a listener has accepted.
pub type ServerStream<S> = tokio_rustls::server::TlsStream<S>;

/// The server's side of a handshake.
///
/// # Errors
/// When the handshake fails or is not over within [`HANDSHAKE_LIMIT`].
pub async fn accept<S>(config: Arc<ServerConfig>, stream: S) -> io::Result<ServerStream<S>>
where
    S: AsyncRead + AsyncWrite + Unpin,
{
    timeout(HANDSHAKE_LIMIT, TlsAcceptor::from(config).accept(stream))
        .await
        .unwrap_or_else(|_| {
            Err(io::Error::new(
                io::ErrorKind::TimedOut,
                "no TLS handshake in time",
            ))
        })
}

/// The client's side of a handshake with the server of that name, a DNS name or an IP address. The caller sets the deadline.
///
/// # Errors
/// When the name is none, or the handshake fails.
pub async fn connect<S>(
    config: Arc<ClientConfig>,
    server_name: &str,
    stream: S,
) -> io::Result<ClientStream<S>>
where
    S: AsyncRead + AsyncWrite + Unpin,
{
    let name = ServerName::try_from(server_name)
        .map_err(|_| {
            io::Error::new(
                io::ErrorKind::InvalidInput,
                "the server's name is neither a DNS name nor an IP address",
            )
        })?
        .to_owned();
    TlsConnector::from(config).connect(name, stream).await
}

/// A connection of a client that has no runtime; the handshake happens with the first bytes, within the stream's own timeouts.
///
/// # Errors
/// When the configuration cannot be used.
pub fn connect_blocking(
    config: Arc<ClientConfig>,
    server: IpAddr,
    stream: TcpStream,
) -> io::Result<StreamOwned<ClientConnection, TcpStream>> {
    let connection = ClientConnection::new(config, ServerName::from(server)).map_err(io::Error::other)?;
    Ok(StreamOwned::new(connection, stream))
}
