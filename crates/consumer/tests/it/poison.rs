//! What is skipped, what waits, and that nothing else is lost with it.

use std::sync::atomic::Ordering;

use consumer::Health;
use diesel::QueryableByName;
use diesel::sql_types::{Array, BigInt, Bytea, Nullable, Text};
use diesel_async::RunQueryDsl as _;
use testkit::Database;

use crate::notes::{Member, NewerNote, Note, Notes, database, note, offsets, until_offsets};

#[derive(Debug, QueryableByName)]
struct Letter {
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
    #[diesel(sql_type = Text)]
    error: String,
}

async fn dead_letters(database: &Database) -> Vec<Letter> {
    diesel::sql_query("SELECT * FROM dead_letter ORDER BY \"offset\"")
        .load(&mut database.connect().await)
        .await
        .unwrap()
}

#[tokio::test(flavor = "multi_thread")]
async fn poison_is_parked_whole_and_the_rest_goes_on() {
    let (database, topic) = (database().await, testkit::topic("poison", 1).await);
    for text in [
        "fine",
        "malformed",
        "permanent",
        "fine",
        "unique",
        "too long",
        "fine",
    ] {
        note(&topic, 0, text).await;
    }
    let member = Member::start::<Note>(&database, &topic, &topic, Notes::new());
    // What a poisonous record had written before it failed is undone.
    until_offsets(&database, &[0, 3, 6]).await;
    member.stop().await;

    let letters = dead_letters(&database).await;
    let reasons: Vec<(i64, &str)> = letters.iter().map(|l| (l.offset, l.error.as_str())).collect();
    assert_eq!(
        reasons,
        [
            (1, "it says so"),
            (2, "never"),
            (4, "duplicate key value violates unique constraint \"once_pkey\""),
            (5, "value too long for type character varying(3)"),
        ]
    );
    let first = &letters[0];
    assert_eq!(first.key.as_deref(), Some(b"key".as_slice()));
    assert_eq!(first.payload.as_deref(), Some(b"malformed".as_slice()));
    assert_eq!(first.header_names, ["ce_id", "binary"]);
    assert_eq!(
        first.header_values,
        [Some(b"1".to_vec()), Some(b"\xff\0".to_vec())]
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn a_record_of_a_newer_release_waits_for_that_release() {
    let (database, topic) = (database().await, testkit::topic("newer", 1).await);
    for text in ["fine", "newer", "fine"] {
        note(&topic, 0, text).await;
    }
    let old = Member::start::<Note>(&database, &topic, &topic, Notes::new());
    old.until_stuck().await;
    until_offsets(&database, &[0]).await;
    old.stop().await;
    assert!(dead_letters(&database).await.is_empty());

    let new = Member::start::<NewerNote>(&database, &topic, &topic, Notes::new());
    until_offsets(&database, &[0, 1, 2]).await;
    new.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_failing_handler_stops_its_partition_only_and_nothing_is_skipped() {
    let (database, topic) = (database().await, testkit::topic("failing", 2).await);
    let notes = Notes::<Note>::new();
    let failing = notes.failing.clone();
    failing.store(true, Ordering::Relaxed);
    for n in 0..5 {
        note(&topic, 0, &n.to_string()).await;
        note(&topic, 1, &n.to_string()).await;
    }
    let member = Member::start(&database, &topic, &topic, notes);
    member.until_stuck().await;
    testkit::eventually("the other partition goes on", async || {
        (offsets(&database, 1).await == [0, 1, 2, 3, 4]).then_some(())
    })
    .await;
    assert_eq!(offsets(&database, 0).await, [0i64; 0]);

    failing.store(false, Ordering::Relaxed);
    member
        .until("the partition goes on", |health| {
            matches!(health, Health::Recovered { partition: 0, .. })
        })
        .await;
    until_offsets(&database, &[0, 1, 2, 3, 4]).await;
    assert!(dead_letters(&database).await.is_empty());
    member.stop().await;
}
