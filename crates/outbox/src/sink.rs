//! What a tail hands its pages to.

use std::time::Duration;

use time::OffsetDateTime;

use crate::page::Page;

/// A destination of committed facts. Each has a cursor of its own, so that one that is down never
/// holds back another.
pub trait Sink: Send + 'static {
    /// Its row in `outbox_cursor`, made by a migration.
    const NAME: &'static str;

    /// Takes the rows of `page` in their order and returns once they are safe. After an error, or
    /// when this future is dropped, the same rows come again; nothing after them comes before.
    fn deliver(&mut self, page: &Page) -> impl Future<Output = Result<(), SinkError>> + Send;

    /// What the store behind it says of itself; asked at every poll and before every page.
    fn identity(&mut self) -> impl Future<Output = Result<Identity, SinkError>> + Send {
        async { Ok(Identity::default()) }
    }

    /// The store is another one than before and may have forgotten what it acknowledged. Then
    /// the tail rewinds by [`TailArgs::memory`](crate::TailArgs::memory).
    fn lost(&mut self) -> impl Future<Output = Result<(), SinkError>> + Send {
        async { Ok(()) }
    }

    /// Everything that was committed before `to.at` has been delivered; told a few times a second.
    fn caught_up(&mut self, to: &Watermark) -> impl Future<Output = Result<(), SinkError>> + Send {
        let _ = to;
        async { Ok(()) }
    }
}

/// What a sink's store says of itself.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Identity {
    /// Changes whenever the store may have forgotten something; `None` where it never does.
    pub store: Option<String>,
    /// The highest [`Watermark::saves`] that it was told. A number above the database's own means
    /// that the database went back in time.
    pub saves: Option<i64>,
}

/// How far a sink is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Watermark {
    /// The database's clock, read before the snapshot up to which everything is delivered.
    pub at: OffsetDateTime,
    /// How much later than `at` it is now, by the same clock.
    pub lag: Duration,
    /// How often the tail's cursor has been saved.
    pub saves: i64,
}

/// Why a page was not delivered. Whatever the reason, the whole page is delivered again.
#[derive(Debug, thiserror::Error)]
#[error("{class}: {cause:#}")]
pub struct SinkError {
    class: &'static str,
    cause: anyhow::Error,
}

impl SinkError {
    /// `class` is the label of the metric and decides when the failure is logged anew, so it comes
    /// from a small set.
    pub fn new(class: &'static str, cause: impl Into<anyhow::Error>) -> SinkError {
        SinkError {
            class,
            cause: cause.into(),
        }
    }

    pub fn class(&self) -> &'static str {
        self.class
    }
}
