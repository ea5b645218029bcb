//! What the database is asked meanwhile.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicI64, Ordering};
use std::time::Duration;

use anyhow::bail;
use diesel::sql_types::BigInt;
use diesel::{QueryableByName, sql_query};
use diesel_async::AsyncPgConnection;
use tokio::task::JoinHandle;
use tokio::time::sleep;

use crate::ledger::sources::Sources;

/// How often the database is asked for what it is doing.
const SAMPLE: Duration = Duration::from_millis(2);

/// The most loads of products that the database was seen to work on at once.
pub(super) struct Loads {
    most: Arc<AtomicI64>,
    stop: Arc<AtomicBool>,
    watching: JoinHandle<anyhow::Result<()>>,
}

#[derive(QueryableByName)]
struct Running {
    #[diesel(sql_type = BigInt)]
    running: i64,
}

impl Loads {
    pub(super) async fn watch(sources: &Sources) -> anyhow::Result<Loads> {
        let mut conn = sources.connect("app").await?;
        let (most, stop) = (Arc::new(AtomicI64::new(0)), Arc::new(AtomicBool::new(false)));
        let watching = tokio::spawn({
            let (most, stop) = (Arc::clone(&most), Arc::clone(&stop));
            async move {
                while !stop.load(Ordering::SeqCst) {
                    most.fetch_max(running(&mut conn).await?, Ordering::SeqCst);
                    sleep(SAMPLE).await;
                }
                Ok(())
            }
        });
        Ok(Loads { most, stop, watching })
    }

    /// Since the last call.
    pub(super) fn take(&self) -> i64 {
        self.most.swap(0, Ordering::SeqCst)
    }

    pub(super) async fn stop(self) -> anyhow::Result<()> {
        self.stop.store(true, Ordering::SeqCst);
        match self.watching.await {
            Ok(watched) => watched,
            Err(panicked) => bail!("nobody watched the database: {panicked}"),
        }
    }
}

async fn running(conn: &mut AsyncPgConnection) -> anyhow::Result<i64> {
    // Here alone: its `load` is not an atomic's.
    use diesel_async::RunQueryDsl as _;
    let running: Running = sql_query(
        r#"SELECT count(*) AS running FROM pg_stat_activity
           WHERE application_name = 'app-service' AND state = 'active' AND query LIKE 'SELECT%"product"%'"#,
    )
    .get_result(conn)
    .await?;
    Ok(running.running)
}
