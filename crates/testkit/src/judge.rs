use std::collections::{BTreeMap, BTreeSet, HashMap, HashSet};
use std::fmt;

use uuid::Uuid;

/// An aggregate and one of its versions.
pub type Version = (Uuid, i64);

/// What is wrong with what was published; all zero but `duplicates` when nothing is.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Verdict {
    /// Committed and never published.
    pub lost: usize,
    /// Published and never committed.
    pub ghosts: usize,
    /// First copies that came after the first copy of a higher version of the same aggregate.
    pub inverted: usize,
    /// Copies beyond the first, which at-least-once allows.
    pub duplicates: usize,
    /// The first few of the above, duplicates left out.
    pub examples: Vec<String>,
}

impl Verdict {
    /// Nothing lost, no ghosts, first copies in order.
    pub fn is_clean(&self) -> bool {
        self.lost + self.ghosts + self.inverted == 0
    }

    fn example(&mut self, text: impl FnOnce() -> String) {
        if self.examples.len() < 10 {
            self.examples.push(text());
        }
    }
}

impl fmt::Display for Verdict {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Verdict {
            lost,
            ghosts,
            inverted,
            duplicates,
            examples,
        } = self;
        write!(
            f,
            "{lost} lost, {ghosts} ghosts, {inverted} inverted, {duplicates} duplicates"
        )?;
        examples.iter().try_for_each(|example| write!(f, "\n{example}"))
    }
}

/// Compares every version that was committed (by a table that is written in the same transactions) with what a reader
/// saw, in its order; for a topic, the order within each partition is enough.
pub fn judge(
    committed: impl IntoIterator<Item = Version>,
    published: impl IntoIterator<Item = Version>,
) -> Verdict {
    let mut expected: BTreeMap<Uuid, BTreeSet<i64>> = BTreeMap::new();
    for (aggregate, version) in committed {
        expected.entry(aggregate).or_default().insert(version);
    }
    let mut verdict = Verdict::default();
    let mut seen: HashSet<Version> = HashSet::new();
    let mut newest: HashMap<Uuid, i64> = HashMap::new();
    for (aggregate, version) in published {
        if !seen.insert((aggregate, version)) {
            verdict.duplicates += 1;
            continue;
        }
        if !expected
            .get(&aggregate)
            .is_some_and(|versions| versions.contains(&version))
        {
            verdict.ghosts += 1;
            verdict.example(|| format!("{aggregate}: {version} was never committed"));
        }
        let newest = newest.entry(aggregate).or_insert(version);
        if version < *newest {
            verdict.inverted += 1;
            verdict.example(|| format!("{aggregate}: {version} first appears after {newest}"));
        }
        *newest = version.max(*newest);
    }
    for (aggregate, versions) in expected {
        for version in versions {
            if !seen.contains(&(aggregate, version)) {
                verdict.lost += 1;
                verdict.example(|| format!("{aggregate}: {version} was committed and is missing"));
            }
        }
    }
    verdict
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_loss_an_inversion_and_a_ghost_are_counted_and_duplicates_are_allowed() {
        let id = Uuid::from_u128(7);
        let check = |published: &[i64], lost, ghosts, inverted, duplicates| {
            let verdict = judge(
                [1, 2, 3].map(|version| (id, version)),
                published.iter().map(|version| (id, *version)),
            );
            let counts = (verdict.lost, verdict.ghosts, verdict.inverted, verdict.duplicates);
            assert_eq!(counts, (lost, ghosts, inverted, duplicates), "{published:?}");
        };
        check(&[1, 2, 3], 0, 0, 0, 0);
        check(&[1, 2, 1, 2, 3], 0, 0, 0, 2);
        check(&[1, 2], 1, 0, 0, 0);
        check(&[1, 3, 2], 0, 0, 1, 0);
        check(&[1, 2, 3, 4], 0, 1, 0, 0);
        check(&[2, 3], 1, 0, 0, 0);
    }
}
