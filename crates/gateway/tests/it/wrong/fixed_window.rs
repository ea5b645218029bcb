use crate::limiter::Numbers;

/// Counts from zero in each `per`: two bursts fit around the border.
pub(crate) struct FixedWindow {
    numbers: Numbers,
    window: u64,
    count: u32,
}

impl FixedWindow {
    pub(crate) fn new(numbers: Numbers) -> FixedWindow {
        FixedWindow {
            numbers,
            window: 0,
            count: 0,
        }
    }

    pub(crate) fn admit(&mut self, now: u64) -> bool {
        let window = now / self.numbers.per;
        if window != self.window {
            self.window = window;
            self.count = 0;
        }
        self.count += 1;
        self.count <= self.numbers.burst
    }
}
