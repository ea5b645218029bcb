//! From records to rows of `audit_event`.

use consumer::{ApplyError, Handler, OnPoison, Raw, Record};
use diesel::prelude::*;
use diesel_async::{AsyncPgConnection, RunQueryDsl};
use time::OffsetDateTime;
use uuid::Uuid;

use crate::schema::audit_event;

/// Stores every record.
pub struct Log;

impl Handler for Log {
    type Event = Raw;

    const ON_POISON: OnPoison = OnPoison::Pause;

    async fn apply_in_txn(
        &self,
        conn: &mut AsyncPgConnection,
        batch: &[Record<Raw>],
    ) -> Result<(), ApplyError> {
        let rows: Vec<Row> = batch.iter().map(|record| Row::of(&record.raw)).collect();
        diesel::insert_into(audit_event::table)
            .values(rows)
            // The position was set back: the record is here already, and what is here stays.
            .on_conflict((audit_event::topic, audit_event::partition, audit_event::offset))
            .do_nothing()
            .execute(conn)
            .await?;
        Ok(())
    }
}

#[derive(Insertable)]
#[diesel(table_name = audit_event)]
struct Row<'a> {
    topic: &'a str,
    partition: i32,
    offset: i64,
    produced_at: Option<OffsetDateTime>,
    key: Option<&'a [u8]>,
    header_names: Vec<&'a str>,
    header_values: Vec<Option<&'a [u8]>>,
    payload: Option<&'a [u8]>,
    #[diesel(embed)]
    read: Columns<'a>,
}

/// What could be read from the headers.
#[derive(Default, Insertable)]
#[diesel(table_name = audit_event)]
struct Columns<'a> {
    event_id: Option<Uuid>,
    kind: Option<&'a str>,
    aggregate_type: Option<&'a str>,
    aggregate_id: Option<Uuid>,
    aggregate_version: Option<i64>,
    actor: Option<&'a str>,
    occurred_at: Option<OffsetDateTime>,
    trace_id: Option<&'a str>,
    problem: Option<String>,
}

impl<'a> Row<'a> {
    fn of(raw: &'a Raw) -> Row<'a> {
        let (header_names, header_values) = raw
            .headers
            .iter()
            .map(|(name, value)| (name.as_str(), value.as_deref()))
            .unzip();
        Row {
            topic: &raw.topic,
            partition: raw.partition,
            offset: raw.offset,
            produced_at: raw
                .timestamp_ms
                .and_then(|ms| OffsetDateTime::from_unix_timestamp_nanos(i128::from(ms) * 1_000_000).ok()),
            key: raw.key.as_deref(),
            header_names,
            header_values,
            payload: raw.payload.as_deref(),
            read: Columns::of(raw),
        }
    }
}

impl<'a> Columns<'a> {
    fn of(raw: &'a Raw) -> Columns<'a> {
        let unreadable = |problem: String| Columns {
            problem: Some(problem),
            ..Columns::default()
        };
        let envelope = match raw.envelope() {
            Ok(envelope) => envelope,
            Err(malformed) => return unreadable(malformed.to_string()),
        };
        // PostgreSQL's text can't hold it; the bytes are in header_values.
        if [envelope.kind, envelope.aggregate_type, envelope.actor]
            .iter()
            .any(|text| text.contains('\0'))
        {
            return unreadable("a header holds NUL".to_owned());
        }
        Columns {
            event_id: Some(envelope.id),
            kind: Some(envelope.kind),
            aggregate_type: Some(envelope.aggregate_type),
            aggregate_id: Some(envelope.aggregate_id),
            aggregate_version: Some(envelope.aggregate_version),
            actor: Some(envelope.actor),
            occurred_at: Some(envelope.time),
            trace_id: envelope.traceparent.and_then(trace_id),
            problem: None,
        }
    }
}

/// The trace id of a W3C `traceparent`.
fn trace_id(traceparent: &str) -> Option<&str> {
    let id = traceparent.split('-').nth(1)?;
    let is_hex = id
        .bytes()
        .all(|b| b.is_ascii_digit() || (b'a'..=b'f').contains(&b));
    (id.len() == 32 && is_hex && id.bytes().any(|b| b != b'0')).then_some(id)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_trace_id_is_taken_from_a_valid_traceparent_only() {
        let id = "0af7651916cd43dd8448eb211c80319c";
        for (traceparent, expected) in [
            (format!("00-{id}-b7ad6b7169203331-01"), Some(id)),
            (format!("00-{}-b7ad6b7169203331-01", id.to_uppercase()), None),
            (
                "00-00000000000000000000000000000000-b7ad6b7169203331-01".to_owned(),
                None,
            ),
            ("00-0af7-b7ad6b7169203331-01".to_owned(), None),
            ("nonsense".to_owned(), None),
        ] {
            assert_eq!(trace_id(&traceparent), expected, "{traceparent}");
        }
    }
}
