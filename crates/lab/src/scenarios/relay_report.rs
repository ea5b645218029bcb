//! What a run against the relay showed.

use std::collections::BTreeMap;
use std::fmt;
use std::time::Duration;

use serde::Serialize;

use crate::load::tally::Tally;
use crate::scenarios::committed::Checked;
use crate::scenarios::relay_kill::{MIN_RATE, Plan};
use crate::table::{Table, number};

/// What a run against the relay showed.
#[derive(Clone, Debug, Serialize)]
pub struct Report {
    #[serde(skip)]
    pub plan: Plan,
    /// By what was done.
    pub troubles: BTreeMap<&'static str, Trouble>,
    pub requests: Tally,
    pub checked: Checked,
}

/// One kind of trouble.
#[derive(Clone, Debug, Default, Serialize)]
pub struct Trouble {
    pub times: u32,
    /// Of a replica that owned the relay: from then until another did. Of a server: from its return until the relay published. In
    /// milliseconds.
    pub over_after_ms: Vec<u64>,
}

impl Trouble {
    pub(crate) fn add(&mut self, over_after: Option<Duration>) {
        self.times += 1;
        self.over_after_ms
            .extend(over_after.map(|after| u64::try_from(after.as_millis()).unwrap_or(u64::MAX)));
    }
}

impl Report {
    /// What does not hold, in words; nothing: the run passed.
    pub fn failures(&self) -> Vec<String> {
        let mut failures = self.checked.failures();
        if self.requests.rate() < f64::from(MIN_RATE) {
            failures.push(format!(
                "the load was {:.1} orders/s, below {MIN_RATE}",
                self.requests.rate()
            ));
        }
        failures
    }
}

/// By then another replica owns the relay: its lease, and a second.
const TAKEN_OVER: Duration = Duration::from_secs(6);

impl Report {
    /// Takeovers that took too long, in words. Apart from [`failures`](Report::failures), because a machine that is busy with other
    /// things is reason enough.
    pub fn late(&self) -> Vec<String> {
        let mut late = Vec::new();
        // A replica that is stopped finishes its requests first, which may take longer.
        for name in ["killed", "suspended for 8 s"] {
            let longest = self
                .troubles
                .get(name)
                .and_then(|trouble| trouble.over_after_ms.iter().max());
            if let Some(longest) = longest.filter(|longest| u128::from(**longest) > TAKEN_OVER.as_millis()) {
                late.push(format!(
                    "{name}: taken over after {longest} ms, asked are {TAKEN_OVER:?}"
                ));
            }
        }
        late
    }
}

impl fmt::Display for Report {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Tally { seconds, place, .. } = self.requests;
        writeln!(
            f,
            "trouble for the relay under {:.1} orders/s for {seconds:.0} s: {} orders placed, {} refused, {} shed, {} failed or unknown\n",
            self.requests.rate(),
            place.ok,
            place.refused,
            place.shed,
            place.failed
        )?;
        let mut table = Table::new(["", "times", "taken over or back", "median ms", "longest ms"]);
        for (name, trouble) in &self.troubles {
            let mut sorted = trouble.over_after_ms.clone();
            sorted.sort_unstable();
            let cell = |ms: Option<&u64>| {
                ms.map_or("-".to_owned(), |ms| {
                    number(i64::try_from(*ms).unwrap_or(i64::MAX))
                })
            };
            table.row([
                (*name).to_owned(),
                trouble.times.to_string(),
                sorted.len().to_string(),
                cell(sorted.get(sorted.len() / 2)),
                cell(sorted.last()),
            ]);
        }
        writeln!(f, "{}", table.render())?;
        self.checked.fmt(f)?;
        for late in self.late() {
            writeln!(f, "LATE: {late}")?;
        }
        match self.failures() {
            failures if failures.is_empty() => writeln!(f, "passed"),
            failures => writeln!(f, "FAILED: {}", failures.join("; ")),
        }
    }
}
