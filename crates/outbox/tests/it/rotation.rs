//! A broker of the test's own, with TLS, whose user gets another password while the relay runs.

use std::time::Duration;

use outbox::{KafkaSink, KafkaSinkArgs};
use settings::Secret;
use testkit::{Authority, Broker, Listener, judge, topic_as};
use tls::ClientFiles;
use uuid::Uuid;

use crate::fixture::Fixture;
use crate::reader::commit_one;
use crate::sinks::{PARTITIONS, declared, follow_as};

#[tokio::test(flavor = "multi_thread")]
async fn a_rotated_password_is_used_without_a_restart_and_nothing_is_lost() {
    let authority = Authority::new("ours");
    let mut broker = Broker::start(&authority).await;
    let plain = broker.args(Listener::Plain, ClientFiles::default());
    let topic: &'static str = topic_as(&plain, "outbox", PARTITIONS).await.leak();
    let fixture = Fixture::publishing_to(topic).await;
    let seen = follow_as(plain, topic);
    let file = authority.dir().join("password");
    std::fs::write(&file, "one\n").unwrap();
    let trusting = ClientFiles {
        ca: Some(authority.ca()),
        identity: None,
    };
    let mut kafka = broker.args(Listener::Login, trusting);
    kafka.sasl_password = Some(Secret::in_file(&file));
    let tail = fixture.tail(KafkaSink::new(KafkaSinkArgs {
        kafka,
        source: "outbox-test",
        topics: vec![declared(topic)],
        // A page that a producer with the old password was given would hang for longer than the test waits: the password
        // has to be noticed before, not because of a failure.
        deadline: Duration::from_secs(3600),
    }));
    let aggregates: [Uuid; 3] = std::array::from_fn(|_| Uuid::now_v7());
    let all = async |what: &str| {
        for aggregate in aggregates {
            commit_one(&fixture, aggregate).await;
        }
        let committed = fixture.committed().await;
        let verdict = judge(committed.clone(), seen.until_all(&committed).await);
        assert!(verdict.is_clean(), "{what}: {verdict}");
    };
    all("with the first password").await;

    // The connection that is open is not asked again.
    tokio::task::block_in_place(|| broker.set_password("two"));
    all("on the open connection").await;

    std::fs::write(&file, "two\n").unwrap();
    all("after the file").await;
    // Now only the new password opens a connection.
    broker.restart().await;
    all("after the file, on a new connection").await;
    tail.stop().await;
}
