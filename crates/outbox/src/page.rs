//! Rows on their way from PostgreSQL to a sink, in the buffers in which they arrived.

use diesel::pg::Pg;
use diesel::row::{Field as _, Row as _};
use diesel_async::{AsyncConnectionCore, AsyncPgConnection};
use envelope::Envelope;
use time::{Duration, OffsetDateTime};
use uuid::Uuid;

type Raw = <AsyncPgConnection as AsyncConnectionCore>::Row<'static, 'static>;
type Column<'p> = <Raw as diesel::row::Row<'static, Pg>>::Field<'p>;

/// What a page selects; [`Row`]'s accessors count on this order and on the tables' types.
pub(crate) const COLUMNS: &str = "id, event_id, topic, key, type, schema_version, aggregate_type, aggregate_id, \
     aggregate_version, actor, occurred_at, traceparent, payload";
const WIDTH: usize = 13;

const ID: usize = 0;
const EVENT_ID: usize = 1;
const TOPIC: usize = 2;
const KEY: usize = 3;
const TYPE: usize = 4;
const SCHEMA_VERSION: usize = 5;
const AGGREGATE_TYPE: usize = 6;
const AGGREGATE_ID: usize = 7;
const AGGREGATE_VERSION: usize = 8;
const ACTOR: usize = 9;
const OCCURRED_AT: usize = 10;
const TRACEPARENT: usize = 11;
const PAYLOAD: usize = 12;

/// Consecutive rows of a window, by id.
#[derive(Default)]
pub struct Page {
    raw: Vec<Raw>,
    /// Kept beside the rows, which have left the processor's cache when the sink has had them.
    occurred_at: Vec<OffsetDateTime>,
    last: Option<i64>,
    payload_bytes: usize,
    ends_window: bool,
}

impl Page {
    pub(crate) fn with_capacity(rows: usize) -> Page {
        Page {
            raw: Vec::with_capacity(rows),
            occurred_at: Vec::with_capacity(rows),
            ..Page::default()
        }
    }

    pub(crate) fn push(&mut self, raw: Raw) {
        let row = Row::of(&raw);
        self.last = Some(row.id());
        self.payload_bytes += row.payload().len();
        self.occurred_at.push(row.occurred_at());
        self.raw.push(raw);
    }

    pub(crate) fn end_window(&mut self) {
        self.ends_window = true;
    }

    /// The rows, by id.
    pub fn rows(&self) -> impl ExactSizeIterator<Item = Row<'_>> {
        self.raw.iter().map(Row::of)
    }

    /// When each row was written; see [`Row::occurred_at`].
    pub(crate) fn occurred_at(&self) -> impl Iterator<Item = OffsetDateTime> {
        self.occurred_at.iter().copied()
    }

    pub fn len(&self) -> usize {
        self.raw.len()
    }

    pub fn is_empty(&self) -> bool {
        self.raw.is_empty()
    }

    /// The id of the last row; `None` for an empty page.
    pub fn last_id(&self) -> Option<i64> {
        self.last
    }

    /// Whether the window has no row after these.
    pub fn ends_window(&self) -> bool {
        self.ends_window
    }

    /// The sum of the payloads' lengths.
    pub fn payload_bytes(&self) -> usize {
        self.payload_bytes
    }
}

/// One row of the outbox; nothing is copied out of the buffer that came from the socket.
pub struct Row<'p> {
    columns: [Option<Column<'p>>; WIDTH],
}

impl<'p> Row<'p> {
    fn of(raw: &'p Raw) -> Row<'p> {
        Row {
            columns: std::array::from_fn(|index| raw.get(index)),
        }
    }

    pub fn id(&self) -> i64 {
        i64::from_be_bytes(self.fixed(ID))
    }

    /// `ce_id`.
    pub fn event_id(&self) -> Uuid {
        Uuid::from_bytes(self.fixed(EVENT_ID))
    }

    pub fn topic(&self) -> &str {
        self.text(TOPIC)
    }

    pub fn key(&self) -> &[u8] {
        self.bytes(KEY)
    }

    /// `ce_type`.
    pub fn kind(&self) -> &str {
        self.text(TYPE)
    }

    pub fn aggregate_type(&self) -> &str {
        self.text(AGGREGATE_TYPE)
    }

    pub fn aggregate_id(&self) -> Uuid {
        Uuid::from_bytes(self.fixed(AGGREGATE_ID))
    }

    pub fn aggregate_version(&self) -> i64 {
        i64::from_be_bytes(self.fixed(AGGREGATE_VERSION))
    }

    /// By the database's clock, after the version was written and before the commit.
    pub fn occurred_at(&self) -> OffsetDateTime {
        // PostgreSQL counts microseconds from the year 2000.
        const EPOCH: OffsetDateTime = time::macros::datetime!(2000-01-01 00:00 UTC);
        let since = Duration::microseconds(i64::from_be_bytes(self.fixed(OCCURRED_AT)));
        EPOCH.checked_add(since).unwrap_or(EPOCH)
    }

    /// W3C trace context of the request that caused it.
    pub fn traceparent(&self) -> Option<&str> {
        self.value(TRACEPARENT)
            .and_then(|bytes| std::str::from_utf8(bytes).ok())
    }

    /// The aggregate's state after the change, as JSON.
    pub fn payload(&self) -> &[u8] {
        self.bytes(PAYLOAD)
    }

    /// The event's attributes; `source` is who states it.
    pub fn envelope<'a>(&'a self, source: &'a str) -> Envelope<'a> {
        Envelope {
            id: self.event_id(),
            source,
            kind: self.kind(),
            // The table's CHECK keeps it at 1 or more.
            schema_version: u16::try_from(i16::from_be_bytes(self.fixed(SCHEMA_VERSION))).unwrap_or_default(),
            aggregate_type: self.aggregate_type(),
            aggregate_id: self.aggregate_id(),
            aggregate_version: self.aggregate_version(),
            actor: self.text(ACTOR),
            time: self.occurred_at(),
            traceparent: self.traceparent(),
        }
    }

    fn value(&self, column: usize) -> Option<&[u8]> {
        let value = self.columns[column].as_ref()?.value()?;
        Some(value.as_bytes())
    }

    fn bytes(&self, column: usize) -> &[u8] {
        self.value(column).unwrap_or_default()
    }

    fn text(&self, column: usize) -> &str {
        std::str::from_utf8(self.bytes(column)).expect("the database's encoding is UTF-8")
    }

    fn fixed<const N: usize>(&self, column: usize) -> [u8; N] {
        let bytes = self.bytes(column);
        bytes
            .try_into()
            .expect("the column is NOT NULL and its type has this length")
    }
}
