//! The circuit breaker before Redis: a Redis in trouble is left alone for a second at a time, and readers do not wait
//! for it.

use std::sync::Mutex;
use std::sync::atomic::{AtomicBool, AtomicU8, Ordering};
use std::time::Duration;

use tokio::time::Instant;

/// The window in which calls are counted; a failure begins it.
const WINDOW: Duration = Duration::from_secs(1);
/// With fewer calls in a window, their share says nothing.
const ENOUGH_CALLS: u32 = 20;
/// So many calls in a row without an answer are no accident, however few they are.
const IN_A_ROW: u32 = 5;
/// How long it stays open, ± a fifth, so that processes do not probe in step.
const OPEN: Duration = Duration::from_secs(1);
/// A probe whose outcome nobody reported, because its caller went away, is replaced after this.
const PROBE: Duration = Duration::from_secs(1);

pub(crate) struct Breaker {
    /// A copy of the phase, so that a call in good times takes no lock before it.
    phase: AtomicU8,
    /// It is closed, and nothing has failed within a window: a success has nothing to tell, and takes no lock either.
    calm: AtomicBool,
    state: Mutex<State>,
}

struct State {
    phase: Phase,
    window: Window,
    in_a_row: u32,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Phase {
    Closed,
    Open { until: Instant },
    Probing { until: Instant },
}

struct Window {
    began: Instant,
    calls: u32,
    failures: u32,
}

const CLOSED: u8 = 0;
const OPENED: u8 = 1;
const PROBING: u8 = 2;
const UNPOISONED: &str = "nothing panics while it holds the lock";

impl Breaker {
    pub(crate) fn new(now: Instant) -> Breaker {
        Breaker {
            phase: AtomicU8::new(CLOSED),
            calm: AtomicBool::new(true),
            state: Mutex::new(State {
                phase: Phase::Closed,
                window: Window::at(now),
                in_a_row: 0,
            }),
        }
    }

    /// Whether a call may be made now. While it is open there is one at a time, to probe.
    pub(crate) fn admits(&self, now: Instant) -> bool {
        if self.phase.load(Ordering::Relaxed) == CLOSED {
            return true;
        }
        let mut state = self.state.lock().expect(UNPOISONED);
        match state.phase {
            Phase::Closed => true,
            Phase::Open { until } | Phase::Probing { until } if now >= until => {
                self.enter(&mut state, Phase::Probing { until: now + PROBE });
                true
            }
            Phase::Open { .. } | Phase::Probing { .. } => false,
        }
    }

    /// 0 closed, 1 open, 2 probing.
    pub(crate) fn phase(&self) -> u8 {
        self.phase.load(Ordering::Relaxed)
    }

    pub(crate) fn succeeded(&self, now: Instant) {
        if self.calm.load(Ordering::Relaxed) {
            return;
        }
        let mut state = self.state.lock().expect(UNPOISONED);
        state.in_a_row = 0;
        match state.phase {
            Phase::Closed if !state.window.is_over(now) => state.window.calls += 1,
            Phase::Closed => self.calm.store(true, Ordering::Relaxed),
            // Only a probe closes it: what was on its way when it opened says nothing about now.
            Phase::Probing { .. } => {
                self.calm.store(true, Ordering::Relaxed);
                self.enter(&mut state, Phase::Closed);
            }
            Phase::Open { .. } => {}
        }
    }

    /// Redis gave no answer, or one that means that it cannot serve. `spread` is 0 to 1, at random.
    pub(crate) fn failed(&self, now: Instant, spread: f64) {
        let mut state = self.state.lock().expect(UNPOISONED);
        if self.calm.swap(false, Ordering::Relaxed) || state.window.is_over(now) {
            state.window = Window::at(now);
        }
        state.window.calls += 1;
        state.window.failures += 1;
        state.in_a_row += 1;
        let often = state.window.calls >= ENOUGH_CALLS && state.window.failures * 2 >= state.window.calls;
        let opens = match state.phase {
            Phase::Closed => often || state.in_a_row >= IN_A_ROW,
            Phase::Probing { .. } => true,
            Phase::Open { .. } => false,
        };
        if opens {
            let until = now + OPEN.mul_f64(0.8 + 0.4 * spread);
            state.in_a_row = 0;
            self.enter(&mut state, Phase::Open { until });
        }
    }

    fn enter(&self, state: &mut State, phase: Phase) {
        state.phase = phase;
        let copy = match phase {
            Phase::Closed => CLOSED,
            Phase::Open { .. } => OPENED,
            Phase::Probing { .. } => PROBING,
        };
        self.phase.store(copy, Ordering::Relaxed);
    }
}

impl Window {
    fn at(now: Instant) -> Window {
        Window {
            began: now,
            calls: 0,
            failures: 0,
        }
    }

    fn is_over(&self, now: Instant) -> bool {
        now.duration_since(self.began) >= WINDOW
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn breaker() -> (Breaker, Instant) {
        let now = Instant::now();
        (Breaker::new(now), now)
    }

    #[test]
    fn five_failures_in_a_row_open_it() {
        let (breaker, now) = breaker();
        for _ in 0..4 {
            breaker.failed(now, 0.5);
        }
        breaker.succeeded(now);
        for _ in 0..4 {
            breaker.failed(now, 0.5);
        }
        assert!(breaker.admits(now));
        breaker.failed(now, 0.5);
        assert!(!breaker.admits(now));
    }

    #[test]
    fn half_of_twenty_calls_in_a_second_open_it() {
        let (breaker, now) = breaker();
        for _ in 0..9 {
            breaker.failed(now, 0.5);
            breaker.succeeded(now);
        }
        breaker.succeeded(now);
        assert!(breaker.admits(now));
        breaker.failed(now, 0.5);
        assert!(!breaker.admits(now));
    }

    #[test]
    fn failures_of_another_second_are_forgotten() {
        let (breaker, now) = breaker();
        for second in 0..3 {
            let now = now + WINDOW * second;
            for _ in 0..9 {
                breaker.failed(now, 0.5);
                breaker.succeeded(now);
            }
        }
        assert!(breaker.admits(now + WINDOW * 2));
    }

    #[test]
    fn what_went_well_before_the_first_failure_does_not_hide_those_after_it() {
        let (breaker, now) = breaker();
        for _ in 0..1_000 {
            breaker.succeeded(now);
        }
        for _ in 0..9 {
            breaker.failed(now, 0.5);
            breaker.succeeded(now);
        }
        assert!(breaker.admits(now));
        breaker.succeeded(now);
        breaker.failed(now, 0.5);
        assert!(!breaker.admits(now));
    }

    #[test]
    fn it_counts_anew_after_a_window_in_which_nothing_failed() {
        let (breaker, now) = breaker();
        for _ in 0..4 {
            breaker.failed(now, 0.5);
        }
        breaker.succeeded(now + WINDOW);
        assert!(breaker.calm.load(Ordering::Relaxed));
        for _ in 0..4 {
            breaker.failed(now + WINDOW, 0.5);
        }
        assert!(breaker.admits(now + WINDOW));
        breaker.failed(now + WINDOW, 0.5);
        assert!(!breaker.admits(now + WINDOW));
    }

    #[test]
    fn after_a_second_one_call_probes_and_decides() {
        let (breaker, now) = breaker();
        for _ in 0..5 {
            breaker.failed(now, 0.5);
        }
        // An answer to what was sent before it opened does not close it.
        breaker.succeeded(now);
        let later = now + OPEN;
        assert!(breaker.admits(later));
        assert!(!breaker.admits(later), "one probe at a time");
        breaker.failed(later, 0.5);
        assert!(!breaker.admits(later));
        let later = later + OPEN;
        assert!(breaker.admits(later));
        breaker.succeeded(later);
        assert!(breaker.admits(later) && breaker.admits(later));
    }

    #[test]
    fn a_probe_that_nobody_reports_is_replaced() {
        let (breaker, now) = breaker();
        for _ in 0..5 {
            breaker.failed(now, 0.0);
        }
        let later = now + OPEN;
        assert!(breaker.admits(later));
        assert!(!breaker.admits(later));
        assert!(breaker.admits(later + PROBE));
    }
}
