//! A broker of the test's own, with TLS, whose user gets another password under way.

use settings::Secret;
use testkit::{Authority, Broker, Listener, eventually, produce_as};
use tls::ClientFiles;

use crate::notes::{Member, Note, Notes, database, until_offsets};

#[tokio::test(flavor = "multi_thread")]
async fn a_rotated_password_is_used_without_a_restart() {
    let authority = Authority::new("ours");
    let (broker, database) = tokio::join!(Broker::start(&authority), database());
    let plain = broker.args(Listener::Plain, ClientFiles::default());
    // The broker makes the topic.
    produce_as(&plain, "notes").await.unwrap();
    let file = authority.dir().join("password");
    std::fs::write(&file, "one\n").unwrap();
    let trusting = ClientFiles {
        ca: Some(authority.ca()),
        identity: None,
    };
    let mut kafka = broker.args(Listener::Login, trusting);
    kafka.sasl_password = Some(Secret::in_file(&file));
    let member = Member::start_on(kafka, &database, "notes", "rotation", Notes::<Note>::new());
    until_offsets(&database, &[0]).await;

    // The connection that is open is not asked again.
    tokio::task::block_in_place(|| broker.set_password("two"));
    produce_as(&plain, "notes").await.unwrap();
    until_offsets(&database, &[0, 1]).await;
    assert_eq!(member.assignments(), 1);

    std::fs::write(&file, "two\n").unwrap();
    eventually("it has joined again, with the new password", async || {
        (member.assignments() == 2).then_some(())
    })
    .await;
    produce_as(&plain, "notes").await.unwrap();
    until_offsets(&database, &[0, 1, 2]).await;
    member.stop().await;
}
