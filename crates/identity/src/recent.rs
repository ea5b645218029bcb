//! A bounded map of what was asked for recently.

use std::collections::HashMap;
use std::hash::Hash;
use std::mem;

/// Two halves: what is used moves into the younger one, and when that is full, it becomes the older one, and what nobody has asked for
/// since is dropped with the former older one. Every step costs the same, however much a flood of new keys drops.
pub(crate) struct Recent<K, V> {
    half: usize,
    young: HashMap<K, V>,
    old: HashMap<K, V>,
}

impl<K: Eq + Hash + Clone, V> Recent<K, V> {
    /// At most `most` entries.
    pub(crate) fn new(most: usize) -> Recent<K, V> {
        Recent {
            half: (most / 2).max(1),
            young: HashMap::new(),
            old: HashMap::new(),
        }
    }

    pub(crate) fn find(&mut self, key: &K) -> Option<&V> {
        // An empty map would hash the key all the same.
        if !self.old.is_empty()
            && let Some((key, value)) = self.old.remove_entry(key)
        {
            self.keep(key, value);
        }
        self.young.get(key)
    }

    pub(crate) fn keep(&mut self, key: K, value: V) {
        if self.young.len() >= self.half && !self.young.contains_key(&key) {
            self.old = mem::take(&mut self.young);
        }
        self.young.insert(key, value);
    }

    pub(crate) fn clear(&mut self) {
        self.young.clear();
        self.old.clear();
    }

    #[cfg(test)]
    pub(crate) fn len(&self) -> usize {
        self.young.len() + self.old.len()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_flood_of_keys_is_bounded_and_spares_what_is_asked_for() {
        let mut recent = Recent::new(8);
        recent.keep(0, "regular");
        for key in 1..10_000 {
            recent.keep(key, "flood");
            assert!(recent.len() <= 8);
            assert_eq!(recent.find(&0), Some(&"regular"), "after {key}");
        }
        assert_eq!(recent.find(&1), None);
    }
}
