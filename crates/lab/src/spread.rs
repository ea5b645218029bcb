//! Several measurements of the same thing.

use std::fmt;

use serde::Serialize;

/// The median of the rounds, the lowest and the highest.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize)]
pub struct Spread {
    pub median: f64,
    pub lowest: f64,
    pub highest: f64,
}

impl Spread {
    /// Of at least one round; of none, it is all zeros.
    pub(crate) fn of(rounds: impl IntoIterator<Item = f64>) -> Spread {
        let mut rounds: Vec<f64> = rounds.into_iter().collect();
        rounds.sort_by(f64::total_cmp);
        match rounds.as_slice() {
            [] => Spread::default(),
            [lowest, ..] => Spread {
                median: rounds[rounds.len() / 2],
                lowest: *lowest,
                highest: rounds[rounds.len() - 1],
            },
        }
    }
}

/// With the precision that is asked for, two places without one.
impl fmt::Display for Spread {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let places = f.precision().unwrap_or(2);
        let Spread {
            median,
            lowest,
            highest,
        } = self;
        write!(f, "{median:.places$} ({lowest:.places$} to {highest:.places$})")
    }
}

/// Latencies of many requests or records.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize)]
pub struct Latency {
    pub count: usize,
    pub p50_us: u32,
    pub p99_us: u32,
    pub longest_us: u32,
}

impl Latency {
    /// All zeros when there is none.
    pub(crate) fn of(mut all_us: Vec<u32>) -> Latency {
        all_us.sort_unstable();
        let Some(longest_us) = all_us.last().copied() else {
            return Latency::default();
        };
        let percentile = |percent: usize| all_us[(all_us.len() - 1) * percent / 100];
        Latency {
            count: all_us.len(),
            p50_us: percentile(50),
            p99_us: percentile(99),
            longest_us,
        }
    }

    /// p50, p99 and the longest in milliseconds.
    pub(crate) fn cells(&self) -> [String; 3] {
        [self.p50_us, self.p99_us, self.longest_us].map(|us| format!("{:.2}", f64::from(us) / 1000.0))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_spread_is_the_median_and_its_bounds() {
        assert_eq!(format!("{:.1}", Spread::of([3.0, 1.0, 2.0])), "2.0 (1.0 to 3.0)");
        assert_eq!(Spread::of([]), Spread::default());
    }

    #[test]
    fn percentiles_are_of_the_sorted_latencies() {
        let latency = Latency::of((1..=101).rev().collect());
        assert_eq!(
            (latency.p50_us, latency.p99_us, latency.longest_us),
            (51, 100, 101)
        );
    }
}
