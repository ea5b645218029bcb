//! What the benchmark prints, and what it holds against the crate.

use std::fmt;

use serde::Serialize;

use super::tally::Cost;
use super::{Plan, Scenario, Way};
use crate::table::{Table, number};

/// Requests on hot keys that may wait.
const MOST_WAITING: f64 = 0.001;

/// One scenario.
#[derive(Clone, Debug, Serialize)]
pub struct Line {
    pub scenario: Scenario,
    /// Loads for each expiry, or for each invalidation.
    pub cost: Cost,
    pub mean: f64,
    /// Loads that began before the entry expired.
    pub early: u64,
    /// Loads because Redis did not answer in time.
    pub bypassed: u64,
    /// Leases that ran out before they were given back.
    pub expired_leases: u64,
    /// Processes that were killed while they loaded, and whose result never came.
    pub killed_loading: usize,
    pub requests: u64,
    pub waited: u64,
    pub p50_us: u32,
    pub p99_us: u32,
    pub failed: u64,
    pub failure: Option<String>,
}

/// The result.
#[derive(Clone, Debug, Serialize)]
pub struct Report {
    pub plan: Plan,
    pub lines: Vec<Line>,
}

impl Line {
    /// The share of requests that were not answered at once.
    pub fn waited_share(&self) -> f64 {
        self.waited as f64 / self.requests.max(1) as f64
    }

    fn failures(&self) -> Vec<String> {
        let mut failures = Vec::new();
        if self.failed > 0 {
            let why = self.failure.as_deref().unwrap_or_default();
            failures.push(format!("{} reads failed: {why}", self.failed));
        }
        if self.scenario.way == Way::Naive {
            return failures;
        }
        let Cost {
            events,
            most,
            most_by_process,
            ..
        } = self.cost;
        if events == 0 {
            failures.push("nothing expired".to_owned());
        }
        let (loads, allowed, what) = match self.scenario {
            Scenario { kills: true, .. } => (most, 2, "one event"),
            Scenario { writes: true, .. } => (most_by_process, 2, "one invalidation by one process"),
            _ => (most, 1, "one expiry"),
        };
        if loads > allowed {
            failures.push(format!("{loads} loads for {what}, more than {allowed}"));
        }
        if self.scenario.writes {
            return failures;
        }
        if self.early == 0 {
            failures.push("no early refresh".to_owned());
        }
        if self.waited_share() > MOST_WAITING {
            failures.push(format!("{:.3} % of requests waited", self.waited_share() * 100.0));
        }
        failures
    }
}

impl Report {
    /// What does not hold, in words.
    pub fn failures(&self) -> Vec<String> {
        let each = self.lines.iter().flat_map(|line| {
            let failures = line.failures().into_iter();
            failures.map(|failure| format!("{}: {failure}", line.scenario))
        });
        each.collect()
    }
}

impl fmt::Display for Scenario {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let way = match self.way {
            Way::Cache => "",
            Way::Naive => "naive, ",
        };
        let what = if self.writes { "invalidated" } else { "hot" };
        let killed = if self.kills { ", holder killed" } else { "" };
        write!(f, "{way}{what}{killed}, loads of {} ms", self.load_ms)
    }
}

impl fmt::Display for Report {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Plan {
            processes,
            tasks,
            keys,
            soft_ttl_ms,
            pause_ms,
            redis_timeout_ms,
            ..
        } = self.plan;
        writeln!(
            f,
            "{processes} processes of {tasks} tasks, {keys} keys, soft TTL {soft_ttl_ms} ms ± 10 %, {pause_ms} ms between two reads of \
             a task, {redis_timeout_ms} ms for a Redis command\n"
        )?;
        let mut table = Table::new([
            "",
            "expiries or invalidations",
            "loads",
            "for one: most",
            "mean",
            "of one process",
            "early",
            "without Redis",
            "killed loading",
            "requests",
            "waited",
            "p50 ms",
            "p99 ms",
        ]);
        for line in &self.lines {
            let count = |count: usize| number(i64::try_from(count).unwrap_or(i64::MAX));
            let ms = |us: u32| format!("{:.1}", f64::from(us) / 1000.0);
            table.row([
                line.scenario.to_string(),
                count(line.cost.events),
                count(line.cost.loads),
                count(line.cost.most),
                format!("{:.3}", line.mean),
                count(line.cost.most_by_process),
                number(line.early.cast_signed()),
                number(line.bypassed.cast_signed()),
                count(line.killed_loading),
                number(line.requests.cast_signed()),
                format!("{:.3} %", line.waited_share() * 100.0),
                ms(line.p50_us),
                ms(line.p99_us),
            ]);
        }
        writeln!(f, "{}", table.render())?;
        match self.failures().as_slice() {
            [] => writeln!(
                f,
                "passed: hot keys cost 1 load an expiry, and at most {:.1} % of requests wait; invalidated ones cost at most 2 loads a \
                 process; where the lease's holder is killed, both cost at most 2 in all",
                MOST_WAITING * 100.0
            ),
            failures => writeln!(f, "FAILED: {}", failures.join("; ")),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn line(way: Way, writes: bool, kills: bool, most: usize) -> Line {
        Line {
            scenario: Scenario {
                way,
                writes,
                kills,
                load_ms: 5,
            },
            cost: Cost {
                events: 10,
                loads: 10 + most,
                most,
                most_by_process: most,
            },
            mean: 1.0,
            early: 1,
            bypassed: 0,
            expired_leases: 0,
            killed_loading: 0,
            requests: 1000,
            waited: 1,
            p50_us: 1,
            p99_us: 1,
            failed: 0,
            failure: None,
        }
    }

    #[test]
    fn each_scenario_has_its_own_limit() {
        for (writes, kills, limit) in [
            (false, false, 1),
            (false, true, 2),
            (true, false, 2),
            (true, true, 2),
        ] {
            assert_eq!(line(Way::Cache, writes, kills, limit).failures(), [""; 0]);
            assert_eq!(line(Way::Cache, writes, kills, limit + 1).failures().len(), 1);
            assert_eq!(line(Way::Naive, writes, kills, limit + 1).failures(), [""; 0]);
        }
        let mut waiting = line(Way::Cache, false, false, 1);
        waiting.waited = 2;
        waiting.early = 0;
        assert_eq!(
            waiting.failures(),
            ["no early refresh", "0.200 % of requests waited"]
        );
    }
}
