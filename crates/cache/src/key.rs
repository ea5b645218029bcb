//! Names of entries: typed outside, text inside.

use std::fmt::{self, Display, Write as _};

/// What names an entry of a namespace. Its text stands in a Redis key, so it must be the same in every process and
/// release, and different for different entries.
pub trait Key: Display + Clone + Send + Sync + 'static {}

impl<T: Display + Clone + Send + Sync + 'static> Key for T {}

/// The longest Redis key. Redis takes 512 MB, compares and stores every byte; nothing that names a row needs more.
pub(crate) const LONGEST: usize = 256;

/// Whether it may stand in a key beside braces and colons, which have a meaning there.
pub(crate) fn is_plain(text: &str) -> bool {
    let plain = |byte: u8| byte.is_ascii_alphanumeric() || b"-_.".contains(&byte);
    text.len() <= 40 && text.bytes().all(plain)
}

/// The two Redis keys of an entry. The braces put both into one slot of a cluster.
#[derive(Clone, Debug)]
pub(crate) struct Keys {
    pub(crate) data: String,
    pub(crate) control: String,
}

impl Keys {
    /// `None` when the key is too long to be stored.
    pub(crate) fn of(scope: &str, namespace: &str, key: &impl Display) -> Option<Keys> {
        data(scope, namespace, key).map(Keys::of_data)
    }

    pub(crate) fn of_data(data: String) -> Keys {
        let mut control = data.clone();
        control.pop();
        control.push('c');
        Keys { data, control }
    }

    pub(crate) fn both(&self) -> [&str; 2] {
        [&self.data, &self.control]
    }
}

/// The data key alone: all that a hit needs.
pub(crate) fn data(scope: &str, namespace: &str, key: &impl Display) -> Option<String> {
    let mut data = String::with_capacity(64);
    data.push_str("c1:");
    if !scope.is_empty() {
        data.push_str(scope);
        data.push(':');
    }
    let written: fmt::Result = write!(data, "{{{namespace}:{key}}}:d");
    (written.is_ok() && data.len() <= LONGEST).then_some(data)
}

/// A key that belongs to no entry.
pub(crate) fn of_cache(scope: &str, name: &str) -> String {
    if scope.is_empty() {
        format!("c1:{name}")
    } else {
        format!("c1:{scope}:{name}")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn both_keys_of_an_entry_are_in_one_slot() {
        let keys = Keys::of("", "product", &7).unwrap();
        assert_eq!(keys.both(), ["c1:{product:7}:d", "c1:{product:7}:c"]);
        assert_eq!(
            Keys::of("blue", "product", &7).unwrap().data,
            "c1:blue:{product:7}:d"
        );
        assert_eq!(of_cache("blue", "watermark"), "c1:blue:watermark");
    }

    #[test]
    fn a_key_that_is_too_long_is_none() {
        assert!(Keys::of("", "product", &"x".repeat(LONGEST)).is_none());
    }
}
