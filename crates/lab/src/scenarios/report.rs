//! What a run of kills showed.

use std::collections::BTreeMap;
use std::fmt;
use std::time::Duration;

use serde::Serialize;

use crate::ledger::{Ledger, Verdict};
use crate::load::tally::{Outcomes, Tally};
use crate::log_watch::Order;
use crate::scenarios::kill::{MIN_RATE, Plan};
use crate::table::{Table, number};

/// What a run of kills showed.
#[derive(Clone, Debug, Serialize)]
pub struct Report {
    #[serde(skip)]
    pub plan: Plan,
    /// By process.
    pub victims: BTreeMap<&'static str, Victim>,
    pub requests: Tally,
    /// Kafka's topics as an onlooker saw them.
    pub log: Order,
    /// Ambiguous mails that were not being transmitted when a kill fell.
    pub unexplained: usize,
    pub ledger: Ledger,
}

/// The kills of one process.
#[derive(Clone, Debug, Default, Serialize)]
pub struct Victim {
    /// What was in flight at each kill that landed: requests, or records and mails.
    pub in_flight: Vec<i64>,
    /// Kills at which nothing was in flight any more. They count for nothing.
    pub missed: u32,
    /// From each kill until it worked again, in milliseconds.
    pub recovery_ms: Vec<u64>,
}

impl Victim {
    pub(crate) fn landed(&mut self, in_flight: i64) {
        self.in_flight.push(in_flight);
    }

    pub(crate) fn recovered(&mut self, after: Duration) {
        self.recovery_ms
            .push(u64::try_from(after.as_millis()).unwrap_or(u64::MAX));
    }
}

impl Report {
    /// What does not hold, in words; nothing: the run passed.
    pub fn failures(&self) -> Vec<String> {
        let mut failures = Vec::new();
        for (process, victim) in &self.victims {
            let landed = victim.in_flight.len();
            if landed < usize::try_from(self.plan.kills).unwrap_or(usize::MAX) {
                failures.push(format!(
                    "{landed} of {} kills of {process} landed",
                    self.plan.kills
                ));
            }
        }
        if self.requests.rate() < f64::from(MIN_RATE) {
            failures.push(format!(
                "the load was {:.1} orders/s, below {MIN_RATE}",
                self.requests.rate()
            ));
        }
        if self.log.out_of_order > 0 {
            failures.push(format!(
                "{} records came before their predecessors",
                self.log.out_of_order
            ));
        }
        let balance = &self.ledger.balance;
        let first_copies = i64::try_from(self.log.first_copies).unwrap_or(i64::MAX);
        if first_copies != balance.versions {
            let versions = balance.versions;
            failures.push(format!(
                "{versions} versions were committed and {first_copies} are in the log"
            ));
        }
        if self.unexplained > 0 {
            failures.push(format!(
                "{} mails are ambiguous that no kill had met",
                self.unexplained
            ));
        }
        match self.ledger.verdict() {
            Verdict::Balanced => {}
            Verdict::NotBalanced => failures.push("the ledger does not balance".to_owned()),
            Verdict::CatchingUp => failures.push("the consumers did not catch up".to_owned()),
        }
        failures
    }
}

impl fmt::Display for Report {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Tally {
            seconds, withheld, ..
        } = self.requests;
        writeln!(
            f,
            "kill -9 under {:.1} orders/s for {seconds:.0} s\n",
            self.requests.rate()
        )?;
        let mut kills = Table::new([
            "process",
            "kills",
            "in flight",
            "missed",
            "recovery ms",
            "longest",
        ]);
        for (process, victim) in &self.victims {
            kills.row([
                (*process).to_owned(),
                victim.in_flight.len().to_string(),
                number(median(&victim.in_flight)),
                victim.missed.to_string(),
                number(i64::try_from(median(&victim.recovery_ms)).unwrap_or(i64::MAX)),
                number(
                    victim
                        .recovery_ms
                        .iter()
                        .max()
                        .map_or(0, |ms| i64::try_from(*ms).unwrap_or(i64::MAX)),
                ),
            ]);
        }
        writeln!(f, "{}", kills.render())?;
        let mut requests = Table::new(["requests", "ok", "refused", "shed", "failed or unknown"]);
        for (name, outcomes) in [
            ("place", self.requests.place),
            ("pay", self.requests.pay),
            ("cancel", self.requests.cancel),
        ] {
            let Outcomes {
                ok,
                refused,
                shed,
                failed,
            } = outcomes;
            let [ok, refused, shed, failed] = [ok, refused, shed, failed].map(|count| count.to_string());
            requests.row([name.to_owned(), ok, refused, shed, failed]);
        }
        write!(f, "{}", requests.render())?;
        writeln!(f, "withheld: {withheld}\n")?;
        let Order {
            first_copies,
            duplicates,
            out_of_order,
            undecodable,
        } = self.log;
        writeln!(
            f,
            "log: {first_copies} first copies, {duplicates} duplicates, {out_of_order} out of order, {undecodable} undecodable\n"
        )?;
        self.ledger.fmt(f)?;
        let (ambiguous, unexplained) = (self.ledger.balance.mails.ambiguous, self.unexplained);
        writeln!(
            f,
            "{ambiguous} mails are ambiguous, {unexplained} of them without a kill while they were transmitted"
        )?;
        match self.failures() {
            failures if failures.is_empty() => writeln!(f, "passed"),
            failures => writeln!(f, "FAILED: {}", failures.join("; ")),
        }
    }
}

fn median<T: Copy + Default + Ord>(values: &[T]) -> T {
    let mut sorted = values.to_vec();
    sorted.sort_unstable();
    sorted.get(sorted.len() / 2).copied().unwrap_or_default()
}
