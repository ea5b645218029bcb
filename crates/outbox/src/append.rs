//! Inserting facts.

use diesel::result::DatabaseErrorKind;
use diesel::sql_query;
use diesel::sql_types::{Array, BigInt, Binary, Nullable, SmallInt, Text, Uuid as SqlUuid};
use diesel_async::{AsyncPgConnection, RunQueryDsl};
use envelope::Fact;
use uuid::Uuid;

/// The largest payload, in bytes; the table's CHECK says the same.
pub const MAX_PAYLOAD: usize = 262_144;

/// Who caused a transaction's facts, and in which trace.
#[derive(Debug, Clone, Copy)]
pub struct Attribution<'a> {
    /// The principal, or `system:<job>`.
    pub actor: &'a str,
    /// W3C `traceparent` of the request.
    pub traceparent: Option<&'a str>,
}

/// Why facts were not appended; the transaction must be rolled back.
#[derive(Debug, thiserror::Error)]
pub enum AppendError {
    #[error("the payload of {kind} is {bytes} bytes, more than {MAX_PAYLOAD}")]
    TooLarge { kind: &'static str, bytes: usize },
    /// Two transactions stated the same version, or one stated it twice: a version was written without a row lock or an
    /// optimistic check.
    #[error("the outbox has a row for one of these versions already: {0}")]
    Repeated(String),
    #[error(transparent)]
    Database(diesel::result::Error),
}

impl From<diesel::result::Error> for AppendError {
    fn from(error: diesel::result::Error) -> AppendError {
        match error {
            diesel::result::Error::DatabaseError(DatabaseErrorKind::UniqueViolation, told)
                if told.constraint_name() == Some("outbox_version_unique") =>
            {
                AppendError::Repeated(told.details().unwrap_or(told.message()).to_owned())
            }
            error => AppendError::Database(error),
        }
    }
}

// Defaults fill xid, id and occurred_at; the ordinality makes ids rise in the order of `facts`.
const INSERT: &str = "\
INSERT INTO outbox (event_id, topic, key, type, schema_version, aggregate_type, aggregate_id,
                    aggregate_version, actor, traceparent, payload)
SELECT event_id, topic, convert_to(aggregate_id::text, 'UTF8'), type, schema_version, aggregate_type,
       aggregate_id, aggregate_version, $8, $9, payload
FROM unnest($1, $2, $3, $4, $5, $6, $7, $10) WITH ORDINALITY
     AS fact (event_id, topic, type, schema_version, aggregate_type, aggregate_id, aggregate_version,
              payload, position)
ORDER BY position";

/// Appends `facts` in one statement, in their order, within the caller's transaction.
///
/// Call it after the versions that the facts state have been written: the row locks taken then
/// are what makes the ids of one aggregate rise in commit order.
pub async fn append_in_txn(
    conn: &mut AsyncPgConnection,
    by: &Attribution<'_>,
    facts: &[Fact],
) -> Result<(), AppendError> {
    if facts.is_empty() {
        return Ok(());
    }
    if let Some(fact) = facts.iter().find(|fact| fact.payload.len() > MAX_PAYLOAD) {
        return Err(AppendError::TooLarge {
            kind: fact.kind,
            bytes: fact.payload.len(),
        });
    }
    let column = |text: fn(&Fact) -> &str| facts.iter().map(text).collect::<Vec<_>>();
    // Schema versions are small numbers of our own making.
    let schema_versions: Vec<i16> = facts
        .iter()
        .map(|fact| i16::try_from(fact.schema_version).unwrap_or(i16::MAX))
        .collect();
    sql_query(INSERT)
        .bind::<Array<SqlUuid>, _>(facts.iter().map(|_| Uuid::now_v7()).collect::<Vec<_>>())
        .bind::<Array<Text>, _>(column(|fact| fact.topic))
        .bind::<Array<Text>, _>(column(|fact| fact.kind))
        .bind::<Array<SmallInt>, _>(schema_versions)
        .bind::<Array<Text>, _>(column(|fact| fact.aggregate_type))
        .bind::<Array<SqlUuid>, _>(facts.iter().map(|fact| fact.aggregate_id).collect::<Vec<_>>())
        .bind::<Array<BigInt>, _>(
            facts
                .iter()
                .map(|fact| fact.aggregate_version)
                .collect::<Vec<_>>(),
        )
        .bind::<Text, _>(by.actor)
        .bind::<Nullable<Text>, _>(by.traceparent)
        .bind::<Array<Binary>, _>(
            facts
                .iter()
                .map(|fact| fact.payload.as_slice())
                .collect::<Vec<_>>(),
        )
        .execute(conn)
        .await?;
    Ok(())
}
