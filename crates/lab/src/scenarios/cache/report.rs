//! What the readers got.

use std::collections::BTreeMap;
use std::fmt;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use serde::Serialize;
use testkit::Stale;

use super::Plan;
use super::faults::{ALL, Fault, Struck};
use super::reading::Book;
use crate::spread::Spread;
use crate::table::{Table, number};

/// What the run showed.
#[derive(Clone, Debug, Serialize)]
pub struct Report {
    #[serde(skip)]
    plan: Plan,
    pub seconds: f64,
    /// From Redis or the database.
    pub reads: u64,
    pub hits: u64,
    pub loaded: u64,
    /// Besides: from a process's own layer, while Redis was out of reach.
    pub local: u64,
    pub failed: u64,
    /// Of `reads`: answered with less than was committed when they began, invalidated or not.
    pub behind: u64,
    /// Price changes that readers were judged by.
    pub writes: i64,
    pub faults: BTreeMap<Fault, Strikes>,
    /// Answered with what had been invalidated, although Redis had lost nothing, or after everything had been applied again.
    pub stale: usize,
    pub examples: Vec<String>,
}

/// All strikes of one fault. Times are in seconds.
#[derive(Clone, Debug, Default, Serialize)]
pub struct Strikes {
    pub times: usize,
    /// From its beginning until Redis was used again.
    pub reads: u64,
    /// Of those, the ones that were answered with less than was committed, invalidated or not.
    pub behind: u64,
    /// Stale reads between the loss of acknowledged writes and their re-application.
    pub stale_after_loss: usize,
    /// How long after Redis answered again the last of them began.
    pub longest: f64,
    /// From when Redis answered again until the loss was noticed.
    pub noticed: Spread,
    /// From when Redis answered again, or app-service had been killed, until everything was applied again.
    pub reapplied: Spread,
}

impl Report {
    pub(super) fn new(plan: Plan, book: &Book, struck: &[Struck], took: Duration) -> Report {
        let count = |count: &AtomicU64| count.load(Ordering::Relaxed);
        let all = book.stale.lock().expect("nothing panics while it holds the lock");
        let excused = |stale: &Stale| struck.iter().find(|struck| excuses(struck, stale.began));
        let unexcused: Vec<&Stale> = all.iter().filter(|stale| excused(stale).is_none()).collect();
        let first = struck.first().map(|struck| struck.began);
        let strikes = |fault| {
            let of_it: Vec<&Struck> = struck.iter().filter(|struck| struck.fault == fault).collect();
            let began = all.iter().filter_map(|stale| {
                let struck = excused(stale)?;
                (struck.fault == fault).then_some(stale.began.duration_since(struck.lost?))
            });
            let began: Vec<Duration> = began.collect();
            let after = |moment: fn(&Struck) -> Option<Instant>| {
                let after = of_it
                    .iter()
                    .filter_map(|struck| Some(moment(struck)? - struck.lost?));
                Spread::of(after.map(|after| after.as_secs_f64()))
            };
            let strikes = Strikes {
                times: of_it.len(),
                reads: of_it.iter().map(|struck| struck.reads).sum(),
                behind: of_it.iter().map(|struck| struck.behind).sum(),
                stale_after_loss: began.len(),
                longest: began.iter().max().map_or(0.0, Duration::as_secs_f64),
                noticed: after(|struck| struck.noticed),
                reapplied: after(|struck| struck.reapplied),
            };
            (fault, strikes)
        };
        Report {
            plan,
            seconds: took.as_secs_f64(),
            reads: book.reads(),
            hits: count(&book.hits),
            loaded: count(&book.loaded),
            local: count(&book.local),
            failed: count(&book.failed),
            behind: count(&book.behind),
            writes: book
                .committed
                .iter()
                .map(|version| version.load(Ordering::SeqCst) - 1)
                .sum(),
            faults: ALL.into_iter().map(strikes).collect(),
            stale: unexcused.len(),
            examples: unexcused
                .iter()
                .take(5)
                .map(|stale| example(stale, struck, first))
                .collect(),
        }
    }

    /// What does not hold, in words; nothing: the run passed.
    pub fn failures(&self) -> Vec<String> {
        let mut failures = Vec::new();
        if self.stale > 0 {
            failures.push(format!("{} reads were stale", self.stale));
        }
        if self.failed > 0 {
            failures.push(format!("{} reads failed", self.failed));
        }
        if self.reads < self.plan.reads {
            failures.push(format!("{} reads are not {}", self.reads, self.plan.reads));
        }
        let times = |fault: Fault| self.faults.get(&fault).map_or(0, |strikes| strikes.times);
        failures.extend(
            ALL.into_iter()
                .filter(|fault| times(*fault) == 0)
                .map(|fault| format!("never: {}", fault.name())),
        );
        if self.local == 0 {
            failures.push("Redis was never out of reach".to_owned());
        }
        // What loses nothing would prove nothing.
        let restored = self.faults.get(&Fault::Restored);
        if restored.is_none_or(|strikes| strikes.stale_after_loss == 0) {
            failures.push("no restored snapshot brought an old value back".to_owned());
        }
        failures
    }
}

/// Whether a read that began then may be stale: Redis is back without writes that it had acknowledged, and not all of them are applied
/// again. A Redis that comes back empty has lost its old values with its floors, so nothing is excused there.
fn excuses(struck: &Struck, began: Instant) -> bool {
    struck.killed.is_some_and(|killed| killed <= began)
        && struck.reapplied.is_some_and(|reapplied| began <= reapplied)
}

fn example(stale: &Stale, struck: &[Struck], first: Option<Instant>) -> String {
    let after = first.map_or(0.0, |first| {
        stale.began.saturating_duration_since(first).as_secs_f64()
    });
    let during = struck.iter().rev().find(|struck| struck.began <= stale.began);
    format!(
        "{after:.3} s after the first fault, product {} was answered with version {}, and {} had been invalidated {:.3} s before ({})",
        stale.key,
        stale.version,
        stale.floor,
        stale.since.as_secs_f64(),
        during.map_or("before all faults", |struck| struck.fault.name())
    )
}

impl fmt::Display for Report {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let count = |count: u64| number(i64::try_from(count).unwrap_or(i64::MAX));
        writeln!(
            f,
            "{} reads in {:.0} s, of 64 products that were changed {} times: {} hits, {} loaded or waited for a load; {} failed",
            count(self.reads),
            self.seconds,
            number(self.writes),
            count(self.hits),
            count(self.loaded),
            count(self.failed)
        )?;
        writeln!(
            f,
            "{} more were answered from a process's own memory while Redis was out of reach",
            count(self.local)
        )?;
        writeln!(
            f,
            "{} reads began after a commit and were answered with what was before it; {} although it had been invalidated\n",
            count(self.behind),
            self.stale
        )?;
        let mut table = Table::new([
            "fault",
            "times",
            "reads",
            "behind a commit",
            "loss noticed after s",
            "all applied again after s",
            "stale until then",
            "the last after s",
        ]);
        for (fault, strikes) in &self.faults {
            let seconds = |spread: &Spread| match spread.highest {
                0.0 => "-".to_owned(),
                _ => format!("{spread:.2}"),
            };
            table.row([
                fault.name().to_owned(),
                strikes.times.to_string(),
                count(strikes.reads),
                count(strikes.behind),
                seconds(&strikes.noticed),
                seconds(&strikes.reapplied),
                strikes.stale_after_loss.to_string(),
                format!("{:.2}", strikes.longest),
            ]);
        }
        writeln!(f, "{}", table.render())?;
        for example in &self.examples {
            writeln!(f, "{example}")?;
        }
        match self.failures() {
            failures if failures.is_empty() => writeln!(f, "passed"),
            failures => writeln!(f, "FAILED: {}", failures.join("; ")),
        }
    }
}
