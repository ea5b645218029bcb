//! TLS for every connection of the system but Kafka's, whose client brings its own: rustls with aws-lc-rs.
//!
//! - [`Client`]: whom a client trusts and who it says that it is.
//! - [`Server`]: a listener's certificate, and whose clients it accepts; reloaded when the files change.
//!
//! Trust comes from a file of CA certificates, or without one from the operating system's store, because that is where an operator adds
//! the company's own CA and where revoked ones go away with an update of the image; roots compiled into the binary do neither.

mod args;
mod binding;
mod client;
mod files;
mod handshake;
mod server;

use std::sync::Arc;

use rustls::crypto::{CryptoProvider, aws_lc_rs};

pub use args::{ClientArgs, Peer, certificate_file, key_file};
pub use binding::server_end_point;
pub use client::{Client, ClientFiles, Verify};
pub use files::{BadFile, read as read_pem};
pub use handshake::{ClientStream, HANDSHAKE_LIMIT, ServerStream, accept, connect, connect_blocking};
pub use rustls::{ClientConfig, ServerConfig};
pub use server::{Server, ServerFiles};

/// Makes aws-lc-rs the provider of libraries that build their own rustls configuration; more than once is fine.
pub fn install_provider() {
    // An error means that there is one already, and there is but one in the dependency graph.
    let _ = aws_lc_rs::default_provider().install_default();
}

fn provider() -> Arc<CryptoProvider> {
    Arc::new(aws_lc_rs::default_provider())
}
