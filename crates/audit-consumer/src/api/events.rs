use actix_web::web::{self, Data, Json};
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD as BASE64;
use chassis::Problem;
use diesel::prelude::*;
use diesel::sql_types::{BigInt, Bytea, Int4, Nullable, Text, Timestamptz, Uuid as SqlUuid};
use diesel_async::{AsyncPgConnection, RunQueryDsl};
use serde::{Deserialize, Serialize};
use serde_json::Value;
use time::OffsetDateTime;
use uuid::Uuid;

use super::reader::Reader;
use super::{Api, UNAVAILABLE, changed, unavailable};
use crate::schema::audit_read;

const DEFAULT_LIMIT: i64 = 50;
const MAX_LIMIT: i64 = 200;

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Query {
    aggregate_type: String,
    aggregate_id: Uuid,
    limit: Option<i64>,
    after: Option<String>,
}

#[derive(Serialize)]
struct Page {
    events: Vec<Event>,
    /// `after` of the next page; null on the last one.
    next: Option<String>,
}

#[derive(Serialize)]
struct Event {
    topic: String,
    partition: i32,
    offset: i64,
    event_id: Uuid,
    r#type: String,
    aggregate_version: i64,
    actor: String,
    #[serde(with = "time::serde::rfc3339")]
    occurred_at: OffsetDateTime,
    #[serde(with = "time::serde::rfc3339")]
    stored_at: OffsetDateTime,
    trace_id: Option<String>,
    /// Names of the fields that differ from the version before; null for the first one.
    changed: Option<Vec<String>>,
    /// Only for `audit:raw`.
    #[serde(skip_serializing_if = "Option::is_none")]
    payload: Option<Value>,
    /// Instead of `payload`, when that is no JSON.
    #[serde(skip_serializing_if = "Option::is_none")]
    payload_base64: Option<String>,
}

/// Position of an event in an aggregate's history: `<version>_<topic>_<partition>_<offset>`.
struct Cursor {
    version: i64,
    topic: String,
    partition: i32,
    offset: i64,
}

/// `GET /v1/events?aggregate_type&aggregate_id&limit&after`: the history of one aggregate, oldest version first.
#[actix_web::get("/v1/events")]
pub(super) async fn get(
    reader: Reader,
    api: Data<Api>,
    query: web::Query<Query>,
) -> Result<Json<Page>, Problem> {
    let (after, limit) = check(&query)?;
    let reading = async {
        let mut conn = api.pool.get().await.map_err(unavailable)?;
        record_read(&mut conn, &reader, &query)
            .await
            .map_err(unavailable)?;
        history(&mut conn, &query, &after, limit + 1)
            .await
            .map_err(unavailable)
    };
    let rows = database::observed("read", |_| UNAVAILABLE, reading).await?;

    let wanted = usize::try_from(limit).unwrap_or(usize::MAX);
    let next = rows.get(wanted).and(rows.get(wanted - 1)).map(Row::cursor);
    let events = rows
        .into_iter()
        .take(wanted)
        .map(|row| row.shown_to(&reader))
        .collect();
    Ok(Json(Page { events, next }))
}

fn check(query: &Query) -> Result<(Cursor, i64), Problem> {
    let invalid =
        |detail: String| Problem::new(400u16, "invalid-query", "the query is not valid").detail(detail);
    let limit = query.limit.unwrap_or(DEFAULT_LIMIT);
    if !(1..=MAX_LIMIT).contains(&limit) {
        return Err(invalid(format!("`limit` is not between 1 and {MAX_LIMIT}")));
    }
    let is_name = |c: char| c.is_ascii_lowercase() || c == '_' || c == '-';
    if query.aggregate_type.is_empty() || !query.aggregate_type.chars().all(is_name) {
        return Err(invalid("`aggregate_type` is not a name such as order".to_owned()));
    }
    let after = match &query.after {
        None => Cursor::before_all(),
        Some(text) => {
            Cursor::parse(text).ok_or_else(|| invalid("`after` is not the `next` of an answer".to_owned()))?
        }
    };
    Ok((after, limit))
}

impl Cursor {
    fn before_all() -> Cursor {
        Cursor {
            version: 0,
            topic: String::new(),
            partition: 0,
            offset: 0,
        }
    }

    fn parse(text: &str) -> Option<Cursor> {
        let (version, rest) = text.split_once('_')?;
        let (rest, offset) = rest.rsplit_once('_')?;
        let (topic, partition) = rest.rsplit_once('_')?;
        let is_topic = |c: char| c.is_ascii_alphanumeric() || matches!(c, '.' | '_' | '-');
        Some(Cursor {
            version: version.parse().ok()?,
            topic: topic.chars().all(is_topic).then(|| topic.to_owned())?,
            partition: partition.parse().ok()?,
            offset: offset.parse().ok()?,
        })
    }
}

/// Before the answer is given: a reading that is not recorded must not happen.
async fn record_read(conn: &mut AsyncPgConnection, reader: &Reader, query: &Query) -> QueryResult<()> {
    let text = format!(
        "events aggregate_type={} aggregate_id={} limit={} after={} raw={}",
        query.aggregate_type,
        query.aggregate_id,
        query.limit.unwrap_or(DEFAULT_LIMIT),
        query.after.as_deref().unwrap_or_default(),
        reader.raw,
    );
    diesel::insert_into(audit_read::table)
        .values((
            audit_read::principal.eq(&reader.principal),
            audit_read::query.eq(text),
        ))
        .execute(conn)
        .await?;
    Ok(())
}

#[derive(QueryableByName)]
struct Row {
    #[diesel(sql_type = Text)]
    topic: String,
    #[diesel(sql_type = Int4)]
    partition: i32,
    #[diesel(sql_type = BigInt)]
    offset: i64,
    #[diesel(sql_type = SqlUuid)]
    event_id: Uuid,
    #[diesel(sql_type = Text)]
    kind: String,
    #[diesel(sql_type = BigInt)]
    aggregate_version: i64,
    #[diesel(sql_type = Text)]
    actor: String,
    #[diesel(sql_type = Timestamptz)]
    occurred_at: OffsetDateTime,
    #[diesel(sql_type = Timestamptz)]
    stored_at: OffsetDateTime,
    #[diesel(sql_type = Nullable<Text>)]
    trace_id: Option<String>,
    #[diesel(sql_type = Nullable<Bytea>)]
    payload: Option<Vec<u8>>,
    /// Of the version before.
    #[diesel(sql_type = Nullable<Bytea>)]
    before: Option<Vec<u8>>,
}

async fn history(
    conn: &mut AsyncPgConnection,
    query: &Query,
    after: &Cursor,
    count: i64,
) -> QueryResult<Vec<Row>> {
    diesel::sql_query(
        r#"SELECT topic, partition, "offset", event_id, kind, aggregate_version, actor, occurred_at, stored_at, trace_id, payload,
                  (SELECT earlier.payload FROM audit_event AS earlier
                   WHERE earlier.aggregate_type = event.aggregate_type AND earlier.aggregate_id = event.aggregate_id
                     AND earlier.aggregate_version < event.aggregate_version
                   ORDER BY earlier.aggregate_version DESC, earlier.topic DESC, earlier.partition DESC, earlier."offset" DESC
                   LIMIT 1) AS before
           FROM audit_event AS event
           WHERE aggregate_type = $1 AND aggregate_id = $2
             AND (aggregate_version, topic, partition, "offset") > ($3, $4, $5, $6)
           ORDER BY aggregate_version, topic, partition, "offset"
           LIMIT $7"#,
    )
    .bind::<Text, _>(&query.aggregate_type)
    .bind::<SqlUuid, _>(query.aggregate_id)
    .bind::<BigInt, _>(after.version)
    .bind::<Text, _>(&after.topic)
    .bind::<Int4, _>(after.partition)
    .bind::<BigInt, _>(after.offset)
    .bind::<BigInt, _>(count)
    .load(conn)
    .await
}

impl Row {
    fn cursor(&self) -> String {
        format!(
            "{}_{}_{}_{}",
            self.aggregate_version, self.topic, self.partition, self.offset
        )
    }

    fn shown_to(self, reader: &Reader) -> Event {
        let changed = changed::fields(self.before.as_deref(), self.payload.as_deref());
        let shown = self.payload.filter(|_| reader.raw);
        let payload = shown
            .as_deref()
            .and_then(|bytes| serde_json::from_slice(bytes).ok());
        Event {
            topic: self.topic,
            partition: self.partition,
            offset: self.offset,
            event_id: self.event_id,
            r#type: self.kind,
            aggregate_version: self.aggregate_version,
            actor: self.actor,
            occurred_at: self.occurred_at,
            stored_at: self.stored_at,
            trace_id: self.trace_id,
            changed,
            payload_base64: shown
                .filter(|_| payload.is_none())
                .map(|bytes| BASE64.encode(bytes)),
            payload,
        }
    }
}
