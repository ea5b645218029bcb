use time::macros::datetime;
use uuid::Uuid;

use super::*;
use crate::ledger::facts::{Kind, Pair, Versions};

fn first(count: i64) -> Versions {
    Versions {
        rows: count,
        events: count,
        distinct: count,
        last: count,
        fingerprint: 7 * count,
    }
}

fn versions(count: i64) -> Generations {
    Generations([(0, first(count))].into())
}

/// Of the first generation.
fn of(generations: &mut Generations) -> &mut Versions {
    generations.0.entry(0).or_default()
}

/// One order at version 3, its confirmation, and what it earned.
fn shop() -> Facts {
    let mut facts = Facts::default();
    *facts.seen(Kind::Order, Uuid::from_u128(1)) = Seen {
        row: 3,
        outbox: versions(3),
        audit: versions(3),
        analytics: 3,
    };
    let bucket = datetime!(2026-01-01 12:15 UTC);
    facts.revenue.insert(
        (bucket, "EUR".to_owned()),
        Pair {
            app: 500,
            analytics: 500,
        },
    );
    facts
        .units
        .insert((bucket, Uuid::from_u128(2)), Pair { app: 5, analytics: 5 });
    *facts.mail(Uuid::from_u128(3), "order_confirmation") = Mail {
        asked: true,
        deliveries: 1,
        state: Some(State::Sent),
        messages: 1,
    };
    facts
}

fn order(facts: &mut Facts) -> &mut Seen {
    facts.seen(Kind::Order, Uuid::from_u128(1))
}

fn confirmation(facts: &mut Facts) -> &mut Mail {
    facts.mail(Uuid::from_u128(3), "order_confirmation")
}

#[test]
fn a_shop_in_order_balances() {
    let balance = Balance::of(&shop());
    assert!(balance.balances(), "{balance:?}");
    assert_eq!(
        (balance.aggregates, balance.versions, balance.mails.sent),
        (1, 3, 1)
    );
}

#[test]
fn what_may_happen_is_counted_beside() {
    let mut facts = shop();
    of(&mut order(&mut facts).audit).rows += 2;
    facts.undecodable = 1;
    confirmation(&mut facts).state = Some(State::Ambiguous);
    confirmation(&mut facts).messages = 0;
    let balance = Balance::of(&facts);
    assert!(balance.balances(), "{balance:?}");
    assert_eq!(
        (
            balance.beside.duplicates,
            balance.beside.undecodable,
            balance.mails.ambiguous
        ),
        (2, 1, 1)
    );
}

#[test]
fn every_difference_is_reported() {
    let check = |spoil: &dyn Fn(&mut Facts), expected: &str| {
        let mut facts = shop();
        spoil(&mut facts);
        let balance = Balance::of(&facts);
        assert!(!balance.balances(), "{expected}");
        assert!(
            balance.findings.iter().any(|told| told.contains(expected)),
            "{:?}: {expected}",
            balance.findings
        );
    };
    check(
        &|facts| order(facts).audit = versions(2),
        "audit: 1 lost, 0 ghosts, 0 doubled",
    );
    check(
        &|facts| of(&mut order(facts).audit).distinct = 2,
        "audit: 1 lost, 0 ghosts, 1 doubled",
    );
    check(
        &|facts| order(facts).audit = versions(4),
        "audit: 0 lost, 1 ghosts",
    );
    check(
        &|facts| of(&mut order(facts).audit).events = 4,
        "audit: 0 lost, 0 ghosts, 1 doubled",
    );
    check(
        &|facts| of(&mut order(facts).audit).fingerprint = 1,
        "audit: 0 lost, 1 ghosts",
    );
    check(&|facts| order(facts).outbox = versions(2), "outbox: 1 lost");
    check(
        &|facts| of(&mut order(facts).outbox).rows = 4,
        "outbox: 0 lost, 0 ghosts, 1 doubled",
    );
    check(&|facts| order(facts).analytics = 2, "analytics: 1 lost");
    check(&|facts| order(facts).analytics = 4, "analytics: 0 lost, 1 ghosts");
    check(&|facts| order(facts).row = 0, "audit: 0 lost, 3 ghosts");
    check(&|facts| order(facts).row = 4, "outbox: 1 lost");
    check(
        &|facts| confirmation(facts).deliveries = 0,
        "has no order_confirmation mail",
    );
    check(
        &|facts| confirmation(facts).deliveries = 2,
        "2 delivery rows and 1 messages",
    );
    check(
        &|facts| confirmation(facts).messages = 2,
        "1 delivery rows and 2 messages",
    );
    check(&|facts| confirmation(facts).messages = 0, "is not at the server");
    check(
        &|facts| confirmation(facts).asked = false,
        "asked for by no committed event",
    );
    check(
        &|facts| facts.foreign_messages = 1,
        "1 messages have no delivery row",
    );
}

/// The order of [`shop`], restored to version 2 when it was at 3, restated, and changed once more.
fn restored() -> Facts {
    let mut facts = shop();
    facts.generation = 1;
    let second = (1, first(2));
    let version = (1 << 40) + 2;
    *order(&mut facts) = Seen {
        row: version,
        outbox: Generations([(0, first(2)), second].into()),
        audit: Generations([(0, first(3)), second].into()),
        analytics: version,
    };
    facts
}

#[test]
fn versions_of_a_lost_future_are_counted_beside_and_those_of_the_next_generation_are_compared() {
    let balance = Balance::of(&restored());
    assert!(balance.balances(), "{balance:?}");
    assert_eq!((balance.versions, balance.beside.lost_future), (4, 1));
    let check = |spoil: &dyn Fn(&mut Seen), expected: &str| {
        let mut facts = restored();
        spoil(order(&mut facts));
        let balance = Balance::of(&facts);
        assert!(
            balance.findings.iter().any(|told| told.contains(expected)),
            "{:?}: {expected}",
            balance.findings
        );
    };
    check(&|seen| seen.row += 1, "outbox: 1 lost, 0 ghosts, 0 doubled");
    check(
        &|seen| {
            seen.audit.0.insert(1, first(1));
        },
        "audit: 1 lost",
    );
    check(
        &|seen| {
            seen.audit.0.insert(1, first(3));
        },
        "audit: 0 lost, 1 ghosts",
    );
    check(
        &|seen| {
            seen.audit.0.insert(0, first(1));
        },
        "audit: 1 lost",
    );
    check(
        &|seen| {
            seen.audit.0.remove(&1);
        },
        "audit: 2 lost",
    );
    check(&|seen| of(&mut seen.outbox).distinct = 1, "outbox: 1 lost");
    check(&|seen| seen.analytics = 3, "analytics: 2 lost");
    check(&|seen| seen.analytics += 1, "analytics: 0 lost, 1 ghosts");
    check(&|seen| seen.row = 2, "audit: 0 lost, 3 ghosts");
}

#[test]
fn differences_of_buckets_do_not_cancel_out() {
    let mut facts = shop();
    let next = datetime!(2026-01-01 12:30 UTC);
    for (bucket, analytics) in [(datetime!(2026-01-01 12:15 UTC), 600), (next, 400)] {
        facts
            .revenue
            .insert((bucket, "EUR".to_owned()), Pair { app: 500, analytics });
    }
    let balance = Balance::of(&facts);
    assert!(!balance.balances());
    assert_eq!(balance.revenue["EUR"].difference, 200);
    let mut facts = shop();
    facts.units.values_mut().for_each(|pair| pair.analytics = 4);
    assert!(!Balance::of(&facts).balances());
}

#[test]
fn a_parked_record_is_a_difference() {
    let mut facts = shop();
    facts.dead_letters.insert("analytics", 1);
    assert!(!Balance::of(&facts).balances());
}

#[test]
fn what_only_a_lost_future_knew_is_a_ghost_unless_the_database_was_restored() {
    let mut facts = restored();
    *facts.seen(Kind::Order, Uuid::from_u128(9)) = Seen {
        row: 0,
        outbox: Generations::default(),
        audit: versions(3),
        analytics: 3,
    };
    let balance = Balance::of(&facts);
    assert!(balance.balances(), "{balance:?}");
    assert_eq!(balance.beside.lost_future, 4);
    facts.generation = 0;
    let balance = Balance::of(&facts);
    assert_eq!((balance.audit.ghosts, balance.analytics.ghosts), (3, 3));
    // One that was made after the restore is none of the lost.
    facts.generation = 1;
    facts.seen(Kind::Order, Uuid::from_u128(9)).audit = Generations([(1, first(2))].into());
    facts.seen(Kind::Order, Uuid::from_u128(9)).analytics = (1 << 40) + 2;
    let balance = Balance::of(&facts);
    assert_eq!((balance.audit.ghosts, balance.analytics.ghosts > 0), (2, true));
}
