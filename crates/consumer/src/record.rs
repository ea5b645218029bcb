use std::future::Future;

use diesel_async::AsyncPgConnection;
use envelope::{Envelope, Malformed};

/// A record as Kafka holds it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Raw {
    pub topic: String,
    pub partition: i32,
    pub offset: i64,
    /// When it was produced, or appended if the topic says so, in Unix milliseconds.
    pub timestamp_ms: Option<i64>,
    pub key: Option<Vec<u8>>,
    /// In the record's order; a name may repeat.
    pub headers: Vec<(String, Option<Vec<u8>>)>,
    pub payload: Option<Vec<u8>>,
}

impl Raw {
    /// The record's CloudEvents attributes.
    pub fn envelope(&self) -> Result<Envelope<'_>, Malformed> {
        Envelope::parse(
            self.headers
                .iter()
                .map(|(name, value)| (name.as_str(), value.as_deref())),
        )
    }

    /// The first header of that name, if it is text.
    pub(crate) fn header(&self, name: &str) -> Option<&str> {
        let (_, value) = self.headers.iter().find(|(found, _)| found == name)?;
        std::str::from_utf8(value.as_deref()?).ok()
    }

    /// Bytes that it holds in memory, roughly.
    pub(crate) fn size(&self) -> usize {
        let length = |bytes: &Option<Vec<u8>>| bytes.as_ref().map_or(0, Vec::len);
        let headers: usize = self
            .headers
            .iter()
            .map(|(name, value)| name.len() + length(value))
            .sum();
        size_of::<Raw>() + length(&self.key) + length(&self.payload) + headers
    }
}

/// A record with the event that it carries.
#[derive(Clone, Debug)]
pub struct Record<E> {
    pub raw: Raw,
    pub event: E,
}

/// What a handler is given, read from a record. Pure: the same record always gives the same answer.
pub trait Decode: Sized + Send + Sync + 'static {
    fn decode(raw: &Raw) -> Result<Self, Undecodable>;
}

/// For a handler that stores records as they are.
impl Decode for Raw {
    fn decode(raw: &Raw) -> Result<Raw, Undecodable> {
        Ok(raw.clone())
    }
}

/// Why a record is no event.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Undecodable {
    /// A newer release wrote it. The partition waits for the upgrade; the record is never skipped.
    #[error("newer than this release: {0}")]
    Newer(String),
    /// No release will ever read it.
    #[error("undecodable: {0}")]
    Malformed(String),
}

/// Why a batch was not applied.
#[derive(Debug, thiserror::Error)]
pub enum ApplyError {
    /// This event can never be applied, whatever happens later.
    #[error("{0}")]
    Permanent(String),
    #[error(transparent)]
    Database(#[from] diesel::result::Error),
    #[error(transparent)]
    Other(#[from] anyhow::Error),
}

/// What becomes of a record that can never be applied.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum OnPoison {
    /// It goes to `dead_letter` and the partition goes on.
    Park,
    /// The partition waits until somebody has looked at it.
    Pause,
}

/// A process's effects.
pub trait Handler: Send + Sync + 'static {
    type Event: Decode;

    const ON_POISON: OnPoison = OnPoison::Park;

    /// Applies a batch inside the transaction that also advances the position.
    ///
    /// The records are of one topic and partition, in order, each applied by no committed transaction before. The log itself may
    /// hold an event twice (the relay publishes at least once), so effects are keyed by something of the event's own.
    /// Must not commit or roll back, and must have no effect outside of the database: it may be called again for the same batch.
    fn apply_in_txn(
        &self,
        conn: &mut AsyncPgConnection,
        batch: &[Record<Self::Event>],
    ) -> impl Future<Output = Result<(), ApplyError>> + Send;

    /// Called after a batch was committed; a hint to wake whoever works on what it wrote.
    fn committed(&self) {}
}
