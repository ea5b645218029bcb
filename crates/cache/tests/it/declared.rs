//! What a cache refuses to be built with.

use std::time::Duration;

use cache::{Cache, LoadError, Loaded, Policy, Source};

use crate::shelf::{process, settings};

const NAMES: [&str; 6] = [
    "right",
    "",
    "with:colon",
    "with{brace}",
    "forty-one-letters-are-one-more-than-names",
    "wrong",
];

struct Named<const NAME: usize>;

impl<const NAME: usize> Source for Named<NAME> {
    const NAMESPACE: &'static str = NAMES[NAME];
    const SCHEMA: u16 = 1;
    type Key = u8;

    async fn load(&self, _: &u8) -> Result<Option<Loaded>, LoadError> {
        Ok(None)
    }
}

fn refused<const NAME: usize>(cache: &Cache, policy: Policy) -> String {
    cache.namespace(Named::<NAME>, policy).unwrap_err().to_string()
}

#[tokio::test]
async fn a_namespace_that_cannot_be_right_is_refused_with_its_name() {
    let cache = process(&settings("redis://127.0.0.1:1")).await;
    let usual = Policy::default();
    cache.namespace(Named::<0>, usual).unwrap();
    assert!(refused::<0>(&cache, usual).contains("\"right\": it is declared twice"));
    for fault in [
        refused::<1>(&cache, usual),
        refused::<2>(&cache, usual),
        refused::<3>(&cache, usual),
        refused::<4>(&cache, usual),
    ] {
        assert!(fault.contains("a name is 1 to 40 letters"), "{fault}");
    }
    let policy = Policy {
        soft_ttl: Duration::ZERO,
        ..usual
    };
    let fault = refused::<5>(&cache, policy);
    assert!(fault.contains("\"wrong\": soft_ttl is 0ns"), "{fault}");
    cache.namespace(Named::<5>, usual).unwrap();

    // In another cache it is another namespace.
    let other = process(&settings("redis://127.0.0.1:1")).await;
    other.namespace(Named::<0>, usual).unwrap();
}
