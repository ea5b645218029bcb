//! What is stored of a record.

use diesel::QueryableByName;
use diesel::sql_types::{Array, BigInt, Bytea, Nullable, Text, Timestamptz, Uuid as SqlUuid};
use diesel_async::{RunQueryDsl as _, SimpleAsyncConnection as _};
use serde_json::json;
use testkit::Database;
use time::OffsetDateTime;
use uuid::Uuid;

use crate::records::{Process, TRACE_ID, database, owner, publish, until_count};

#[derive(Debug, QueryableByName)]
struct Row {
    #[diesel(sql_type = BigInt)]
    offset: i64,
    #[diesel(sql_type = Nullable<Bytea>)]
    key: Option<Vec<u8>>,
    #[diesel(sql_type = Array<Text>)]
    header_names: Vec<String>,
    #[diesel(sql_type = Array<Nullable<Bytea>>)]
    header_values: Vec<Option<Vec<u8>>>,
    #[diesel(sql_type = Nullable<Bytea>)]
    payload: Option<Vec<u8>>,
    #[diesel(sql_type = Nullable<Timestamptz>)]
    produced_at: Option<OffsetDateTime>,
    #[diesel(sql_type = Nullable<SqlUuid>)]
    event_id: Option<Uuid>,
    #[diesel(sql_type = Nullable<Text>)]
    kind: Option<String>,
    #[diesel(sql_type = Nullable<Text>)]
    aggregate_type: Option<String>,
    #[diesel(sql_type = Nullable<SqlUuid>)]
    aggregate_id: Option<Uuid>,
    #[diesel(sql_type = Nullable<BigInt>)]
    aggregate_version: Option<i64>,
    #[diesel(sql_type = Nullable<Text>)]
    actor: Option<String>,
    #[diesel(sql_type = Nullable<Timestamptz>)]
    occurred_at: Option<OffsetDateTime>,
    #[diesel(sql_type = Nullable<Text>)]
    trace_id: Option<String>,
    #[diesel(sql_type = Nullable<Text>)]
    problem: Option<String>,
}

async fn rows(database: &Database) -> Vec<Row> {
    diesel::sql_query("SELECT * FROM audit_event ORDER BY \"offset\"")
        .load(&mut database.connect().await)
        .await
        .unwrap()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_record_is_stored_whole_with_what_its_headers_say() {
    let (database, topic) = (database().await, testkit::topic("whole", 1).await);
    let process = Process::start(&database, &topic);
    let product = Uuid::from_u128(5);
    publish(&topic, product, 1, &json!({"name": "lamp"})).await;
    until_count(&database, "audit_event", 1).await;
    process.stop().await;

    let row = rows(&database).await.remove(0);
    assert_eq!(
        (row.offset, row.key.unwrap()),
        (0, product.to_string().into_bytes())
    );
    assert_eq!(row.payload.unwrap(), br#"{"name":"lamp"}"#);
    let ce_type = row
        .header_names
        .iter()
        .position(|name| name == "ce_type")
        .unwrap();
    assert_eq!(
        row.header_values[ce_type].as_deref(),
        Some(b"plumbline.product.created".as_slice())
    );
    assert_eq!(row.header_names.len(), row.header_values.len());
    assert!(row.produced_at.is_some());
    assert_eq!(row.event_id, Some(Uuid::from_u128(1)));
    assert_eq!(row.kind.as_deref(), Some("plumbline.product.created"));
    assert_eq!(row.aggregate_type.as_deref(), Some("product"));
    assert_eq!(
        (row.aggregate_id, row.aggregate_version),
        (Some(product), Some(1))
    );
    assert_eq!(row.actor.as_deref(), Some("main:ada"));
    assert_eq!(row.occurred_at, Some(OffsetDateTime::UNIX_EPOCH));
    assert_eq!(row.trace_id.as_deref(), Some(TRACE_ID));
    assert_eq!(row.problem, None);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_record_that_nobody_can_read_is_stored_all_the_same_and_nothing_is_parked() {
    let (database, topic) = (database().await, testkit::topic("unreadable", 1).await);
    let process = Process::start(&database, &topic);
    testkit::produce(
        &topic,
        b"\xff\0",
        &[("ce_id", b"\0"), ("ce_id", b"twice")],
        b"\xff\xfe",
        Some(0),
    )
    .await;
    // A newer release's event: its payload is not looked at, so nothing has to wait.
    publish(&topic, Uuid::from_u128(5), 1, &json!({"from": "the future"})).await;
    until_count(&database, "audit_event", 2).await;
    process.stop().await;

    let row = rows(&database).await.remove(0);
    assert_eq!(row.key.as_deref(), Some(b"\xff\0".as_slice()));
    assert_eq!(row.payload.as_deref(), Some(b"\xff\xfe".as_slice()));
    assert_eq!(row.header_names, ["ce_id", "ce_id"]);
    assert_eq!(row.header_values, [Some(b"\0".to_vec()), Some(b"twice".to_vec())]);
    assert_eq!((row.event_id, row.aggregate_version), (None, None));
    assert!(row.problem.unwrap().contains("ce_specversion"));
    assert_eq!(crate::records::count(&database, "dead_letter").await, 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_record_is_one_row_also_after_the_position_was_set_back() {
    let (database, topic) = (database().await, testkit::topic("again", 1).await);
    let product = Uuid::from_u128(5);
    for version in 1..=3 {
        publish(&topic, product, version, &json!({})).await;
    }
    let process = Process::start(&database, &topic);
    until_count(&database, "audit_event", 3).await;
    process.stop().await;
    owner(&database)
        .await
        .batch_execute("UPDATE position SET next_offset = 0")
        .await
        .unwrap();

    let process = Process::start(&database, &topic);
    publish(&topic, product, 4, &json!({})).await;
    until_count(&database, "position WHERE next_offset = 4", 1).await;
    process.stop().await;
    assert_eq!(rows(&database).await.len(), 4);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_record_that_cannot_be_stored_stops_its_partition_until_it_can() {
    let (database, topic) = (database().await, testkit::topic("stop", 1).await);
    let mut owner = owner(&database).await;
    // A constraint's violation is poison to other consumers; here nothing is. The missing right to park would stop it as well.
    owner
        .batch_execute(
            "ALTER TABLE audit_event ADD CONSTRAINT trial CHECK (aggregate_version <> 2);
             GRANT INSERT ON dead_letter TO audit_runtime",
        )
        .await
        .unwrap();
    let product = Uuid::from_u128(5);
    for version in 1..=3 {
        publish(&topic, product, version, &json!({})).await;
    }
    let process = Process::start(&database, &topic);
    process.until_stuck().await;
    assert_eq!(crate::records::count(&database, "audit_event").await, 1);
    assert_eq!(crate::records::count(&database, "dead_letter").await, 0);

    owner
        .batch_execute("ALTER TABLE audit_event DROP CONSTRAINT trial")
        .await
        .unwrap();
    until_count(&database, "audit_event", 3).await;
    process.stop().await;
}
