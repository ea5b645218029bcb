//! How far the relay has come, and whose it is.

use diesel::prelude::*;
use diesel::sql_types::{BigInt, Bool, Nullable, Text};
use diesel::{QueryableByName, sql_query};
use diesel_async::{AsyncPgConnection, RunQueryDsl};

/// Between the snapshots `s1` and `s2`, everything up to id `last` has been delivered. `h` and
/// `h2` are the id sequence's values from just before each snapshot was taken.
#[derive(Debug, Clone, PartialEq, Eq, QueryableByName)]
pub(crate) struct Cursor {
    #[diesel(sql_type = BigInt)]
    pub(crate) epoch: i64,
    #[diesel(sql_type = Text)]
    pub(crate) s1: String,
    #[diesel(sql_type = BigInt)]
    pub(crate) h: i64,
    #[diesel(sql_type = Nullable<Text>)]
    pub(crate) s2: Option<String>,
    #[diesel(sql_type = BigInt)]
    pub(crate) h2: i64,
    #[diesel(sql_type = BigInt)]
    pub(crate) last: i64,
}

#[derive(QueryableByName)]
struct Locked {
    #[diesel(sql_type = Bool)]
    locked: bool,
}

const SINK: &str = "kafka";

/// Tries to become the owner on this session; the lock lasts as long as the session does. Raises
/// the epoch, so that a predecessor whose session is gone but who has not noticed saves nothing.
pub(crate) async fn try_acquire(conn: &mut AsyncPgConnection) -> QueryResult<Option<Cursor>> {
    let lock: Locked = sql_query("SELECT pg_try_advisory_lock(hashtext('outbox'), hashtext($1)) AS locked")
        .bind::<Text, _>(SINK)
        .get_result(conn)
        .await?;
    if !lock.locked {
        return Ok(None);
    }
    let cursor = sql_query(
        "UPDATE outbox_cursor SET epoch = epoch + 1 WHERE sink = $1
         RETURNING epoch, s1::text, h, s2::text, h2, last",
    );
    cursor.bind::<Text, _>(SINK).get_result(conn).await.map(Some)
}

/// Saves the whole cursor; `false` when another owner's epoch has begun.
pub(crate) async fn save(conn: &mut AsyncPgConnection, cursor: &Cursor) -> QueryResult<bool> {
    let saved = sql_query(
        "UPDATE outbox_cursor
         SET s1 = $3::pg_snapshot, h = $4, s2 = $5::pg_snapshot, h2 = $6, last = $7
         WHERE sink = $1 AND epoch = $2",
    )
    .bind::<Text, _>(SINK)
    .bind::<BigInt, _>(cursor.epoch)
    .bind::<Text, _>(&cursor.s1)
    .bind::<BigInt, _>(cursor.h)
    .bind::<Nullable<Text>, _>(cursor.s2.as_deref())
    .bind::<BigInt, _>(cursor.h2)
    .bind::<BigInt, _>(cursor.last)
    .execute(conn)
    .await?;
    Ok(saved == 1)
}
