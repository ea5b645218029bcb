//! Inserting facts.

use diesel::QueryResult;
use diesel::pg::Pg;
use diesel::query_builder::{AstPass, QueryFragment, QueryId};
use diesel::result::DatabaseErrorKind;
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
    Insert::new(*by, facts).execute(&mut conn).await?;
    Ok(())
}

/// One INSERT for any number of facts, as columns. Sessions keep it prepared; what `sql_query` makes they would parse and plan anew for
/// each transaction.
struct Insert<'a> {
    by: Attribution<'a>,
    event_id: Vec<Uuid>,
    topic: Vec<&'a str>,
    kind: Vec<&'a str>,
    schema_version: Vec<i16>,
    aggregate_type: Vec<&'a str>,
    aggregate_id: Vec<Uuid>,
    aggregate_version: Vec<i64>,
    payload: Vec<&'a [u8]>,
}

impl<'a> Insert<'a> {
    fn new(by: Attribution<'a>, facts: &'a [Fact]) -> Insert<'a> {
        Insert {
            by,
            event_id: facts.iter().map(|_| Uuid::now_v7()).collect(),
            topic: facts.iter().map(|fact| fact.topic).collect(),
            kind: facts.iter().map(|fact| fact.kind).collect(),
            // Schema versions are small numbers of our own making.
            schema_version: facts
                .iter()
                .map(|fact| i16::try_from(fact.schema_version).unwrap_or(i16::MAX))
                .collect(),
            aggregate_type: facts.iter().map(|fact| fact.aggregate_type).collect(),
            aggregate_id: facts.iter().map(|fact| fact.aggregate_id).collect(),
            aggregate_version: facts.iter().map(|fact| fact.aggregate_version).collect(),
            payload: facts.iter().map(|fact| fact.payload.as_slice()).collect(),
        }
    }
}

impl QueryFragment<Pg> for Insert<'_> {
    // Defaults fill xid, id and occurred_at; the ordinality makes ids rise in the order of the facts.
    fn walk_ast<'b>(&'b self, mut out: AstPass<'_, 'b, Pg>) -> QueryResult<()> {
        out.push_sql(
            "INSERT INTO outbox (event_id, topic, key, type, schema_version, aggregate_type, aggregate_id, \
             aggregate_version, payload, actor, traceparent) \
             SELECT event_id, topic, convert_to(aggregate_id::text, 'UTF8'), type, schema_version, aggregate_type, \
             aggregate_id, aggregate_version, payload, ",
        );
        out.push_bind_param::<Text, _>(self.by.actor)?;
        out.push_sql(", ");
        out.push_bind_param::<Nullable<Text>, _>(&self.by.traceparent)?;
        out.push_sql(" FROM unnest(");
        out.push_bind_param::<Array<SqlUuid>, _>(&self.event_id)?;
        out.push_sql(", ");
        out.push_bind_param::<Array<Text>, _>(&self.topic)?;
        out.push_sql(", ");
        out.push_bind_param::<Array<Text>, _>(&self.kind)?;
        out.push_sql(", ");
        out.push_bind_param::<Array<SmallInt>, _>(&self.schema_version)?;
        out.push_sql(", ");
        out.push_bind_param::<Array<Text>, _>(&self.aggregate_type)?;
        out.push_sql(", ");
        out.push_bind_param::<Array<SqlUuid>, _>(&self.aggregate_id)?;
        out.push_sql(", ");
        out.push_bind_param::<Array<BigInt>, _>(&self.aggregate_version)?;
        out.push_sql(", ");
        out.push_bind_param::<Array<Binary>, _>(&self.payload)?;
        out.push_sql(
            ") WITH ORDINALITY AS fact (event_id, topic, type, schema_version, aggregate_type, aggregate_id, \
             aggregate_version, payload, position) ORDER BY position",
        );
        Ok(())
    }
}

/// By its text, which is always the same.
impl QueryId for Insert<'_> {
    type QueryId = Insert<'static>;
    const HAS_STATIC_QUERY_ID: bool = true;
}
