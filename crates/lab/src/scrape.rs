//! What a process tells on its admin listener.

use std::time::Duration;

use anyhow::Context as _;

/// The series of one scrape, by their names with labels.
pub(crate) struct Scrape(Vec<(String, f64)>);

impl Scrape {
    /// Asks the process whose admin listener is at `admin`.
    pub(crate) async fn of(admin: &str) -> anyhow::Result<Scrape> {
        let client = reqwest::Client::builder()
            .timeout(Duration::from_secs(2))
            .build()?;
        let answer = client.get(format!("{admin}/metrics")).send().await?;
        Ok(Scrape::read(&answer.error_for_status()?.text().await?))
    }

    /// What is in Prometheus's text format.
    pub(crate) fn read(text: &str) -> Scrape {
        let series = text.lines().filter(|line| !line.starts_with('#'));
        let parsed = series.filter_map(|line| {
            let (name, value) = line.rsplit_once(' ')?;
            Some((name.to_owned(), value.parse().ok()?))
        });
        Scrape(parsed.collect())
    }

    /// The counters whose names begin so, by series.
    pub(crate) fn counters(self, prefix: &str) -> impl Iterator<Item = (String, f64)> {
        let is_counter = |series: &str| {
            series
                .split('{')
                .next()
                .is_some_and(|name| name.ends_with("_total"))
        };
        self.0
            .into_iter()
            .filter(move |(series, _)| series.starts_with(prefix) && is_counter(series))
    }

    /// The sum over the series of this name that have this label.
    pub(crate) fn sum(&self, name: &str, label: &str) -> f64 {
        self.series(name, label).map(|(_, value)| value).sum()
    }

    /// A histogram's buckets: upper bound and how many are not above it.
    pub(crate) fn buckets(&self, name: &str, label: &str) -> anyhow::Result<Vec<(f64, f64)>> {
        let name = format!("{name}_bucket");
        self.series(&name, label)
            .map(|(series, count)| {
                let (_, bound) = series.split_once("le=\"").context("a bucket has no bound")?;
                let (bound, _) = bound.split_once('"').context("a bucket has no bound")?;
                Ok((bound.parse()?, count))
            })
            .collect()
    }

    fn series(&self, name: &str, label: &str) -> impl Iterator<Item = (&str, f64)> {
        self.0
            .iter()
            .filter(move |(series, _)| series.split('{').next() == Some(name) && series.contains(label))
            .map(|(series, value)| (series.as_str(), *value))
    }
}

/// The lowest bound below which are `percent` of what was counted between two scrapes; infinite above the highest bound.
pub(crate) fn percentile(before: &[(f64, f64)], after: &[(f64, f64)], percent: f64) -> f64 {
    let counted = |(bound, count): &(f64, f64)| {
        let before = before.iter().find(|(other, _)| other == bound);
        (*bound, count - before.map_or(0.0, |(_, count)| *count))
    };
    let mut grown: Vec<(f64, f64)> = after.iter().map(counted).collect();
    grown.sort_by(|(one, _), (other, _)| one.total_cmp(other));
    let all = grown.last().map_or(0.0, |(_, count)| *count);
    let found = grown.iter().find(|(_, count)| *count >= all * percent / 100.0);
    found.map_or(f64::INFINITY, |(bound, _)| *bound)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_percentile_counts_what_came_between_two_scrapes() {
        let before = [(0.01, 10.0), (0.1, 10.0), (f64::INFINITY, 10.0)];
        let after = [(0.01, 60.0), (0.1, 109.0), (f64::INFINITY, 110.0)];
        assert_eq!(percentile(&before, &after, 50.0), 0.01);
        assert_eq!(percentile(&before, &after, 99.0), 0.1);
        assert_eq!(percentile(&before, &after, 100.0), f64::INFINITY);
    }
}
