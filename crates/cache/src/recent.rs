//! What a process remembers for one second: loads that failed, and, while Redis is out of reach, what was loaded.

use std::collections::HashMap;
use std::sync::Mutex;
use std::time::Duration;

use tokio::time::Instant;

const SECOND: Duration = Duration::from_secs(1);
/// What does not fit is not remembered.
const LARGEST: usize = 1000;
const UNPOISONED: &str = "nothing panics while it holds the lock";

pub(crate) struct Recent<V>(Mutex<HashMap<String, (Instant, V)>>);

impl<V: Clone> Recent<V> {
    pub(crate) fn new() -> Recent<V> {
        Recent(Mutex::new(HashMap::new()))
    }

    pub(crate) fn get(&self, key: &str) -> Option<V> {
        let entries = self.0.lock().expect(UNPOISONED);
        let (since, value) = entries.get(key)?;
        (since.elapsed() < SECOND).then(|| value.clone())
    }

    /// `since` is when the value was true: before it was asked for.
    pub(crate) fn insert(&self, key: &str, since: Instant, value: V) {
        let mut entries = self.0.lock().expect(UNPOISONED);
        if entries.len() >= LARGEST {
            entries.retain(|_, (since, _)| since.elapsed() < SECOND);
        }
        if entries.len() < LARGEST {
            entries.insert(key.to_owned(), (since, value));
        }
    }

    pub(crate) fn remove(&self, key: &str) {
        self.0.lock().expect(UNPOISONED).remove(key);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test(start_paused = true)]
    async fn it_forgets_after_a_second_and_holds_so_many() {
        let recent = Recent::new();
        recent.insert("a", Instant::now(), 1);
        assert_eq!(recent.get("a"), Some(1));
        tokio::time::advance(SECOND).await;
        assert_eq!(recent.get("a"), None);
        for key in 0..2 * LARGEST {
            recent.insert(&key.to_string(), Instant::now(), 1);
        }
        assert_eq!(recent.0.lock().unwrap().len(), LARGEST);
        tokio::time::advance(SECOND).await;
        recent.insert("b", Instant::now(), 2);
        assert_eq!(recent.0.lock().unwrap().len(), 1);
    }
}
