//! What readers noticed of it.

use std::fmt;

use serde::{Serialize, Serializer};

use crate::spread::Latency;
use crate::table::Table;

/// What the run showed.
#[derive(Clone, Debug, Serialize)]
pub struct Report {
    pub suffered: Vec<Suffered>,
}

/// One fault.
#[derive(Clone, Debug, Serialize)]
pub struct Suffered {
    pub fault: &'static str,
    pub before: Phase,
    pub during: Phase,
    /// From the recovery on, and a while longer.
    pub after: Phase,
    /// Loads of products that the database worked on at once, during the fault and the recovery; sampled.
    pub most_loads: i64,
    pub bulkhead: i64,
    /// From when Redis was well again until every product was a hit.
    pub recovery_seconds: f64,
}

/// Reads in a part of the run.
#[derive(Clone, Debug, Default, Serialize)]
pub struct Phase {
    /// How long successful ones took, in µs.
    #[serde(rename = "latency", serialize_with = "latency")]
    pub answered: Vec<u32>,
    pub hits: u64,
    pub shed: u64,
    pub failed: u64,
}

fn latency<S: Serializer>(answered: &[u32], serializer: S) -> Result<S::Ok, S::Error> {
    Latency::of(answered.to_vec()).serialize(serializer)
}

impl Report {
    /// What does not hold, in words; nothing: the run passed.
    pub fn failures(&self) -> Vec<String> {
        let mut failures = Vec::new();
        for suffered in &self.suffered {
            let Suffered { fault, during, .. } = suffered;
            let phases = [&suffered.before, during, &suffered.after];
            let lost: u64 = phases.iter().map(|phase| phase.shed + phase.failed).sum();
            if lost > 0 {
                failures.push(format!("{fault}: {lost} reads were shed or failed"));
            }
            if suffered.most_loads > suffered.bulkhead {
                failures.push(format!("{fault}: {} loads at once", suffered.most_loads));
            }
            // What is full, or refuses writes, still answers reads.
            if during.answered.is_empty() {
                failures.push(format!("{fault}: nobody read"));
            }
        }
        failures
    }
}

impl fmt::Display for Report {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut table = Table::new([
            "redis",
            "reads during",
            "hits %",
            "shed",
            "failed",
            "most loads at once",
            "p99 ms before",
            "during",
            "after",
            "all hits again after s",
        ]);
        for suffered in &self.suffered {
            let p99 = |phase: &Phase| Latency::of(phase.answered.clone()).cells()[1].clone();
            let Phase {
                answered,
                hits,
                shed,
                failed,
            } = &suffered.during;
            let all = answered.len() as u64 + shed + failed;
            table.row([
                suffered.fault.to_owned(),
                all.to_string(),
                format!("{:.0}", *hits as f64 * 100.0 / all.max(1) as f64),
                shed.to_string(),
                failed.to_string(),
                format!("{} of {}", suffered.most_loads, suffered.bulkhead),
                p99(&suffered.before),
                p99(&suffered.during),
                p99(&suffered.after),
                format!("{:.2}", suffered.recovery_seconds),
            ]);
        }
        writeln!(f, "{}", table.render())?;
        match self.failures() {
            failures if failures.is_empty() => writeln!(f, "passed"),
            failures => writeln!(f, "FAILED: {}", failures.join("; ")),
        }
    }
}
