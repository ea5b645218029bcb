//! What a read costs that is counted rather than timed: Redis commands, and allocations.

use std::collections::BTreeMap;
use std::time::Duration;

use anyhow::Context as _;
use deadpool_redis::redis::{Client, cmd};

use crate::scrape::Scrape;

/// app-service tells its count this often, when it was built to count.
const TOLD_EVERY: Duration = Duration::from_millis(300);

/// Up to a moment.
#[derive(Clone, Debug, Default)]
pub(super) struct Counts {
    /// Redis commands by name, of all clients.
    pub(super) commands: BTreeMap<String, u64>,
    /// `None` when the process does not count them.
    pub(super) allocations: Option<u64>,
}

impl Counts {
    /// Of the process with this admin listener, and of the Redis at `redis`.
    pub(super) async fn now(redis: &str, admin: &str) -> anyhow::Result<Counts> {
        tokio::time::sleep(TOLD_EVERY).await;
        let mut connection = Client::open(redis)?.get_multiplexed_async_connection().await?;
        let info: String = cmd("INFO")
            .arg("commandstats")
            .query_async(&mut connection)
            .await?;
        let scrape = Scrape::of(admin).await?;
        let allocations = scrape.sum("process_allocations_total", "");
        Ok(Counts {
            commands: commands(&info)?,
            allocations: (allocations > 0.0).then_some(allocations as u64),
        })
    }

    /// What was counted since `before`.
    pub(super) fn since(&self, before: &Counts) -> Counts {
        let commands = self.commands.iter().map(|(name, calls)| {
            let before = before.commands.get(name).copied().unwrap_or(0);
            (name.clone(), calls.saturating_sub(before))
        });
        Counts {
            commands: commands.collect(),
            allocations: self
                .allocations
                .zip(before.allocations)
                .map(|(now, before)| now.saturating_sub(before)),
        }
    }
}

/// `cmdstat_get:calls=21,usec=…` a line.
fn commands(info: &str) -> anyhow::Result<BTreeMap<String, u64>> {
    let lines = info.lines().filter_map(|line| line.strip_prefix("cmdstat_"));
    lines
        .map(|line| {
            let (name, rest) = line.split_once(":calls=").context("a command without calls")?;
            let calls = rest.split(',').next().unwrap_or_default();
            Ok((name.to_owned(), calls.parse()?))
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn redis_s_own_statistics_are_read() {
        let info = "# Commandstats\r\ncmdstat_get:calls=21,usec=10,usec_per_call=0.5\r\ncmdstat_config|get:calls=1,usec=2\r\n";
        let expected = [("config|get".to_owned(), 1), ("get".to_owned(), 21)];
        assert_eq!(commands(info).unwrap(), BTreeMap::from(expected));
    }
}
