//! The ledger as a reader sees it.

use std::fmt;

use crate::ledger::balance::{Balance, Place};
use crate::ledger::{Ledger, Verdict};
use crate::table::{Table, number};

impl fmt::Display for Ledger {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.balance.fmt(f)?;
        if self.settled {
            for finding in &self.balance.findings {
                writeln!(f, "  {finding}")?;
            }
        } else {
            writeln!(f, "differences may be work that is not done yet")?;
        }
        match self.verdict() {
            Verdict::Balanced => writeln!(f, "the ledger balances"),
            Verdict::NotBalanced => writeln!(f, "the ledger does NOT balance"),
            Verdict::CatchingUp if self.behind.is_nothing() => {
                writeln!(
                    f,
                    "catching up: facts were committed while the databases were read"
                )
            }
            Verdict::CatchingUp => writeln!(f, "catching up: {}", self.behind),
        }
    }
}

impl fmt::Display for Balance {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (aggregates, versions) = (number(self.aggregates), number(self.versions));
        writeln!(f, "{aggregates} aggregates, {versions} committed versions\n")?;
        let mut places = Table::new(["", "lost", "doubled", "ghosts"]);
        let mut row = |name: &str,
                       Place {
                           lost,
                           ghosts,
                           doubled,
                       }: Place| {
            places.row([name.to_owned(), number(lost), number(doubled), number(ghosts)]);
        };
        row("facts in the outbox", self.outbox);
        row("facts in audit", self.audit);
        row("versions in analytics", self.analytics);
        let mails = &self.mails;
        row(
            "mails",
            Place {
                lost: mails.missing,
                ghosts: mails.ghosts,
                doubled: mails.doubled,
            },
        );
        writeln!(f, "{}", places.render())?;
        let mut sums = Table::new(["", "orders", "analytics", "difference"]);
        for (currency, sum) in &self.revenue {
            let name = format!("revenue, {currency} minor units");
            sums.row([
                name,
                number(sum.app),
                number(sum.analytics),
                number(sum.difference),
            ]);
        }
        let units = &self.units;
        sums.row([
            "units".to_owned(),
            number(units.app),
            number(units.analytics),
            number(units.difference),
        ]);
        writeln!(f, "{}", sums.render())?;
        let [asked, sent] = [mails.asked, mails.sent].map(number);
        let [ambiguous, failed] = [mails.ambiguous, mails.failed].map(number);
        writeln!(
            f,
            "mails: {asked} asked for, {sent} sent, {ambiguous} ambiguous, {failed} failed"
        )?;
        let beside = &self.beside;
        let parked = number(beside.dead_letters.values().sum());
        let counted = [beside.duplicates, beside.undecodable, beside.lost_future];
        let [duplicates, undecodable, lost_future] = counted.map(number);
        writeln!(
            f,
            "beside: {duplicates} duplicates, {undecodable} undecodable, {parked} dead letters, {lost_future} known only to a lost future"
        )?;
        Ok(())
    }
}
