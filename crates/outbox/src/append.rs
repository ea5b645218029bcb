//! Inserting facts.

use database::prepared;
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

/// Appends `facts` in one statement, in their order, within the caller's transaction.
///
/// Call it after the versions that the facts state have been written: the row locks taken then
/// are what makes the ids of one aggregate rise in commit order.
///
/// The connection is shared, so that other statements of the transaction may be sent with this one.
pub async fn append_in_txn(
    mut conn: &AsyncPgConnection,
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
    // As columns, so that it is one statement for any number of facts.
    let event_id: Vec<Uuid> = facts.iter().map(|_| Uuid::now_v7()).collect();
    let topic: Vec<&str> = facts.iter().map(|fact| fact.topic).collect();
    let kind: Vec<&str> = facts.iter().map(|fact| fact.kind).collect();
    // Schema versions are small numbers of our own making.
    let schema_version: Vec<i16> = facts
        .iter()
        .map(|fact| i16::try_from(fact.schema_version).unwrap_or(i16::MAX))
        .collect();
    let aggregate_type: Vec<&str> = facts.iter().map(|fact| fact.aggregate_type).collect();
    let aggregate_id: Vec<Uuid> = facts.iter().map(|fact| fact.aggregate_id).collect();
    let aggregate_version: Vec<i64> = facts.iter().map(|fact| fact.aggregate_version).collect();
    let payload: Vec<&[u8]> = facts.iter().map(|fact| fact.payload.as_slice()).collect();
    let insert = sql_query(INSERT)
        .bind::<Text, _>(by.actor)
        .bind::<Nullable<Text>, _>(by.traceparent)
        .bind::<Array<SqlUuid>, _>(event_id)
        .bind::<Array<Text>, _>(topic)
        .bind::<Array<Text>, _>(kind)
        .bind::<Array<SmallInt>, _>(schema_version)
        .bind::<Array<Text>, _>(aggregate_type)
        .bind::<Array<SqlUuid>, _>(aggregate_id)
        .bind::<Array<BigInt>, _>(aggregate_version)
        .bind::<Array<Binary>, _>(payload);
    prepared(insert).execute(&mut conn).await?;
    Ok(())
}

/// Defaults fill xid, id and occurred_at; the ordinality makes ids rise in the order of the facts.
const INSERT: &str = "\
INSERT INTO outbox (event_id, topic, key, type, schema_version, aggregate_type, aggregate_id, aggregate_version,
                    payload, actor, traceparent)
SELECT event_id, topic, convert_to(aggregate_id::text, 'UTF8'), type, schema_version, aggregate_type, aggregate_id,
       aggregate_version, payload, $1, $2
FROM unnest($3, $4, $5, $6, $7, $8, $9, $10) WITH ORDINALITY
    AS fact (event_id, topic, type, schema_version, aggregate_type, aggregate_id, aggregate_version, payload, position)
ORDER BY position";
