use std::io;
use std::net::SocketAddr;

use tls::{Client, ClientFiles, Verify};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;
use tokio::time::timeout;

use crate::kafka::LIMIT;

/// One GET of HTTP/1.1 over TLS to the server of that name at `address`; the whole answer, head and body.
///
/// # Errors
/// When either side refuses the other's certificate.
pub async fn https_get(
    address: SocketAddr,
    name: &str,
    path: &str,
    files: ClientFiles,
) -> io::Result<String> {
    let config = Client::new(files)
        .config(Verify::Full)
        .expect("the test's own files");
    let exchange = async {
        let stream = TcpStream::connect(address).await?;
        let mut stream = tls::connect(config, name, stream).await?;
        let request = format!("GET {path} HTTP/1.1\r\nhost: {name}\r\nconnection: close\r\n\r\n");
        stream.write_all(request.as_bytes()).await?;
        let mut answer = String::new();
        match stream.read_to_string(&mut answer).await {
            // A peer that closes without a word of TLS has said all that it had to.
            Err(error) if error.kind() != io::ErrorKind::UnexpectedEof => Err(error),
            _ => Ok(answer),
        }
    };
    timeout(LIMIT, exchange).await.expect("an answer in time")
}
