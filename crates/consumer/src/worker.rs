//! The worker of a partition: batch after batch, each tried until it is committed.

use std::sync::Arc;
use std::time::{Duration, Instant};

use database::Pool;
use tokio::sync::Semaphore;
use tracing::{Instrument as _, Span};

use crate::batch::{self, Batch, Outcome, Stuck};
use crate::partition::Partition;
use crate::record::Handler;
use crate::runner::Health;
use crate::{measure, trace};

/// Records per transaction. Everything below takes more; what a larger batch needs is a handler that folds many in one statement.
const BATCH_MAX: usize = 1;

/// For one attempt, from the wait for a connection to the commit. Every statement in it has the session's own limit.
const ATTEMPT_LIMIT: Duration = Duration::from_secs(15);

const FIRST_PAUSE: Duration = Duration::from_millis(200);
const LONGEST_PAUSE: Duration = Duration::from_secs(30);

/// What the workers of all partitions share.
pub(crate) struct Workers<H> {
    pub(crate) handler: H,
    pub(crate) pool: Pool,
    /// Fewer than the pool's connections, so that the process's own queries always find one, and workers queue here without a deadline.
    pub(crate) permits: Semaphore,
    pub(crate) health: Arc<dyn Fn(Health) + Send + Sync>,
    pub(crate) group_id: String,
}

impl<H: Handler> Workers<H> {
    /// Works until the partition is closed; then ends after the attempt in hand.
    pub(crate) async fn run(self: Arc<Self>, partition: Arc<Partition>) {
        while let Some(fetched) = partition.take(BATCH_MAX).await {
            let batch = Batch::read(fetched);
            let started = Instant::now();
            let Some((record, outcome)) = self.until_committed(&partition, &batch).await else {
                return;
            };
            measure::processed(&partition.topic, started.elapsed());
            // Within the record's span, so that lines have its trace and event id.
            record.in_scope(|| self.settle(&partition, outcome));
        }
    }

    fn settle(&self, partition: &Partition, outcome: Outcome) {
        match outcome {
            Outcome::Applied {
                next,
                duplicates,
                parked,
            } => {
                partition.applied(next);
                tracing::debug!(
                    topic = partition.topic,
                    partition = partition.number,
                    next_offset = next,
                    "committed",
                );
                self.handler.committed();
                measure::duplicates(&partition.topic, duplicates as u64);
                for offset in parked {
                    measure::dead_letters().increment(1);
                    // The reason is in the table: it may quote the record, and a record holds personal data.
                    tracing::error!(
                        topic = partition.topic,
                        partition = partition.number,
                        offset,
                        error.type = "poison",
                        "a record was parked in dead_letter",
                    );
                }
            }
            Outcome::Ahead { next } => {
                tracing::warn!(
                    topic = partition.topic,
                    partition = partition.number,
                    next_offset = next,
                    "the position is behind what was fetched; fetching from it again",
                );
                partition.rewind(next);
            }
        }
    }

    /// `None` when the partition was closed while it had to wait.
    async fn until_committed(
        &self,
        partition: &Partition,
        batch: &Batch<H::Event>,
    ) -> Option<(Span, Outcome)> {
        let mut trouble: Option<String> = None;
        let mut pause = FIRST_PAUSE;
        loop {
            let record = trace::record_span(batch.first(), &self.group_id);
            match self.attempt(partition, batch).instrument(record.clone()).await {
                Ok(outcome) => {
                    if trouble.is_some() {
                        self.recovered(partition);
                    }
                    return Some((record, outcome));
                }
                Err(stuck) => {
                    let reason = stuck.to_string();
                    if trouble.as_ref() != Some(&reason) {
                        let offset = batch.first().offset;
                        record.in_scope(|| self.stuck(partition, offset, stuck.kind(), &reason));
                        trouble = Some(reason);
                    }
                }
            }
            // Between half and all of it: partitions that failed together don't come back together.
            let jittered = pause.mul_f64(rand::random_range(0.5..=1.0));
            tokio::select! {
                () = partition.closed() => return None,
                () = tokio::time::sleep(jittered) => {}
            }
            pause = (pause * 2).min(LONGEST_PAUSE);
        }
    }

    async fn attempt(&self, partition: &Partition, batch: &Batch<H::Event>) -> Result<Outcome, Stuck> {
        let _permit = self
            .permits
            .acquire()
            .await
            .expect("the semaphore is never closed");
        let attempt = async {
            let mut conn = self.pool.get().await?;
            batch::commit(&self.handler, &mut conn, partition, batch).await
        };
        let in_time = async {
            let ended = tokio::time::timeout(ATTEMPT_LIMIT, attempt).await;
            ended.unwrap_or(Err(Stuck::Deadline(ATTEMPT_LIMIT)))
        };
        database::observed("transaction", Stuck::kind, in_time).await
    }

    fn stuck(&self, partition: &Partition, offset: i64, kind: &str, reason: &str) {
        tracing::error!(
            topic = partition.topic,
            partition = partition.number,
            offset,
            reason,
            error.type = kind,
            "the partition is stuck and will be retried",
        );
        (self.health)(Health::Stuck {
            topic: partition.topic.clone(),
            partition: partition.number,
            offset,
            reason: reason.to_owned(),
        });
    }

    fn recovered(&self, partition: &Partition) {
        tracing::info!(
            topic = partition.topic,
            partition = partition.number,
            "the partition goes on",
        );
        (self.health)(Health::Recovered {
            topic: partition.topic.clone(),
            partition: partition.number,
        });
    }
}
