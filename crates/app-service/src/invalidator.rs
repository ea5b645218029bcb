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
    /// What was committed before that is applied again, and says nothing of how long an invalidation takes.
    lost_at: OffsetDateTime,
}

impl Invalidator {
    pub(crate) fn new(cached: Cached) -> Invalidator {
        let redis = cached.tail();
        Invalidator {
            cached,
            redis,
            lag: InvalidationLag::by("tail"),
            lost_at: OffsetDateTime::UNIX_EPOCH,
        }
    }
}

impl Sink for Invalidator {
    const NAME: &'static str = "cache";

    async fn deliver(&mut self, page: &Page) -> Result<(), SinkError> {
        let oldest = OffsetDateTime::now_utc() - cache::MEMORY;
        let rows: Vec<Row<'_>> = page.rows().filter(|row| row.occurred_at() >= oldest).collect();
        self.cached
            .reapply(&mut self.redis, rows.iter().map(change))
            .await
            .map_err(unacknowledged)?;
        let now = OffsetDateTime::now_utc();
        for row in rows.iter().filter(|row| row.occurred_at() >= self.lost_at) {
            if Old::of([change(row)]).is_some() {
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
        self.lost_at = OffsetDateTime::now_utc();
        self.redis.withdraw().await.map_err(unacknowledged)
    }

    async fn caught_up(&mut self, to: &Watermark) -> Result<(), SinkError> {
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
