//! `position`: where each partition's effects end.

use std::collections::HashMap;

use database::prepared;
use diesel::prelude::*;
use diesel_async::{AsyncPgConnection, RunQueryDsl};

use crate::schema::position;

/// The next offset of every partition of `topics` that has a row.
pub(crate) async fn read(
    conn: &mut AsyncPgConnection,
    topics: &[String],
) -> QueryResult<HashMap<(String, i32), i64>> {
    let rows: Vec<(String, i32, i64)> = position::table
        .filter(position::topic.eq_any(topics))
        .select((position::topic, position::partition, position::next_offset))
        .load(conn)
        .await?;
    Ok(rows
        .into_iter()
        .map(|(topic, partition, next)| ((topic, partition), next))
        .collect())
}

/// Locks the partition's row until the transaction ends and returns its next offset; a new partition starts at 0.
pub(crate) async fn lock_in_txn(
    conn: &mut AsyncPgConnection,
    topic: &str,
    partition: i32,
) -> QueryResult<i64> {
    let row = position::table
        .find((topic, partition))
        .select(position::next_offset)
        .for_update();
    if let Some(next) = row.first(conn).await.optional()? {
        return Ok(next);
    }
    diesel::insert_into(position::table)
        .values((
            position::topic.eq(topic),
            position::partition.eq(partition),
            position::next_offset.eq(0),
        ))
        .on_conflict_do_nothing()
        .execute(conn)
        .await?;
    row.first(conn).await
}

/// Moves the locked row on.
pub(crate) async fn advance_in_txn(
    conn: &mut AsyncPgConnection,
    topic: &str,
    partition: i32,
    next_offset: i64,
) -> QueryResult<()> {
    let update =
        diesel::update(position::table.find((topic, partition))).set(position::next_offset.eq(next_offset));
    prepared(update).execute(conn).await?;
    Ok(())
}
