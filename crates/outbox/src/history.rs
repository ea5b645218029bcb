//! Whether the database is the one that the cursors were saved in, and did not go back in time.

use diesel::sql_types::{BigInt, Text};
use diesel::{QueryResult, QueryableByName, sql_query};
use diesel_async::{AsyncPgConnection, RunQueryDsl};

use crate::lease::Seen;

/// The database went back in time, or is another one. Nothing is delivered until an operator says how to go on.
#[derive(Debug, thiserror::Error)]
#[error(
    "{why}; if the database was restored, run `outbox restate --after-restore`, \
     if it is certain that no commit was lost (a synchronous failover), `outbox resume --nothing-lost`"
)]
pub(crate) struct Halted {
    pub(crate) why: String,
    /// The others have to be told, as long as the database's cursor was saved less often than this. `None` where each of them sees
    /// it by itself.
    pub(crate) saves: Option<i64>,
}

impl Halted {
    pub(crate) fn by_saves(saved: i64, who: &str, saves: i64) -> Halted {
        Halted {
            why: format!("the outbox's cursor was saved {saved} times, and {who} {saves}"),
            saves: Some(saves),
        }
    }
}

/// Whether the cursor that was `seen` continues what a process knows that has `remembered` so many saves of it.
pub(crate) fn check(seen: &Seen, remembered: i64) -> Result<(), Halted> {
    if !seen.same_history {
        let why = "the server or its timeline is not the one that the outbox's cursors belong to, or another tail found that the \
                   database went back in time";
        return Err(Halted {
            why: why.to_owned(),
            saves: None,
        });
    }
    if seen.ahead {
        return Err(Halted {
            why: "the outbox's cursor is ahead of everything that the database knows".to_owned(),
            saves: Some(seen.saves + 1),
        });
    }
    if seen.saves < remembered {
        return Err(Halted::by_saves(seen.saves, "this process remembers", remembered));
    }
    Ok(())
}

/// The system identifier and timeline of the server that answers; an error on a replica.
pub(crate) const HISTORY: &str = "\
SELECT system_identifier, ('x' || substr(pg_walfile_name(pg_current_wal_lsn()), 1, 8))::bit(32)::bigint AS timeline
FROM pg_control_system()";

/// No history is told by this timeline: until an operator says how to go on, no tail does.
const NO_TIMELINE: i64 = -1;

/// How often the cursor was saved, as the database has it now.
pub(crate) async fn saves(conn: &mut AsyncPgConnection, sink: &str) -> QueryResult<i64> {
    #[derive(QueryableByName)]
    struct Saves {
        #[diesel(sql_type = BigInt)]
        saves: i64,
    }
    let row: Saves = sql_query("SELECT saves FROM outbox_cursor WHERE sink = $1")
        .bind::<Text, _>(sink)
        .get_result(conn)
        .await?;
    Ok(row.saves)
}

/// Stops the tails of all sinks in all replicas, if this database's cursor of `sink` was saved less than `saves` times. Whoever knows
/// of a database that went back in time tells the others so: another tail's store, or a replica that was started since, knows nothing
/// of it.
pub(crate) async fn halt(conn: &mut AsyncPgConnection, sink: &str, saves: i64) -> QueryResult<()> {
    sql_query(
        "UPDATE outbox_generation SET timeline = $1
         WHERE timeline <> $1 AND EXISTS (SELECT FROM outbox_cursor WHERE sink = $2 AND saves < $3)",
    )
    .bind::<BigInt, _>(NO_TIMELINE)
    .bind::<Text, _>(sink)
    .bind::<BigInt, _>(saves)
    .execute(conn)
    .await?;
    Ok(())
}

/// Holds unless the tails were stopped by [`halt`].
pub(crate) const NOT_HALTED: &str = "EXISTS (SELECT FROM outbox_generation WHERE timeline >= 0)";
