//! Prometheus's text format, as strictly as a test needs it.

use std::collections::{BTreeMap, BTreeSet};

/// What one process exports.
#[derive(Default)]
pub(crate) struct Exposition {
    /// By name: `counter`, `gauge`, `histogram`.
    pub(crate) kinds: BTreeMap<String, String>,
    pub(crate) helped: BTreeSet<String>,
    pub(crate) series: Vec<Series>,
}

pub(crate) struct Series {
    /// As `# TYPE` has it: without a histogram's `_bucket`, `_sum` and `_count`.
    pub(crate) metric: String,
    pub(crate) labels: Vec<(String, String)>,
    pub(crate) value: f64,
}

impl Exposition {
    pub(crate) fn parse(text: &str) -> Exposition {
        let mut exposition = Exposition::default();
        for line in text.lines().filter(|line| !line.is_empty()) {
            let words: Vec<&str> = line.splitn(4, ' ').collect();
            match words.as_slice() {
                ["#", "HELP", name, help] if !help.is_empty() => {
                    exposition.helped.insert((*name).to_owned());
                }
                ["#", "TYPE", name, kind] => {
                    exposition.kinds.insert((*name).to_owned(), (*kind).to_owned());
                }
                _ => {
                    let series = exposition
                        .series(line)
                        .unwrap_or_else(|| panic!("not a sample: {line}"));
                    exposition.series.push(series);
                }
            }
        }
        exposition
    }

    fn series(&self, line: &str) -> Option<Series> {
        let (key, value) = line.rsplit_once(' ')?;
        let (name, labels) = key.split_once('{').unwrap_or((key, "}"));
        let mut rest = labels.strip_suffix('}')?;
        let mut pairs = Vec::new();
        while !rest.is_empty() {
            let (label, after) = rest.split_once("=\"")?;
            // No value that is allowed has a quote in it, escaped or not.
            let (value, after) = after.split_once('"')?;
            pairs.push((label.to_owned(), value.to_owned()));
            rest = after.strip_prefix(',').unwrap_or(after);
        }
        let of_histogram = ["_bucket", "_sum", "_count"]
            .into_iter()
            .filter_map(|suffix| name.strip_suffix(suffix))
            .find(|metric| self.kinds.get(*metric).is_some_and(|kind| kind == "histogram"));
        Some(Series {
            metric: of_histogram.unwrap_or(name).to_owned(),
            labels: pairs,
            value: value.parse().ok()?,
        })
    }
}

#[test]
fn a_label_that_holds_a_path_is_read_whole() {
    let text = "# HELP a_seconds Time.\n# TYPE a_seconds histogram\na_seconds_bucket{route=\"/v1/{id}\",le=\"+Inf\"} 2\n";
    let read = Exposition::parse(text);
    let [series] = read.series.as_slice() else {
        panic!("one series");
    };
    assert_eq!((series.metric.as_str(), series.value), ("a_seconds", 2.0));
    assert_eq!(series.labels[0], ("route".to_owned(), "/v1/{id}".to_owned()));
}
