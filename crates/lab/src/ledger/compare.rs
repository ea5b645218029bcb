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
            balance.count_versions(aggregate, seen, facts.generation);
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

    fn count_versions(&mut self, aggregate: &Aggregate, seen: &Seen, current: i64) {
        self.aggregates += i64::from(seen.row > 0);
        // Without a row nothing was restated: all that is known of it is from before the last restore.
        let (generation, row) = match seen.row {
            0 => (current, 0),
            row => Generations::split(row),
        };
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
        let mut analytics = compare_last(seen.row, seen.analytics);
        if seen.row == 0 && Generations::split(seen.analytics).0 < current {
            // The log counts it.
            analytics = Place::default();
        }
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
mod tests;
