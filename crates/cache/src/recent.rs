//! What a process remembers for a while: loads that failed or are slow, what was loaded while Redis did not answer, and what is too
//! large for it.

use std::collections::HashMap;
use std::sync::Mutex;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use tokio::time::Instant;

const SECOND: Duration = Duration::from_secs(1);
/// What does not fit is not remembered.
const LARGEST: usize = 1000;
const UNPOISONED: &str = "nothing panics while it holds the lock";

pub(crate) struct Recent<V> {
    keep: Duration,
    entries: Mutex<Entries<V>>,
    /// A copy, so that who has nothing to forget takes no lock.
    empty: AtomicBool,
}

struct Entries<V> {
    by_key: HashMap<String, (Instant, V)>,
    /// When those that are too old were last looked for.
    swept: Option<Instant>,
    /// Of the newest one.
    since: Option<Instant>,
}

impl<V: Clone> Recent<V> {
    /// Remembers each value for so long.
    pub(crate) fn new(keep: Duration) -> Recent<V> {
        Recent {
            keep,
            entries: Mutex::new(Entries::new()),
            empty: AtomicBool::new(true),
        }
    }

    pub(crate) fn get(&self, key: &str) -> Option<V> {
        if self.empty.load(Ordering::Relaxed) {
            return None;
        }
        let entries = self.entries.lock().expect(UNPOISONED);
        let (since, value) = entries.by_key.get(key)?;
        (since.elapsed() < self.keep).then(|| value.clone())
    }

    /// `since` is when the value was true: before it was asked for.
    pub(crate) fn insert(&self, key: &str, since: Instant, value: V) {
        let mut entries = self.entries.lock().expect(UNPOISONED);
        if entries.by_key.len() >= LARGEST {
            entries.sweep(self.keep);
        }
        if entries.by_key.len() < LARGEST {
            entries.by_key.insert(key.to_owned(), (since, value));
            entries.since = entries.since.max(Some(since));
            self.empty.store(false, Ordering::Relaxed);
        }
    }

    /// Forgets this one, or everything with its memory when all are too old.
    pub(crate) fn remove(&self, key: &str) {
        if self.empty.load(Ordering::Relaxed) {
            return;
        }
        let mut entries = self.entries.lock().expect(UNPOISONED);
        if entries.since.is_none_or(|since| since.elapsed() >= self.keep) {
            *entries = Entries::new();
            self.empty.store(true, Ordering::Relaxed);
        } else {
            entries.by_key.remove(key);
        }
    }

    pub(crate) fn clear(&self) {
        *self.entries.lock().expect(UNPOISONED) = Entries::new();
        self.empty.store(true, Ordering::Relaxed);
    }
}

impl<V> Entries<V> {
    fn new() -> Entries<V> {
        Entries {
            by_key: HashMap::new(),
            swept: None,
            since: None,
        }
    }

    /// Looks at all of them under the lock, so at most once a second.
    fn sweep(&mut self, keep: Duration) {
        if self.swept.is_some_and(|swept| swept.elapsed() < SECOND) {
            return;
        }
        self.swept = Some(Instant::now());
        self.by_key.retain(|_, (since, _)| since.elapsed() < keep);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test(start_paused = true)]
    async fn it_forgets_after_a_while_and_holds_so_many() {
        let recent = Recent::new(SECOND);
        recent.insert("a", Instant::now(), 1);
        assert_eq!(recent.get("a"), Some(1));
        tokio::time::advance(SECOND).await;
        assert_eq!(recent.get("a"), None);
        for key in 0..2 * LARGEST {
            recent.insert(&key.to_string(), Instant::now(), 1);
        }
        let len = || recent.entries.lock().unwrap().by_key.len();
        assert_eq!(len(), LARGEST);
        tokio::time::advance(SECOND).await;
        recent.insert("b", Instant::now(), 2);
        recent.insert("c", Instant::now(), 3);
        assert_eq!(len(), 2);
        recent.remove("b");
        assert_eq!((recent.get("b"), recent.get("c")), (None, Some(3)));
        tokio::time::advance(SECOND).await;
        recent.remove("b");
        assert_eq!(len(), 0);
        recent.insert("d", Instant::now(), 4);
        recent.clear();
        assert_eq!((len(), recent.get("d")), (0, None));
    }

    #[tokio::test(start_paused = true)]
    async fn it_looks_for_old_entries_once_a_second() {
        let recent = Recent::new(SECOND);
        let since = Instant::now();
        tokio::time::advance(SECOND / 2).await;
        for key in 0..LARGEST {
            recent.insert(&key.to_string(), since, 1);
        }
        // A sweep that finds nothing.
        recent.insert("a", Instant::now(), 1);
        tokio::time::advance(SECOND / 2).await;
        recent.insert("b", Instant::now(), 1);
        assert_eq!(
            recent.get("b"),
            None,
            "all are too old, and nobody has looked again"
        );
        tokio::time::advance(SECOND / 2).await;
        recent.insert("c", Instant::now(), 1);
        assert_eq!(recent.get("c"), Some(1));
    }
}
