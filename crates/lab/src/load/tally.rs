//! What became of the requests of a run.

use std::collections::BTreeSet;
use std::sync::Mutex;
use std::time::Instant;

use serde::Serialize;

use crate::load::shop::Outcome;

/// What a request asks for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Action {
    Place,
    Pay,
    Cancel,
}

/// Requests by outcome.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize)]
pub struct Outcomes {
    pub ok: u64,
    pub refused: u64,
    pub shed: u64,
    pub failed: u64,
}

impl Outcomes {
    /// All of them.
    pub fn total(&self) -> u64 {
        self.ok + self.refused + self.shed + self.failed
    }

    fn add(&mut self, outcome: Outcome) {
        match outcome {
            Outcome::Ok => self.ok += 1,
            Outcome::Refused => self.refused += 1,
            Outcome::Shed => self.shed += 1,
            Outcome::Failed => self.failed += 1,
        }
    }
}

/// The requests of a run.
#[derive(Clone, Copy, Debug, Default, Serialize)]
pub struct Tally {
    pub place: Outcomes,
    pub pay: Outcomes,
    pub cancel: Outcomes,
    /// Orders that were due and not sent, because too many requests were waiting for their answers.
    pub withheld: u64,
    /// How long orders were sent, in seconds.
    pub seconds: f64,
}

impl Tally {
    /// Orders sent per second.
    pub fn rate(&self) -> f64 {
        if self.seconds > 0.0 {
            self.place.total() as f64 / self.seconds
        } else {
            0.0
        }
    }
}

/// The requests that were answered in a part of a run.
#[derive(Clone, Debug, Default)]
pub struct Phase {
    pub outcomes: Outcomes,
    /// Of the successful ones.
    pub latencies_us: Vec<u32>,
}

/// The requests that are on their way, and what became of the others. Shared by all senders.
#[derive(Default)]
pub(crate) struct Book {
    inner: Mutex<Inner>,
}

#[derive(Default)]
struct Inner {
    tally: Tally,
    next: u64,
    in_flight: BTreeSet<u64>,
    /// Requests that were shed or failed.
    broken: BTreeSet<u64>,
    /// When the latest begun of the successful requests began.
    latest_ok: Option<Instant>,
    /// Since it was last taken; nothing until somebody does.
    phase: Option<Phase>,
}

impl Book {
    /// Sends a request and notes it.
    pub(crate) async fn note<T>(
        &self,
        action: Action,
        request: impl Future<Output = (Outcome, T)>,
    ) -> (Outcome, T) {
        let begun = Instant::now();
        let id = self.with(|inner| {
            inner.next += 1;
            inner.in_flight.insert(inner.next);
            inner.next
        });
        let (outcome, answer) = request.await;
        self.with(|inner| {
            inner.in_flight.remove(&id);
            match outcome {
                Outcome::Ok => inner.latest_ok = inner.latest_ok.max(Some(begun)),
                Outcome::Shed | Outcome::Failed => drop(inner.broken.insert(id)),
                Outcome::Refused => {}
            }
            let outcomes = match action {
                Action::Place => &mut inner.tally.place,
                Action::Pay => &mut inner.tally.pay,
                Action::Cancel => &mut inner.tally.cancel,
            };
            outcomes.add(outcome);
            if let Some(phase) = &mut inner.phase {
                phase.outcomes.add(outcome);
                if outcome == Outcome::Ok {
                    let took = begun.elapsed().as_micros();
                    phase.latencies_us.push(u32::try_from(took).unwrap_or(u32::MAX));
                }
            }
        });
        (outcome, answer)
    }

    pub(crate) fn withhold(&self) {
        self.with(|inner| inner.tally.withheld += 1);
    }

    pub(crate) fn in_flight(&self) -> BTreeSet<u64> {
        self.with(|inner| inner.in_flight.clone())
    }

    pub(crate) fn unanswered(&self, of: &BTreeSet<u64>) -> usize {
        self.with(|inner| {
            of.iter()
                .filter(|id| inner.in_flight.contains(id) || inner.broken.contains(id))
                .count()
        })
    }

    pub(crate) fn latest_ok(&self) -> Option<Instant> {
        self.with(|inner| inner.latest_ok)
    }

    pub(crate) fn take_phase(&self) -> Phase {
        self.with(|inner| inner.phase.replace(Phase::default()).unwrap_or_default())
    }

    pub(crate) fn tally(&self) -> Tally {
        self.with(|inner| inner.tally)
    }

    fn with<T>(&self, act: impl FnOnce(&mut Inner) -> T) -> T {
        let mut inner = self.inner.lock().expect("nothing panics while it holds the book");
        act(&mut inner)
    }
}
