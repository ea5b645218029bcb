//! A process that is about to be killed: when it has work in flight, whether that was so when it died, and when it works again.

use std::collections::{BTreeMap, BTreeSet};
use std::time::{Duration, Instant};

use anyhow::{Context as _, bail};
use diesel_async::AsyncPgConnection;
use tokio::time::timeout;

use crate::ledger::settle::{Partition, mails_in_state, positions, unfinished_mails};
use crate::ledger::sources::Sources;
use crate::load::Witness;
use crate::log_watch::LogWatch;

/// How long work may be waited for; under load it is there within milliseconds.
const WORK: Duration = Duration::from_secs(30);

/// How long a process may take until it works again. A consumer's partitions come back when the group's session has timed out.
const RECOVERY: Duration = Duration::from_secs(60);

/// How often requests in flight, and answers after a restart, are looked for.
const GLANCE: Duration = Duration::from_millis(1);

/// How often a consumer's position is looked at.
const LOOK: Duration = Duration::from_millis(20);

/// The processes and, for consumers, their databases.
pub(crate) const PROCESSES: [(&str, Option<&str>); 5] = [
    ("gateway", None),
    ("app-service", None),
    ("analytics-consumer", Some("analytics")),
    ("email-consumer", Some("email")),
    ("audit-consumer", Some("audit")),
];

/// How work in a process shows.
pub(crate) enum Prey<'a> {
    /// As requests that the load generator has no answer to.
    Server { load: Witness },
    /// As records in the log beyond what its database holds.
    Consumer {
        conn: Box<AsyncPgConnection>,
        topics: &'a [String],
        watch: &'a LogWatch,
        mails: Mails,
    },
}

/// Which mails count as work in flight.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Mails {
    /// It sends none.
    None,
    /// It sends some; the kill waits for unread records.
    Also,
    /// It sends some, and the kill waits for one that is begun.
    First,
}

/// What was in flight when a process had died.
pub(crate) struct Died {
    /// Requests without an answer, or records that were not applied and mails that were not finished. 0: the kill came too late.
    pub(crate) in_flight: i64,
    /// Delivery rows of mails that the server may have or not have.
    pub(crate) transmitting: BTreeSet<i64>,
    /// Of a consumer: the sum of its positions.
    applied: i64,
}

/// What was in flight just before the kill.
pub(crate) enum Before {
    Requests(BTreeSet<u64>),
    /// The end of each partition of its topics.
    Ends(BTreeMap<Partition, i64>),
}

impl<'a> Prey<'a> {
    pub(crate) fn server(load: Witness) -> Prey<'a> {
        Prey::Server { load }
    }

    pub(crate) async fn consumer(
        sources: &'a Sources,
        database: &str,
        watch: &'a LogWatch,
        mails: Mails,
    ) -> anyhow::Result<Prey<'a>> {
        let conn = Box::new(sources.connect(database).await?);
        Ok(Prey::Consumer {
            conn,
            topics: &sources.topics[database],
            watch,
            mails,
        })
    }

    /// Waits until there is work in flight; the kill must follow at once.
    pub(crate) async fn work(&mut self) -> anyhow::Result<Before> {
        timeout(WORK, self.look_for_work())
            .await
            .context("no work was seen in it for 30 s")?
    }

    async fn look_for_work(&mut self) -> anyhow::Result<Before> {
        match self {
            Prey::Server { load } => loop {
                let in_flight = load.in_flight();
                if !in_flight.is_empty() {
                    return Ok(Before::Requests(in_flight));
                }
                tokio::time::sleep(GLANCE).await;
            },
            Prey::Consumer {
                conn,
                topics,
                watch,
                mails,
            } => {
                let mut arrivals = watch.arrivals();
                loop {
                    // A record has just arrived: whoever is to apply it has it now, or is about to.
                    arrivals.changed().await.context("nobody reads the log")?;
                    let next = positions(conn).await?;
                    let ends = ends_of(watch, topics);
                    let found = match mails {
                        Mails::First => unfinished_mails(conn).await? > 0,
                        Mails::None | Mails::Also => unread(&ends, &next) > 0,
                    };
                    if found {
                        return Ok(Before::Ends(ends));
                    }
                }
            }
        }
    }

    /// What of that was still in flight when the process was dead.
    pub(crate) async fn look_at_the_dead(&mut self, before: &Before) -> anyhow::Result<Died> {
        match (self, before) {
            // Requests that were waiting before the kill and have had no good answer since: the kill lies in between.
            (Prey::Server { load }, Before::Requests(before)) => {
                let in_flight = load.unanswered(before);
                Ok(Died {
                    in_flight: i64::try_from(in_flight)?,
                    transmitting: BTreeSet::new(),
                    applied: 0,
                })
            }
            // The dead don't move their positions; the ends were read while it lived.
            (Prey::Consumer { conn, mails, .. }, Before::Ends(ends)) => {
                let next = positions(conn).await?;
                let (mails, transmitting) = match mails {
                    Mails::None => (0, BTreeSet::new()),
                    Mails::Also | Mails::First => (
                        unfinished_mails(conn).await?,
                        mails_in_state(conn, "transmitting").await?,
                    ),
                };
                Ok(Died {
                    in_flight: unread(ends, &next) + mails,
                    transmitting,
                    applied: next.values().sum(),
                })
            }
            _ => bail!("requests are not counted in records"),
        }
    }

    /// Waits until it does what it did before the kill at `killed`; how long that took from then.
    pub(crate) fn recovery(
        self,
        killed: Instant,
        died: &Died,
    ) -> impl Future<Output = anyhow::Result<Duration>> + use<> {
        let recovering = match self {
            Prey::Server { load } => Recovering::Server { load, killed },
            Prey::Consumer { conn, .. } => Recovering::Consumer {
                conn,
                applied: died.applied,
            },
        };
        async move {
            timeout(RECOVERY, recovering.works_again())
                .await
                .context("it did not work again within 60 s")??;
            Ok(killed.elapsed())
        }
    }
}

/// What tells that a killed process works again.
enum Recovering {
    /// A request that began after the kill is answered.
    Server { load: Witness, killed: Instant },
    /// A record is applied.
    Consumer {
        conn: Box<AsyncPgConnection>,
        applied: i64,
    },
}

impl Recovering {
    async fn works_again(self) -> anyhow::Result<()> {
        match self {
            Recovering::Server { load, killed } => {
                while load.latest_ok().is_none_or(|begun| begun <= killed) {
                    tokio::time::sleep(GLANCE).await;
                }
            }
            Recovering::Consumer { mut conn, applied } => {
                while positions(&mut conn).await?.values().sum::<i64>() <= applied {
                    tokio::time::sleep(LOOK).await;
                }
            }
        }
        Ok(())
    }
}

fn ends_of(watch: &LogWatch, topics: &[String]) -> BTreeMap<Partition, i64> {
    let mut ends = watch.ends();
    ends.retain(|(topic, _), _| topics.contains(topic));
    ends
}

/// Records before `ends` that are not applied.
fn unread(ends: &BTreeMap<Partition, i64>, next: &BTreeMap<Partition, i64>) -> i64 {
    ends.iter()
        .map(|(partition, end)| (end - next.get(partition).copied().unwrap_or(0)).max(0))
        .sum()
}
