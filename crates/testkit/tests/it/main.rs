//! The test kit tested: against real servers, `cargo stack test -p testkit`.

use diesel_async::SimpleAsyncConnection as _;
use diesel_migrations::EmbeddedMigrations;
use rdkafka::Message as _;
use rdkafka::consumer::{Consumer as _, StreamConsumer};
use rdkafka::message::Headers as _;
use testkit::{Database, eventually, kafka_args, produce, produce_as, topic};

const NOTHING: EmbeddedMigrations = EmbeddedMigrations::new(&[]);

#[tokio::test]
async fn a_database_is_gone_when_its_value_is_dropped() {
    let database = Database::create("audit", NOTHING).await;
    let other = Database::create("audit", NOTHING).await;
    let url = database.runtime_url();
    let _still_connected = database.connect().await;
    drop(database);
    let error = database::dedicated(&url, "test").await.map(drop).unwrap_err();
    assert!(format!("{error:#}").contains("does not exist"), "{error:#}");
    other.connect().await.batch_execute("SELECT 1").await.unwrap();
}

#[test]
fn a_database_can_be_dropped_outside_any_runtime() {
    let runtime = tokio::runtime::Runtime::new().unwrap();
    let database = runtime.block_on(Database::create("email", NOTHING));
    drop(runtime);
    drop(database);
}

#[tokio::test]
async fn one_process_s_role_cannot_connect_to_another_s_database() {
    let database = Database::create("analytics", NOTHING).await;
    let foreign = database
        .runtime_url()
        .replace("analytics_runtime", "email_runtime");
    let error = database::dedicated(&foreign, "test").await.map(drop).unwrap_err();
    assert!(format!("{error:#}").contains("permission denied"), "{error:#}");
}

#[tokio::test]
async fn a_record_is_read_back_as_it_was_produced() {
    let topic = topic("testkit", 3).await;
    produce(
        &topic,
        "key",
        &[("ce_id", b"1"), ("ce_type", b"t")],
        b"payload",
        Some(2),
    )
    .await;

    let consumer: StreamConsumer = kafka_args()
        .client("test")
        .unwrap()
        .set("group.id", &topic)
        .set("auto.offset.reset", "earliest")
        .create()
        .unwrap();
    consumer.subscribe(&[&topic]).unwrap();
    let record = eventually("the record arrives", async || consumer.recv().await.ok()).await;
    assert_eq!(record.partition(), 2);
    assert_eq!(record.key(), Some(b"key".as_slice()));
    assert_eq!(record.payload(), Some(b"payload".as_slice()));
    let headers = record.headers().unwrap();
    let names: Vec<&str> = headers.iter().map(|header| header.key).collect();
    assert_eq!(names, ["ce_id", "ce_type"]);
}

#[tokio::test]
async fn a_refused_record_is_an_error_and_not_a_panic() {
    let args = kafka_args();
    assert!(produce_as(&args, &topic("testkit", 1).await).await.is_ok());
    assert!(produce_as(&args, "no name of a topic").await.is_err());
}

#[tokio::test(start_paused = true)]
#[should_panic(expected = "pigs fly")]
async fn what_never_becomes_true_is_named() {
    eventually("pigs fly", async || None::<()>).await;
}
