//! The tail that makes the cache forget what is old, whatever happened to the process that committed it, and to Redis.

use cache::{Tail, TailError};
use outbox::{Identity, Page, Row, Sink, SinkError, Watermark};
use time::OffsetDateTime;

use crate::cached::{Cached, Change, Old};
use crate::meters::InvalidationLag;

pub(crate) struct Invalidator {
    cached: Cached,
    redis: Tail,
    lag: InvalidationLag,
    /// The database's time when this had caught up last: rows have theirs from there, and this machine's clock may differ.
    caught_up: OffsetDateTime,
    /// Something is applied again, which says nothing of how long an invalidation takes.
    again: bool,
}

impl Invalidator {
    pub(crate) fn new(cached: Cached) -> Invalidator {
        let redis = cached.tail();
        Invalidator {
            cached,
            redis,
            lag: InvalidationLag::by("tail"),
            caught_up: OffsetDateTime::UNIX_EPOCH,
            again: false,
        }
    }
}

impl Sink for Invalidator {
    const NAME: &'static str = "cache";

    async fn deliver(&mut self, page: &Page) -> Result<(), SinkError> {
        // What is older is in no entry.
        let oldest = self.caught_up - cache::MEMORY;
        let rows: Vec<Row<'_>> = page.rows().filter(|row| row.occurred_at() >= oldest).collect();
        self.cached
            .reapply(&mut self.redis, rows.iter().map(change))
            .await
            .map_err(unacknowledged)?;
        if self.again {
            return Ok(());
        }
        let now = OffsetDateTime::now_utc();
        for row in rows {
            if Old::of([change(&row)]).is_some() {
                self.lag.record((now - row.occurred_at()).as_seconds_f64());
            }
        }
        Ok(())
    }

    async fn identity(&mut self) -> Result<Identity, SinkError> {
        let seen = self.redis.look().await.map_err(unacknowledged)?;
        Ok(Identity {
            store: Some(seen.identity.to_string()),
            saves: seen.saves,
        })
    }

    async fn lost(&mut self) -> Result<(), SinkError> {
        tracing::warn!("redis may have forgotten invalidations; they are applied again");
        self.again = true;
        self.redis.withdraw().await.map_err(unacknowledged)
    }

    async fn caught_up(&mut self, to: &Watermark) -> Result<(), SinkError> {
        self.caught_up = to.at + to.lag;
        self.again = false;
        self.redis
            .publish(to.at.into(), to.lag, to.saves)
            .await
            .map_err(unacknowledged)
    }
}

fn change<'a>(row: &'a Row<'_>) -> Change<'a> {
    Change {
        aggregate_type: row.aggregate_type(),
        aggregate_id: row.aggregate_id(),
        aggregate_version: row.aggregate_version(),
        payload: row.payload(),
    }
}

fn unacknowledged(error: TailError) -> SinkError {
    SinkError::new("unacknowledged", error)
}
