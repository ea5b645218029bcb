use diesel_async::{AsyncPgConnection, RunQueryDsl as _};
use outbox::{AppendError, append_in_txn};
use uuid::Uuid;

use crate::fixture::{BY, Fixture, number};

#[tokio::test]
async fn the_facts_of_a_transaction_get_rising_ids_in_their_order() {
    let fixture = Fixture::new().await;
    let mut conn = fixture.connect().await;
    let facts: Vec<_> = (0..50).map(|_| fixture.fact(Uuid::now_v7(), 1)).collect();
    append_in_txn(&conn, &BY, &facts).await.unwrap();
    for (position, fact) in (1..).zip(&facts) {
        let sql = format!(
            "SELECT id AS number FROM outbox WHERE aggregate_id = '{}'",
            fact.aggregate_id
        );
        assert_eq!(number(&mut conn, &sql).await, position);
    }
}

#[tokio::test]
async fn a_payload_that_kafka_would_refuse_is_refused_before_it_is_a_row() {
    let fixture = Fixture::new().await;
    let conn = fixture.connect().await;
    let mut fact = fixture.fact(Uuid::now_v7(), 1);
    fact.payload = vec![b' '; outbox::MAX_PAYLOAD + 1];
    let refused = append_in_txn(&conn, &BY, &[fact]).await;
    assert!(
        matches!(refused, Err(AppendError::TooLarge { bytes: 262_145, .. })),
        "{refused:?}"
    );
}

#[tokio::test]
async fn the_table_refuses_it_too() {
    let fixture = Fixture::new().await;
    let mut conn = fixture.connect().await;
    let insert = async |conn: &mut AsyncPgConnection, bytes: usize| {
        let sql = format!(
            "INSERT INTO outbox (event_id, topic, key, type, schema_version, aggregate_type, aggregate_id, aggregate_version,
                                 actor, payload)
             VALUES (gen_random_uuid(), 't', 'k', 'test.bumped', 1, 'test', gen_random_uuid(), 1, 'test',
                     convert_to(repeat(' ', {bytes}), 'UTF8'))"
        );
        diesel::sql_query(sql).execute(conn).await
    };
    insert(&mut conn, outbox::MAX_PAYLOAD).await.unwrap();
    let refused = insert(&mut conn, outbox::MAX_PAYLOAD + 1).await.unwrap_err();
    assert!(refused.to_string().contains("outbox_payload_check"), "{refused}");
}

#[tokio::test]
async fn a_version_has_one_row() {
    let fixture = Fixture::new().await;
    let conn = fixture.connect().await;
    let fact = fixture.fact(Uuid::now_v7(), 1);
    append_in_txn(&conn, &BY, std::slice::from_ref(&fact))
        .await
        .unwrap();
    let refused = append_in_txn(&conn, &BY, &[fact]).await;
    assert!(matches!(refused, Err(AppendError::Repeated(_))), "{refused:?}");
}

#[tokio::test]
async fn a_session_prepares_the_insert_once_whatever_number_of_facts_it_has() {
    let fixture = Fixture::new().await;
    let mut conn = fixture.connect().await;
    for facts in 1..4 {
        let facts: Vec<_> = (0..facts).map(|_| fixture.fact(Uuid::now_v7(), 1)).collect();
        append_in_txn(&conn, &BY, &facts).await.unwrap();
    }
    let prepared =
        "SELECT count(*) AS number FROM pg_prepared_statements WHERE statement LIKE 'INSERT INTO outbox %'";
    assert_eq!(number(&mut conn, prepared).await, 1);
}
