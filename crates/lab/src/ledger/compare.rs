//! The comparison: facts in, differences out.

use std::cmp::Ordering;
use std::collections::BTreeSet;

use crate::ledger::balance::{Balance, Place};
use crate::ledger::facts::{Aggregate, Facts, Generations, Mail, MailKey, Seen, State, Versions};

/// Findings that are told in words; beyond these only the numbers tell.
const TOLD: usize = 20;

impl Balance {
    /// Compares the facts.
    pub fn of(facts: &Facts) -> Balance {
        let mut balance = Balance::default();
        for (aggregate, seen) in &facts.aggregates {
            balance.count_versions(aggregate, seen);
        }
        for ((bucket, currency), pair) in &facts.revenue {
            let difference = balance
                .revenue
                .entry(currency.clone())
                .or_default()
                .add(pair.app, pair.analytics);
            if difference != 0 {
                balance.tell(|| {
                    format!("revenue in {currency} from {bucket} is off by {difference} minor units")
                });
            }
        }
        for ((bucket, product), pair) in &facts.units {
            let difference = balance.units.add(pair.app, pair.analytics);
            if difference != 0 {
                balance.tell(|| format!("units of product {product} from {bucket} are off by {difference}"));
            }
        }
        for (key, mail) in &facts.mails {
            balance.count_mail(key, mail);
        }
        if facts.foreign_messages != 0 {
            balance.mails.ghosts += facts.foreign_messages;
            balance.tell(|| format!("{} messages have no delivery row", facts.foreign_messages));
        }
        balance.beside.undecodable = facts.undecodable;
        balance.beside.dead_letters = facts.dead_letters.clone();
        balance
    }

    fn count_versions(&mut self, aggregate: &Aggregate, seen: &Seen) {
        self.aggregates += i64::from(seen.row > 0);
        let (generation, row) = Generations::split(seen.row);
        let (mut outbox, mut audit) = (Place::default(), Place::default());
        let known = seen.outbox.0.keys().chain(seen.audit.0.keys());
        for each in known.copied().chain([generation]).collect::<BTreeSet<_>>() {
            let (stated, logged) = (seen.outbox.of(each), seen.audit.of(each));
            // How far an earlier generation came is what the restored outbox says.
            let last = match each.cmp(&generation) {
                Ordering::Less => stated.last,
                Ordering::Equal => row,
                Ordering::Greater => 0,
            };
            self.versions += last;
            let in_outbox = compare(last, stated);
            let mut in_audit = compare(last, logged);
            if each < generation {
                self.beside.lost_future += std::mem::take(&mut in_audit.ghosts);
            }
            // The same number of facts, and yet not the same ones.
            let same = stated.events == logged.events && stated.last == logged.last;
            if same && in_outbox.is_clean() && in_audit.is_clean() && stated.fingerprint != logged.fingerprint
            {
                in_audit.ghosts += 1;
            }
            outbox.add(in_outbox);
            audit.add(in_audit);
            // The outbox is read as often as it is written; the log may hold a fact twice, the outbox may not.
            outbox.doubled += stated.rows - stated.events;
            self.beside.duplicates += logged.rows - logged.events;
        }
        let analytics = compare_last(seen.row, seen.analytics);
        for (name, place) in [("outbox", outbox), ("audit", audit), ("analytics", analytics)] {
            if !place.is_clean() {
                let (kind, id) = (aggregate.kind.as_str(), aggregate.id);
                let Place {
                    lost,
                    ghosts,
                    doubled,
                } = place;
                let row = seen.row;
                self.tell(|| {
                    format!("{kind} {id} is at version {row}; {name}: {lost} lost, {ghosts} ghosts, {doubled} doubled")
                });
            }
        }
        self.outbox.add(outbox);
        self.audit.add(audit);
        self.analytics.add(analytics);
    }

    fn count_mail(&mut self, key: &MailKey, mail: &Mail) {
        let mails = &mut self.mails;
        let MailKey { event, template } = key;
        mails.asked += i64::from(mail.asked);
        match mail.state {
            Some(State::Sent) => mails.sent += 1,
            Some(State::Ambiguous) => mails.ambiguous += 1,
            Some(State::Failed) => mails.failed += 1,
            Some(State::Unfinished) | None => {}
        }
        let unrecorded = mail.asked && mail.deliveries == 0;
        let vanished = mail.state == Some(State::Sent) && mail.messages == 0;
        let doubled = (mail.deliveries - 1).max(0) + (mail.messages - 1).max(0);
        let ghost = !mail.asked && mail.deliveries > 0;
        mails.missing += i64::from(unrecorded) + i64::from(vanished);
        mails.doubled += doubled;
        mails.ghosts += i64::from(ghost);
        if unrecorded {
            self.tell(|| format!("event {event} has no {template} mail"));
        }
        if vanished {
            self.tell(|| format!("the {template} mail of event {event} was sent and is not at the server"));
        }
        if doubled > 0 {
            let Mail {
                deliveries, messages, ..
            } = mail;
            self.tell(|| {
                format!("the {template} mail of event {event} has {deliveries} delivery rows and {messages} messages")
            });
        }
        if ghost {
            self.tell(|| format!("the {template} mail of event {event} was asked for by no committed event"));
        }
    }

    fn tell(&mut self, finding: impl FnOnce() -> String) {
        if self.findings.len() < TOLD {
            self.findings.push(finding());
        }
    }
}

/// Holds the last version that a place has seen against the row's. One of another generation lacks, or has, all of the later one's.
fn compare_last(row: i64, seen: i64) -> Place {
    let ((generation, row), (seen_generation, seen)) = (Generations::split(row), Generations::split(seen));
    let (row, seen) = match seen_generation.cmp(&generation) {
        Ordering::Less => (row, 0),
        Ordering::Equal => (row, seen),
        Ordering::Greater => (0, seen),
    };
    Place {
        lost: (row - seen).max(0),
        ghosts: (seen - row).max(0),
        doubled: 0,
    }
}

/// Holds the versions of a place against the row's, which are 1 to `row`. With a gap above the row the numbers are at least these.
fn compare(row: i64, versions: Versions) -> Place {
    let ghosts = (versions.last - row).clamp(0, versions.distinct);
    Place {
        lost: (row - (versions.distinct - ghosts)).max(0),
        ghosts,
        doubled: versions.events - versions.distinct,
    }
}

#[cfg(test)]
mod tests {
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
}
