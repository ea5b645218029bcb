use std::time::Duration;

use gateway::limit::{Limiter, Quota};
use proptest::prelude::*;

use crate::wrong;

/// Rate, nanoseconds of `per`, and burst.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Numbers {
    pub(crate) rate: u32,
    pub(crate) per: u64,
    pub(crate) burst: u32,
}

impl Numbers {
    fn quota(self) -> Quota {
        Quota::new(self.rate, Duration::from_nanos(self.per), self.burst).unwrap()
    }

    /// Two of the admitted times between which more was admitted than `burst + rate · t`.
    fn broken_window(self, admitted: &[u64]) -> Option<(u64, u64)> {
        let windows = |first: usize| (first..admitted.len()).map(move |last| (first, last));
        (0..admitted.len()).flat_map(windows).find_map(|(first, last)| {
            let count = u128::try_from(last - first + 1).unwrap();
            let length = u128::from(admitted[last] - admitted[first]);
            // count > burst + rate · length / per, without the division.
            let allowed = u128::from(self.burst) * u128::from(self.per) + u128::from(self.rate) * length;
            (count * u128::from(self.per) > allowed).then(|| (admitted[first], admitted[last]))
        })
    }
}

/// The times, of those of `gaps` after each other, at which `admit` said yes.
fn admitted(gaps: &[u64], mut admit: impl FnMut(u64) -> bool) -> Vec<u64> {
    let mut now = 0;
    let times = gaps.iter().map(|gap| {
        now += gap;
        now
    });
    let times: Vec<u64> = times.collect();
    times.into_iter().filter(|now| admit(*now)).collect()
}

/// Some with a rate so high that a request costs a few nanoseconds, where rounding tells.
fn numbers() -> impl Strategy<Value = Numbers> {
    let rate = prop_oneof![1u32..50, 400_000u32..=1_000_000];
    (
        rate,
        prop_oneof![1_000_000u64..2_000_000, 1_000_000u64..2_000_000_000],
        1u32..20,
    )
        .prop_map(|(rate, per, burst)| Numbers { rate, per, burst })
}

/// Gaps around what one request costs, with pauses and with moments in which many come at once.
fn gaps(numbers: Numbers) -> impl Strategy<Value = (Numbers, Vec<u64>)> {
    let cost = numbers.per / u64::from(numbers.rate) + 1;
    let gap = prop_oneof![Just(0), 0..cost, 0..cost * 4, 0..cost * 64];
    prop::collection::vec(gap, 1..200).prop_map(move |gaps| (numbers, gaps))
}

fn nanos(now: u64) -> Duration {
    Duration::from_nanos(now)
}

proptest! {
    #[test]
    fn no_window_admits_more_than_burst_and_rate((numbers, gaps) in numbers().prop_flat_map(gaps)) {
        let limiter = Limiter::new(numbers.quota(), 1024);
        let admitted = admitted(&gaps, |now| limiter.admit_at("key", nanos(now)).is_ok());
        prop_assert_eq!(numbers.broken_window(&admitted), None);
    }

    #[test]
    fn who_waits_as_long_as_told_is_admitted((numbers, gaps) in numbers().prop_flat_map(gaps)) {
        let limiter = Limiter::new(numbers.quota(), 1024);
        let mut now = 0;
        for gap in gaps {
            now += gap;
            if let Err(wait) = limiter.admit_at("key", nanos(now)) {
                let just_before = nanos(now) + wait - Duration::from_nanos(1);
                prop_assert!(limiter.admit_at("key", just_before).is_err());
                now += u64::try_from(wait.as_nanos()).unwrap();
                prop_assert!(limiter.admit_at("key", nanos(now)).is_ok());
            }
        }
    }

    /// With room for no key at all, everybody shares buckets: still nobody gets more.
    #[test]
    fn a_key_without_a_bucket_of_its_own_gets_no_more((numbers, gaps) in numbers().prop_flat_map(gaps)) {
        let limiter = Limiter::new(numbers.quota(), 0);
        let admitted = admitted(&gaps, |now| limiter.admit_at("key", nanos(now)).is_ok());
        prop_assert_eq!(numbers.broken_window(&admitted), None);
    }
}

/// The property is worth something: the usual counter per fixed window breaks it at the border of two windows.
#[test]
fn the_property_catches_a_counter_per_fixed_window() {
    let numbers = Numbers {
        rate: 10,
        per: 1_000_000_000,
        burst: 10,
    };
    let mut counter = wrong::FixedWindow::new(numbers);
    // Ten at the end of one window, ten at the beginning of the next.
    let gaps: Vec<u64> = [vec![900_000_000], vec![0; 9], vec![100_000_000], vec![0; 9]].concat();
    let by_counter = admitted(&gaps, |now| counter.admit(now));
    assert_eq!(by_counter.len(), 20);
    assert!(numbers.broken_window(&by_counter).is_some());

    let limiter = Limiter::new(numbers.quota(), 1024);
    let by_gcra = admitted(&gaps, |now| limiter.admit_at("key", nanos(now)).is_ok());
    assert_eq!(numbers.broken_window(&by_gcra), None);
}

/// Floods `admit` with other keys and returns whether the key that was at its limit before is still refused after.
fn survives_flood(mut admit: impl FnMut(&str, Duration) -> bool) -> bool {
    while admit("mallory", Duration::ZERO) {}
    for number in 0..100_000u32 {
        // Time goes on, but not enough for anybody's bucket to be full again.
        admit(
            &format!("other-{number}"),
            Duration::from_micros(u64::from(number) * 50),
        );
    }
    !admit("mallory", Duration::from_secs(5))
}

#[test]
fn a_flood_of_keys_resets_nobody_s_limit_and_takes_no_more_memory() {
    let quota = Quota::new(1, Duration::from_secs(60), 3).unwrap();
    let limiter = Limiter::new(quota, 1000);
    assert!(survives_flood(|key, now| limiter.admit_at(key, now).is_ok()));
    assert!(limiter.keys() <= 1008, "{} keys", limiter.keys());

    let mut forgetful = wrong::Forgetful::new(quota, 1000);
    assert!(!survives_flood(|key, now| forgetful.admit(key, now)));
}

#[test]
fn keys_whose_buckets_are_full_again_make_room() {
    let quota = Quota::new(1, Duration::from_secs(1), 1).unwrap();
    let limiter = Limiter::new(quota, 1600);
    for number in 0..10_000 {
        let _ = limiter.admit_at(&number, Duration::ZERO);
    }
    assert_eq!(limiter.keys(), 1600);
    for number in 10_000..10_500 {
        assert!(
            limiter.admit_at(&number, Duration::from_secs(10)).is_ok(),
            "{number}"
        );
    }
    assert_eq!(limiter.keys(), 500);
}

#[test]
fn a_key_whose_bucket_is_not_full_makes_no_room() {
    let quota = Quota::new(1, Duration::from_secs(60), 1).unwrap();
    // One key in each of 16 shards, and the others in shared buckets.
    let limiter = Limiter::new(quota, 16);
    assert!(limiter.admit_at("mallory", Duration::ZERO).is_ok());
    for number in 0..64 {
        let _ = limiter.admit_at(&number, Duration::from_secs(2));
    }
    assert!(limiter.admit_at("mallory", Duration::from_secs(3)).is_err());
}

#[test]
fn what_a_key_spent_from_a_shared_bucket_stays_spent_when_it_gets_its_own() {
    let quota = Quota::new(1, Duration::from_secs(10), 1).unwrap();
    let limiter = Limiter::new(quota, 16);
    for number in 0..64 {
        let _ = limiter.admit_at(&("early", number), Duration::ZERO);
    }
    let admit = |number: i32, seconds| limiter.admit_at(&number, Duration::from_secs(seconds)).is_ok();
    let shared: Vec<bool> = (0..100).map(|number| admit(number, 9)).collect();
    // By now the early keys have made room.
    let own: Vec<bool> = (0..100).map(|number| admit(number, 11)).collect();
    let twice = shared.iter().zip(&own).filter(|(at_9, at_11)| **at_9 && **at_11);
    assert_eq!(twice.count(), 0);
}
