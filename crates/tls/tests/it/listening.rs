//! What a listener shows, whom it accepts, and how both change.

use std::io::ErrorKind;
use std::sync::Arc;
use std::time::Duration;

use testkit::{Authority, Identity, eventually};
use tls::{HANDSHAKE_LIMIT, Server, Verify};
use tokio::io::duplex;

use crate::{check, client_files, meet, server_files};

#[tokio::test]
async fn a_client_without_a_certificate_of_the_right_ca_is_refused() {
    let (ours, other) = (Authority::new("ours"), Authority::new("other"));
    let identity = ours.server(&["shop.test"]);
    let server = Server::load(server_files(&identity, Some(ours.ca()))).unwrap();
    let with = |client: Option<&Identity>| client_files(ours.ca(), client);

    check(
        meet(&server, with(Some(&ours.client("gateway"))), Verify::Full).await,
        Ok(()),
    );
    check(
        meet(&server, with(None), Verify::Full).await,
        Err("peer sent no certificates"),
    );
    check(
        meet(&server, with(Some(&other.client("gateway"))), Verify::Full).await,
        Err("UnknownIssuer"),
    );
    // A server's certificate is none of a client.
    check(
        meet(&server, with(Some(&ours.server(&["shop.test"]))), Verify::Full).await,
        Err("certificate does not allow extended key usage"),
    );
}

#[tokio::test]
async fn changed_files_are_taken_over_and_bad_ones_are_not() {
    let (old, new) = (Authority::new("old"), Authority::new("new"));
    let identity = old.server(&["shop.test"]);
    let client_ca = old.dir().join("clients.pem");
    std::fs::copy(old.ca(), &client_ca).unwrap();
    let server = Server::load(server_files(&identity, Some(client_ca.clone()))).unwrap();
    let following = tokio::spawn(server.clone().follow());
    let (old_client, new_client) = (old.client("gateway"), new.client("gateway"));
    let old_meets = async || meet(&server, client_files(old.ca(), Some(&old_client)), Verify::Full).await;
    check(old_meets().await, Ok(()));

    // A certificate whose key is another's: what a swap of two files looks like in between.
    let other_key = std::fs::read(old.server(&["shop.test"]).key).unwrap();
    let right_key = std::fs::read(&identity.key).unwrap();
    std::fs::write(&identity.key, other_key).unwrap();
    tokio::time::sleep(Duration::from_millis(2500)).await;
    check(old_meets().await, Ok(()));
    std::fs::write(&identity.key, right_key).unwrap();

    identity.become_copy_of(&new.server(&["shop.test"]));
    std::fs::copy(new.ca(), &client_ca).unwrap();
    eventually(
        "the new certificate is shown and the new client is accepted",
        async || {
            let files = client_files(new.ca(), Some(&new_client));
            meet(&server, files, Verify::Full).await.ok()
        },
    )
    .await;
    let files = client_files(new.ca(), Some(&old_client));
    check(meet(&server, files, Verify::Full).await, Err("UnknownIssuer"));
    following.abort();
}

#[test]
fn files_that_cannot_be_used_are_named() {
    let ours = Authority::new("ours");
    let identity = ours.server(&["shop.test"]);
    let refused = |files| Server::load(files).unwrap_err().to_string();

    let mut files = server_files(&identity, None);
    files.key = ours.server(&["shop.test"]).key;
    assert!(refused(files).contains("does not go with its key"));

    let mut files = server_files(&identity, None);
    files.key = identity.certificate.clone();
    assert!(refused(files).contains("holds no private key"));

    let mut files = server_files(&identity, None);
    files.certificate = ours.dir().join("missing.pem");
    let error = refused(files);
    assert!(error.contains("missing.pem: cannot be read"), "{error}");

    let error = refused(server_files(&identity, Some(identity.key.clone())));
    assert!(error.contains("holds no certificate"), "{error}");
}

#[tokio::test(start_paused = true)]
async fn a_handshake_that_never_ends_is_ended() {
    let ours = Authority::new("ours");
    let server = Server::load(server_files(&ours.server(&["shop.test"]), None)).unwrap();
    let (_silent, theirs) = duplex(1024);
    let started = tokio::time::Instant::now();
    let error = tls::accept(Arc::new(server.config()), theirs).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::TimedOut);
    assert_eq!(started.elapsed().as_secs(), HANDSHAKE_LIMIT.as_secs());
}
