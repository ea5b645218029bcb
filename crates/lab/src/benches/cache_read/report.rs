//! What the benchmark prints.

use std::collections::BTreeMap;
use std::fmt;

use serde::Serialize;

use crate::spread::{Latency, Spread};
use crate::table::{Table, number};

/// A cached read of app-service ÷ a bare handler, in requests per second.
const TARGET: f64 = 0.9;

/// One server, or one way of asking it.
#[derive(Clone, Debug, Serialize)]
pub struct Line {
    pub name: &'static str,
    /// Answers per second, by round.
    pub per_second: Spread,
    /// By round: ÷ the bare handler's.
    pub ratio: Spread,
    pub latency: Latency,
    /// CPU time for an answer in microseconds: of the server, and of Redis.
    pub cpu_us: f64,
    pub redis_cpu_us: f64,
    /// Redis commands for a read, by name, what runs beside it taken off; where they are counted.
    pub commands: Option<BTreeMap<String, f64>>,
    /// Allocations for a read, where they are counted.
    pub allocations: Option<f64>,
}

/// The result.
#[derive(Clone, Debug, Serialize)]
pub struct Report {
    pub connections: u16,
    pub rounds: u32,
    pub seconds: u64,
    pub body_bytes: usize,
    pub lines: Vec<Line>,
    /// Of app-service with everything on.
    pub ratio: Spread,
}

impl Report {
    /// What does not hold, in words.
    pub fn failures(&self) -> Vec<String> {
        if self.ratio.median >= TARGET {
            return Vec::new();
        }
        vec![format!(
            "app-service answers {:.2} times as many reads as a bare handler, less than {TARGET}",
            self.ratio.median
        )]
    }
}

impl fmt::Display for Report {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(
            f,
            "one product of {} bytes, {} connections, {} rounds of {} s: median (lowest to highest)\n",
            self.body_bytes, self.connections, self.rounds, self.seconds
        )?;
        let mut table = Table::new([
            "",
            "per second",
            "/ bare",
            "p50 ms",
            "p99 ms",
            "CPU us",
            "Redis CPU us",
            "Redis commands",
            "allocations",
        ]);
        for line in &self.lines {
            let [p50, p99, _] = line.latency.cells();
            let commands = line.commands.as_ref().map_or(String::new(), |commands| {
                let each = commands.iter().map(|(name, calls)| format!("{calls:.3} {name}"));
                each.collect::<Vec<_>>().join(", ")
            });
            let Spread {
                median,
                lowest,
                highest,
            } = line.per_second;
            let [median, lowest, highest] = [median, lowest, highest].map(|rate| number(rate.round() as i64));
            table.row([
                line.name.to_owned(),
                format!("{median} ({lowest} to {highest})"),
                line.ratio.to_string(),
                p50,
                p99,
                format!("{:.1}", line.cpu_us),
                format!("{:.1}", line.redis_cpu_us),
                commands,
                line.allocations
                    .map_or(String::new(), |count| format!("{count:.1}")),
            ]);
        }
        writeln!(f, "{}", table.render())?;
        match self.failures().as_slice() {
            [] => writeln!(
                f,
                "passed: app-service / bare handler is {}, at least {TARGET}",
                self.ratio
            ),
            failures => writeln!(f, "FAILED: {}", failures.join("; ")),
        }
    }
}
