//! The ledger on the real databases: it balances, and reports each thing that is then spoilt.

use std::sync::Arc;
use std::time::Duration;

use diesel_async::SimpleAsyncConnection as _;
use lab::ledger::balance::Balance;
use lab::ledger::sources::Sources;
use lab::ledger::{Ledger, Verdict};
use lab::load::Load;
use lab::load::shop::Shop;
use testkit::eventually;
use tokio::io::{AsyncBufReadExt as _, AsyncWriteExt as _, BufReader};
use tokio::net::TcpStream;

use crate::whole::{self, WholeStack};

/// Longer than the consumers need to catch up, on a busy machine as well.
const SETTLE: Duration = Duration::from_secs(120);

#[tokio::test(flavor = "multi_thread")]
async fn a_lost_fact_a_double_fold_and_a_repeated_mail_are_reported() {
    let whole = whole::start("ledger", vec![]).await;
    let sources = Sources::of(&whole.stack).unwrap();
    sell_for_a_while(&whole, &sources).await;
    let balanced = read(&sources).await;
    assert_eq!(balanced.verdict(), Verdict::Balanced, "{balanced}");
    let Balance {
        versions,
        mails,
        units,
        ..
    } = &balanced.balance;
    assert!(*versions > 100 && mails.sent > 20 && units.app > 0, "{balanced}");

    // Each control is undone before the next, so that each is seen by itself.
    for (spoil, undo, expected) in [
        (
            "CREATE TABLE kept AS SELECT * FROM audit_event WHERE aggregate_type = 'order' ORDER BY stored_at LIMIT 1;
             DELETE FROM audit_event USING kept
             WHERE (audit_event.topic, audit_event.partition, audit_event.\"offset\")
                 = (kept.topic, kept.partition, kept.\"offset\")",
            "INSERT INTO audit_event SELECT * FROM kept; DROP TABLE kept",
            Spoilt::Fact,
        ),
        (
            "CREATE TABLE kept AS SELECT * FROM revenue_bucket WHERE revenue_minor <> 0 LIMIT 1;
             UPDATE revenue_bucket SET revenue_minor = revenue_bucket.revenue_minor + 200 FROM kept
             WHERE (revenue_bucket.bucket_start, revenue_bucket.currency, revenue_bucket.partition)
                 = (kept.bucket_start, kept.currency, kept.partition)",
            "UPDATE revenue_bucket SET revenue_minor = kept.revenue_minor FROM kept
             WHERE (revenue_bucket.bucket_start, revenue_bucket.currency, revenue_bucket.partition)
                 = (kept.bucket_start, kept.currency, kept.partition);
             DROP TABLE kept",
            Spoilt::Revenue,
        ),
        (
            "CREATE TABLE kept AS SELECT * FROM units_bucket WHERE units <> 0 LIMIT 1;
             INSERT INTO units_bucket SELECT bucket_start, product_id, 99, units FROM kept",
            "DELETE FROM units_bucket WHERE partition = 99; DROP TABLE kept",
            Spoilt::Units,
        ),
    ] {
        let database = if matches!(expected, Spoilt::Fact) { "audit" } else { "analytics" };
        alter(&sources, database, spoil).await;
        let spoilt = read(&sources).await;
        expected.check(&spoilt);
        alter(&sources, database, undo).await;
        let undone = read(&sources).await;
        assert_eq!(undone.verdict(), Verdict::Balanced, "{undone}");
    }
    send_a_mail_again(&whole).await;
    Spoilt::Mail.check(&read(&sources).await);
    whole.down().await;
}

#[derive(Clone, Copy, Debug)]
enum Spoilt {
    Fact,
    Revenue,
    Units,
    Mail,
}

impl Spoilt {
    /// The ledger reports this, and only this.
    fn check(self, ledger: &Ledger) {
        assert_eq!(ledger.verdict(), Verdict::NotBalanced, "{self:?}: {ledger}");
        let balance = &ledger.balance;
        let revenue = balance.revenue.values().map(|sum| sum.difference).sum();
        let found = [
            balance.audit.lost,
            revenue,
            balance.units.difference,
            balance.mails.doubled,
        ];
        let place = match self {
            Spoilt::Fact => 0,
            Spoilt::Revenue => 1,
            Spoilt::Units => 2,
            Spoilt::Mail => 3,
        };
        for (index, difference) in found.into_iter().enumerate() {
            assert_eq!(difference != 0, index == place, "{self:?}: {ledger}");
        }
        let others = [balance.outbox, balance.analytics];
        assert!(
            others
                .iter()
                .all(|place| place.lost + place.ghosts + place.doubled == 0),
            "{self:?}: {ledger}"
        );
        assert_eq!(
            balance.lost() + balance.doubled(),
            balance.audit.lost + balance.mails.doubled,
            "{ledger}"
        );
    }
}

async fn read(sources: &Sources) -> Ledger {
    Ledger::read(sources, SETTLE)
        .await
        .unwrap_or_else(|error| panic!("{error:#}"))
}

async fn alter(sources: &Sources, database: &str, sql: &str) {
    let mut conn = sources.connect_to_write(database).await.unwrap();
    // The audit log's trigger refuses changes to everybody else.
    conn.batch_execute("SET session_replication_role = replica")
        .await
        .unwrap();
    conn.batch_execute(sql)
        .await
        .unwrap_or_else(|error| panic!("{sql}: {error}"));
}

/// Places orders until some of them have had every effect.
async fn sell_for_a_while(whole: &WholeStack, sources: &Sources) {
    let shop = Shop::open(&whole.stack, "ledger", 20, 20)
        .await
        .unwrap_or_else(|error| panic!("{error:#}"));
    let load = Load::start(Arc::new(shop), 50);
    let witness = load.witness();
    eventually("a hundred orders", async || {
        (witness.placed() >= 100).then_some(())
    })
    .await;
    let moving = Ledger::read(sources, Duration::ZERO)
        .await
        .unwrap_or_else(|error| panic!("{error:#}"));
    println!("while orders come in:\n{moving}");
    assert_ne!(moving.verdict(), Verdict::NotBalanced, "{moving}");
    load.stop().await;
}

/// Delivers a mail that was sent before to the mail server once more.
async fn send_a_mail_again(whole: &WholeStack) {
    let listing = format!("{}/api/v1/messages?limit=1", whole.mail_api());
    let listing: serde_json::Value = whole
        .http
        .get(listing)
        .send()
        .await
        .unwrap()
        .json()
        .await
        .unwrap();
    let message_id = listing["messages"][0]["MessageID"].as_str().unwrap();
    let message_id = message_id.trim_matches(['<', '>']);
    let address = whole.smtp_address();
    let mut server = BufReader::new(TcpStream::connect(address).await.unwrap());
    let data = format!("Message-ID: <{message_id}>\r\nSubject: again\r\n\r\nagain\r\n.\r\n");
    for (line, code) in [
        ("", "220"),
        ("EHLO lab\r\n", "250"),
        ("MAIL FROM:<lab@example.com>\r\n", "250"),
        ("RCPT TO:<lab@example.com>\r\n", "250"),
        ("DATA\r\n", "354"),
        (data.as_str(), "250"),
        ("QUIT\r\n", "221"),
    ] {
        server.write_all(line.as_bytes()).await.unwrap();
        loop {
            let mut answer = String::new();
            server.read_line(&mut answer).await.unwrap();
            assert!(answer.starts_with(code), "{line:?}: {answer:?}");
            // All lines of an answer but the last have a hyphen after the code.
            if answer.as_bytes().get(3) != Some(&b'-') {
                break;
            }
        }
    }
}
