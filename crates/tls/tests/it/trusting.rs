//! Whom a client accepts.

use testkit::Authority;
use tls::{Server, Verify};

use crate::{check, client_files, meet, server_files};

#[tokio::test]
async fn a_server_is_accepted_by_its_ca_its_name_and_its_time() {
    let (ours, other) = (Authority::new("ours"), Authority::new("other"));
    let good = Server::load(server_files(&ours.server(&["shop.test"]), None)).unwrap();
    let misnamed = Server::load(server_files(&ours.server(&["mail.test"]), None)).unwrap();
    let expired = Server::load(server_files(&ours.expired_server(&["shop.test"]), None)).unwrap();
    let trusting = |authority: &Authority| client_files(authority.ca(), None);

    check(meet(&good, trusting(&ours), Verify::Full).await, Ok(()));
    check(
        meet(&good, trusting(&other), Verify::Full).await,
        Err("UnknownIssuer"),
    );
    check(
        meet(&misnamed, trusting(&ours), Verify::Full).await,
        Err("certificate not valid for name \"shop.test\""),
    );
    check(
        meet(&expired, trusting(&ours), Verify::Full).await,
        Err("certificate expired"),
    );

    check(meet(&misnamed, trusting(&ours), Verify::Chain).await, Ok(()));
    check(
        meet(&good, trusting(&other), Verify::Chain).await,
        Err("UnknownIssuer"),
    );
    check(
        meet(&expired, trusting(&ours), Verify::Chain).await,
        Err("certificate expired"),
    );

    for server in [&misnamed, &expired] {
        check(meet(server, trusting(&other), Verify::Nothing).await, Ok(()));
    }
}

#[tokio::test]
async fn without_a_ca_file_the_operating_system_does_not_trust_a_ca_of_our_own() {
    let ours = Authority::new("ours");
    let server = Server::load(server_files(&ours.server(&["shop.test"]), None)).unwrap();
    let refused = meet(&server, tls::ClientFiles::default(), Verify::Full).await;
    // Where the system has no store at all, the error says what to do.
    let said = refused.unwrap_err();
    assert!(
        said.contains("UnknownIssuer") || said.contains("name a CA file"),
        "{said}"
    );
}

#[tokio::test]
async fn a_client_reads_its_files_anew_for_each_connection() {
    let (old, new) = (Authority::new("old"), Authority::new("new"));
    let identity = old.server(&["shop.test"]);
    let trusted = old.dir().join("trusted.pem");
    std::fs::copy(old.ca(), &trusted).unwrap();
    let client = tls::Client::new(client_files(trusted.clone(), None));
    let before = client.config(Verify::Full).unwrap();
    let same = client.config(Verify::Full).unwrap();
    assert!(
        std::sync::Arc::ptr_eq(&before, &same),
        "sessions could not resume"
    );

    std::fs::copy(new.ca(), &trusted).unwrap();
    assert!(!std::sync::Arc::ptr_eq(
        &before,
        &client.config(Verify::Full).unwrap()
    ));
    let server = Server::load(server_files(&identity, None)).unwrap();
    check(
        meet(&server, client_files(trusted.clone(), None), Verify::Full).await,
        Err("UnknownIssuer"),
    );
    std::fs::write(&trusted, "no certificate").unwrap();
    let error = client.config(Verify::Full).unwrap_err().to_string();
    assert!(error.contains("trusted.pem: holds no certificate"), "{error}");
}
