//! Handshakes over a pipe in memory, with certificates made for the run.

mod listening;
mod trusting;

use std::io;
use std::sync::Arc;

use testkit::Identity;
use tls::{Client, ClientFiles, ClientStream, Server, ServerFiles, ServerStream, Verify};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _, DuplexStream, duplex};

fn server_files(identity: &Identity, client_ca: Option<std::path::PathBuf>) -> ServerFiles {
    ServerFiles {
        certificate: identity.certificate.clone(),
        key: identity.key.clone(),
        client_ca,
    }
}

fn client_files(ca: std::path::PathBuf, identity: Option<&Identity>) -> ClientFiles {
    ClientFiles {
        ca: Some(ca),
        identity: identity.map(|own| (own.certificate.clone(), own.key.clone())),
    }
}

/// One connection to the server named `shop.test`: a byte there and a byte back. What either side says when it fails.
async fn meet(server: &Server, files: ClientFiles, verify: Verify) -> Result<(), String> {
    let config = Client::new(files)
        .config(verify)
        .map_err(|error| error.to_string())?;
    let (ours, theirs) = duplex(64 * 1024);
    let answering = async {
        let mut stream: ServerStream<DuplexStream> = tls::accept(Arc::new(server.config()), theirs).await?;
        let byte = stream.read_u8().await?;
        stream.write_u8(byte).await?;
        stream.shutdown().await
    };
    let asking = async {
        let mut stream: ClientStream<DuplexStream> = tls::connect(config, "shop.test", ours).await?;
        stream.write_u8(7).await?;
        // With TLS 1.3 a client learns only here that its certificate was refused.
        stream.read_u8().await
    };
    let (answered, asked): (io::Result<()>, io::Result<u8>) = tokio::join!(answering, asking);
    match (answered, asked) {
        (Ok(()), Ok(7)) => Ok(()),
        (answered, asked) => Err(format!("server: {}; client: {}", said(answered), said(asked))),
    }
}

fn said<T>(outcome: io::Result<T>) -> String {
    outcome
        .err()
        .map_or_else(|| "fine".to_owned(), |error| error.to_string())
}

fn check(outcome: Result<(), String>, expected: Result<(), &str>) {
    match (outcome, expected) {
        (Ok(()), Ok(())) => {}
        (Err(said), Err(reason)) => assert!(said.contains(reason), "{reason} is not in {said}"),
        (outcome, expected) => panic!("{outcome:?}, not {expected:?}"),
    }
}
