//! What was read, and what it cost in loads.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use serde::{Deserialize, Serialize};

use super::source::Load;

/// What one process, or all of them, saw.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
pub(super) struct Tally {
    /// Reads by how they were answered.
    pub(super) by_status: BTreeMap<String, u64>,
    pub(super) waited: u64,
    pub(super) failed: u64,
    /// One of the failures.
    pub(super) failure: Option<String>,
    /// By latency in microseconds, rounded down to two digits.
    latencies: BTreeMap<u32, u64>,
    /// By key: the loads whose result was found in Redis.
    pub(super) stored: BTreeMap<u32, BTreeSet<u64>>,
    /// The cache's own counters by series.
    pub(super) counters: BTreeMap<String, f64>,
}

impl Tally {
    /// Forgets the reads so far: every key was loaded for the first time, and all who read it waited for that.
    pub(super) fn begin(&mut self) {
        *self = Tally {
            stored: std::mem::take(&mut self.stored),
            ..Tally::default()
        };
    }

    pub(super) fn answered(&mut self, status: &str, waited: bool, took: Duration) {
        match self.by_status.get_mut(status) {
            Some(count) => *count += 1,
            None => {
                self.by_status.insert(status.to_owned(), 1);
            }
        }
        self.waited += u64::from(waited);
        *self.latencies.entry(two_digits(took)).or_default() += 1;
    }

    pub(super) fn saw(&mut self, key: u32, number: u64) {
        self.stored.entry(key).or_default().insert(number);
    }

    pub(super) fn failed(&mut self, error: &anyhow::Error) {
        self.failed += 1;
        self.failure.get_or_insert_with(|| format!("{error:#}"));
    }

    pub(super) fn add(&mut self, other: Tally) {
        for (status, count) in other.by_status {
            *self.by_status.entry(status).or_default() += count;
        }
        self.waited += other.waited;
        self.failed += other.failed;
        self.failure = self.failure.take().or(other.failure);
        for (latency, count) in other.latencies {
            *self.latencies.entry(latency).or_default() += count;
        }
        for (key, numbers) in other.stored {
            self.stored.entry(key).or_default().extend(numbers);
        }
        for (series, count) in other.counters {
            *self.counters.entry(series).or_default() += count;
        }
    }

    pub(super) fn requests(&self) -> u64 {
        self.by_status.values().sum::<u64>() + self.failed
    }

    /// The latency that so many percent of the answers did not exceed, in microseconds.
    pub(super) fn percentile_us(&self, percent: u64) -> u32 {
        let all: u64 = self.latencies.values().sum();
        let mut left = (all * percent).div_ceil(100);
        for (latency, count) in &self.latencies {
            left = left.saturating_sub(*count);
            if left == 0 {
                return *latency;
            }
        }
        0
    }

    /// The sum of the cache's counters of this name with this label.
    pub(super) fn counter(&self, name: &str, label: &str) -> u64 {
        let series = self.counters.iter();
        let of_name =
            series.filter(|(series, _)| series.split('{').next() == Some(name) && series.contains(label));
        of_name.map(|(_, count)| *count).sum::<f64>() as u64
    }
}

fn two_digits(took: Duration) -> u32 {
    let us = u32::try_from(took.as_micros()).unwrap_or(u32::MAX);
    let unit = 10_u32.pow(us.max(1).ilog10().saturating_sub(1));
    us / unit * unit
}

/// How many loads each expiry or invalidation caused.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize)]
pub struct Cost {
    pub events: usize,
    pub loads: usize,
    /// For one event.
    pub most: usize,
    /// For one event, by one process.
    pub most_by_process: usize,
}

impl Cost {
    fn of<'a>(events: impl IntoIterator<Item = Vec<&'a Load>>) -> Cost {
        let mut cost = Cost::default();
        for loads in events {
            let mut by_process: BTreeMap<usize, usize> = BTreeMap::new();
            for load in &loads {
                *by_process.entry(load.process).or_default() += 1;
            }
            cost.events += 1;
            cost.loads += loads.len();
            cost.most = cost.most.max(loads.len());
            let most = by_process.into_values().max().unwrap_or(0);
            cost.most_by_process = cost.most_by_process.max(most);
        }
        cost
    }

    pub(super) fn mean(&self) -> f64 {
        self.loads as f64 / self.events.max(1) as f64
    }
}

fn by_key(loads: &[Load]) -> BTreeMap<u32, Vec<&Load>> {
    let mut by_key: BTreeMap<u32, Vec<&Load>> = BTreeMap::new();
    for load in loads {
        by_key.entry(load.key).or_default().push(load);
    }
    by_key
}

/// An entry is replaced by that of a later load; all loads of its key between the two were made because it expired. The first
/// entry of a key replaces none.
pub(super) fn per_entry(loads: &[Load], stored: &BTreeMap<u32, BTreeSet<u64>>) -> Cost {
    let mut expiries = Vec::new();
    for (key, loads) in by_key(loads) {
        let numbers: Vec<u64> = stored.get(&key).into_iter().flatten().copied().collect();
        for pair in numbers.windows(2) {
            let between = loads
                .iter()
                .filter(|load| pair[0] < load.number && load.number <= pair[1]);
            expiries.push(between.copied().collect());
        }
    }
    Cost::of(expiries)
}

/// Where each load stores what it found, entries do not tell expiries apart. The loads of a key that begin within `span` of the
/// first one belong together. The first of them are not counted: there was nothing that could expire.
pub(super) fn per_burst(loads: &[Load], span: Duration) -> Cost {
    let mut expiries = Vec::new();
    for loads in by_key(loads).into_values() {
        let mut bursts: Vec<Vec<&Load>> = Vec::new();
        for load in loads {
            match bursts.last_mut() {
                Some(burst) if u128::from(load.at - burst[0].at) < span.as_millis() => burst.push(load),
                _ => bursts.push(vec![load]),
            }
        }
        expiries.extend(bursts.into_iter().skip(1));
    }
    Cost::of(expiries)
}

/// All loads that found a version were made because its commit invalidated the one before.
pub(super) fn per_version(loads: &[Load]) -> Cost {
    let mut by_version: BTreeMap<(u32, i64), Vec<&Load>> = BTreeMap::new();
    for load in loads.iter().filter(|load| load.version > 1) {
        by_version.entry((load.key, load.version)).or_default().push(load);
    }
    Cost::of(by_version.into_values())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn load(number: u64, process: usize, version: i64, at: u64) -> Load {
        Load {
            number,
            key: 1,
            process,
            version,
            at,
        }
    }

    #[test]
    fn what_was_loaded_between_two_entries_was_loaded_for_one_expiry() {
        let loads = [1, 2, 3, 4, 5].map(|number| load(number, usize::from(number == 4), 1, number));
        let stored = BTreeMap::from([(1, BTreeSet::from([1, 2, 5]))]);
        let cost = per_entry(&loads, &stored);
        let expected = Cost {
            events: 2,
            loads: 4,
            most: 3,
            most_by_process: 2,
        };
        assert_eq!(cost, expected);
        assert_eq!(cost.mean(), 2.0);
    }

    #[test]
    fn what_begins_together_was_loaded_for_one_expiry() {
        let loads = [(1, 0), (2, 10), (3, 1000), (4, 1400), (5, 1600)];
        let loads = loads.map(|(number, at)| load(number, 0, 1, at));
        let cost = per_burst(&loads, Duration::from_millis(500));
        assert_eq!((cost.events, cost.loads, cost.most), (2, 3, 2));
    }

    #[test]
    fn what_finds_a_version_was_loaded_for_its_invalidation() {
        let loads = [(1, 0, 1), (2, 0, 2), (3, 0, 2), (4, 1, 2), (5, 0, 3)];
        let loads = loads.map(|(number, process, version)| load(number, process, version, 0));
        let cost = per_version(&loads);
        let expected = Cost {
            events: 2,
            loads: 4,
            most: 3,
            most_by_process: 2,
        };
        assert_eq!(cost, expected);
    }

    #[test]
    fn percentiles_are_of_all_processes() {
        let mut all = Tally::default();
        for ms in 1..=100 {
            let mut one = Tally::default();
            one.answered("hit", false, Duration::from_micros(ms * 1234));
            all.add(one);
        }
        assert_eq!((all.requests(), all.percentile_us(99)), (100, 120_000));
        assert_eq!(two_digits(Duration::ZERO), 0);
        assert_eq!(two_digits(Duration::from_micros(7)), 7);
    }
}
