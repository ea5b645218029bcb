//! Reading the facts, one database after the other.

use std::collections::BTreeMap;

use diesel::deserialize::QueryableByName;
use diesel::pg::Pg;
use diesel::sql_types::{BigInt, Nullable, Text, Timestamptz};
use diesel::{QueryResult, sql_query};
use diesel_async::{AsyncPgConnection, RunQueryDsl as _, SimpleAsyncConnection as _};
use futures_util::TryStreamExt as _;
use time::OffsetDateTime;
use uuid::Uuid;

use crate::ledger::facts::{Facts, Generations, Pair, State, Versions};
use crate::ledger::mail_server;
use crate::ledger::sources::{CONSUMERS, Sources};

/// Events that ask for a mail, each with its template.
const MAILS: [(&str, &str); 4] = [
    ("plumbline.customer.registered", "welcome"),
    ("plumbline.order.placed", "order_confirmation"),
    ("plumbline.order.shipped", "order_shipped"),
    ("plumbline.order.cancelled", "order_cancelled"),
];

/// Reads everything. Each database is read in one snapshot; the snapshots are of different moments.
pub(crate) async fn facts(sources: &Sources) -> anyhow::Result<Facts> {
    let mut facts = Facts::default();
    let mut app = snapshot(sources, "app").await?;
    each(
        &mut app,
        "SELECT generation AS value FROM outbox_generation",
        |row: Value| {
            facts.generation = row.value;
            Ok(())
        },
    )
    .await?;
    read_app(&mut app, &mut facts).await?;
    read_audit(&mut snapshot(sources, "audit").await?, &mut facts).await?;
    read_analytics(&mut snapshot(sources, "analytics").await?, &mut facts).await?;
    read_mails(sources, &mut facts).await?;
    for database in CONSUMERS {
        let mut conn = sources.connect(database).await?;
        let mut parked = 0;
        let sql = "SELECT count(*) AS value FROM dead_letter";
        each(&mut conn, sql, |row: Value| {
            parked = row.value;
            Ok(())
        })
        .await?;
        facts.dead_letters.insert(database, parked);
    }
    Ok(facts)
}

/// A connection with a transaction that sees one moment and is never committed.
async fn snapshot(sources: &Sources, database: &str) -> anyhow::Result<AsyncPgConnection> {
    let mut conn = sources.connect(database).await?;
    conn.batch_execute("BEGIN ISOLATION LEVEL REPEATABLE READ READ ONLY")
        .await?;
    Ok(conn)
}

#[derive(QueryableByName)]
struct Value {
    #[diesel(sql_type = BigInt)]
    value: i64,
}

#[derive(QueryableByName)]
struct RowVersion {
    #[diesel(sql_type = Text)]
    kind: String,
    #[diesel(sql_type = diesel::sql_types::Uuid)]
    id: Uuid,
    #[diesel(sql_type = BigInt)]
    version: i64,
}

#[derive(QueryableByName)]
struct Stated {
    #[diesel(sql_type = Text)]
    kind: String,
    #[diesel(sql_type = diesel::sql_types::Uuid)]
    id: Uuid,
    #[diesel(sql_type = BigInt)]
    generation: i64,
    #[diesel(sql_type = BigInt)]
    rows: i64,
    #[diesel(sql_type = BigInt)]
    events: i64,
    #[diesel(sql_type = BigInt)]
    versions: i64,
    #[diesel(sql_type = BigInt)]
    last: i64,
    #[diesel(sql_type = BigInt)]
    fingerprint: i64,
}

#[derive(QueryableByName)]
struct Asked {
    #[diesel(sql_type = diesel::sql_types::Uuid)]
    event: Uuid,
    #[diesel(sql_type = Text)]
    kind: String,
}

#[derive(QueryableByName)]
struct Revenue {
    #[diesel(sql_type = Timestamptz)]
    bucket: OffsetDateTime,
    #[diesel(sql_type = Text)]
    currency: String,
    #[diesel(sql_type = BigInt)]
    minor: i64,
}

#[derive(QueryableByName)]
struct Units {
    #[diesel(sql_type = Timestamptz)]
    bucket: OffsetDateTime,
    #[diesel(sql_type = diesel::sql_types::Uuid)]
    product: Uuid,
    #[diesel(sql_type = BigInt)]
    units: i64,
}

#[derive(QueryableByName)]
struct Delivery {
    #[diesel(sql_type = diesel::sql_types::Uuid)]
    event: Uuid,
    #[diesel(sql_type = Text)]
    template: String,
    #[diesel(sql_type = Text)]
    state: String,
    #[diesel(sql_type = Nullable<diesel::sql_types::Uuid>)]
    message_id: Option<Uuid>,
}

/// The current version of every row that has versions.
pub(crate) const ROW_VERSIONS: &str = "
    SELECT 'customer' AS kind, id, version FROM customer
    UNION ALL SELECT 'product', id, version FROM product
    UNION ALL SELECT 'stock', product_id, version FROM stock
    UNION ALL SELECT 'order', id, version FROM orders";

/// What orders earned, by quarter of an hour: counted when paid, taken back when a paid order is cancelled. Written again here, from
/// the orders, so that it shares nothing with the fold that it checks.
const REVENUE: &str = "
    SELECT bucket, currency, sum(minor)::bigint AS minor FROM (
        SELECT date_bin('15 minutes', paid_at, 'epoch') AS bucket, currency, total_minor AS minor
        FROM orders WHERE paid_at IS NOT NULL
        UNION ALL
        SELECT date_bin('15 minutes', cancelled_at, 'epoch'), currency, -total_minor
        FROM orders WHERE paid_at IS NOT NULL AND cancelled_at IS NOT NULL
    ) earned GROUP BY bucket, currency HAVING sum(minor) <> 0";

/// Units sold by product, as [`REVENUE`].
const UNITS: &str = "
    SELECT bucket, product_id AS product, sum(quantity)::bigint AS units FROM (
        SELECT date_bin('15 minutes', paid_at, 'epoch') AS bucket, product_id, quantity
        FROM orders JOIN order_line ON order_id = orders.id WHERE paid_at IS NOT NULL
        UNION ALL
        SELECT date_bin('15 minutes', cancelled_at, 'epoch'), product_id, -quantity
        FROM orders JOIN order_line ON order_id = orders.id
        WHERE paid_at IS NOT NULL AND cancelled_at IS NOT NULL
    ) sold GROUP BY bucket, product_id HAVING sum(quantity) <> 0";

async fn read_app(conn: &mut AsyncPgConnection, facts: &mut Facts) -> anyhow::Result<()> {
    each(conn, ROW_VERSIONS, |row: RowVersion| {
        facts.seen(row.kind.parse()?, row.id).row = row.version;
        Ok(())
    })
    .await?;
    each(conn, &stated("outbox"), |row: Stated| {
        let Generations(outbox) = &mut facts.seen(row.kind.parse()?, row.id).outbox;
        outbox.insert(row.generation, Versions::from(&row));
        Ok(())
    })
    .await?;
    let kinds = MAILS.map(|(kind, _)| format!("'{kind}'")).join(", ");
    let asked = format!("SELECT event_id AS event, type AS kind FROM outbox WHERE type IN ({kinds})");
    each(conn, &asked, |row: Asked| {
        for (_, template) in MAILS.iter().filter(|(kind, _)| *kind == row.kind) {
            facts.mail(row.event, template).asked = true;
        }
        Ok(())
    })
    .await?;
    each(conn, REVENUE, |row: Revenue| {
        facts.revenue.entry((row.bucket, row.currency)).or_default().app = row.minor;
        Ok(())
    })
    .await?;
    each(conn, UNITS, |row: Units| {
        facts.units.entry((row.bucket, row.product)).or_default().app = row.units;
        Ok(())
    })
    .await
}

async fn read_audit(conn: &mut AsyncPgConnection, facts: &mut Facts) -> anyhow::Result<()> {
    each(conn, &stated("audit_event"), |row: Stated| {
        let Generations(audit) = &mut facts.seen(row.kind.parse()?, row.id).audit;
        audit.insert(row.generation, Versions::from(&row));
        Ok(())
    })
    .await?;
    let undecodable = "SELECT count(*) AS value FROM audit_event WHERE problem IS NOT NULL";
    each(conn, undecodable, |row: Value| {
        facts.undecodable = row.value;
        Ok(())
    })
    .await
}

async fn read_analytics(conn: &mut AsyncPgConnection, facts: &mut Facts) -> anyhow::Result<()> {
    let versions = "SELECT aggregate_type AS kind, aggregate_id AS id, version FROM entity_version";
    each(conn, versions, |row: RowVersion| {
        facts.seen(row.kind.parse()?, row.id).analytics = row.version;
        Ok(())
    })
    .await?;
    let revenue = "SELECT bucket_start AS bucket, currency, revenue_minor AS minor FROM revenue";
    each(conn, revenue, |row: Revenue| {
        let pair: &mut Pair = facts.revenue.entry((row.bucket, row.currency)).or_default();
        pair.analytics = row.minor;
        Ok(())
    })
    .await?;
    each(
        conn,
        "SELECT bucket_start AS bucket, product_id AS product, units FROM units",
        |row: Units| {
            facts
                .units
                .entry((row.bucket, row.product))
                .or_default()
                .analytics = row.units;
            Ok(())
        },
    )
    .await
}

async fn read_mails(sources: &Sources, facts: &mut Facts) -> anyhow::Result<()> {
    // The rows first: a message that arrives in between is then at most one too many, and never a sent one that is missing.
    let mut rows = Vec::new();
    let deliveries = "SELECT event_id AS event, template, state, message_id FROM email_delivery";
    each(
        &mut snapshot(sources, "email").await?,
        deliveries,
        |row: Delivery| {
            rows.push(row);
            Ok(())
        },
    )
    .await?;
    let (mut messages, foreign): (BTreeMap<Uuid, i64>, i64) = mail_server::messages(&sources.mail).await?;
    for row in rows {
        let state: State = row.state.parse()?;
        let arrived = row.message_id.and_then(|id| messages.remove(&id)).unwrap_or(0);
        let mail = facts.mail(row.event, &row.template);
        mail.deliveries += 1;
        mail.state = Some(state);
        mail.messages += arrived;
    }
    facts.foreign_messages = foreign + messages.values().sum::<i64>();
    Ok(())
}

/// What a table with a row per fact holds of each aggregate.
fn stated(table: &str) -> String {
    format!(
        "SELECT aggregate_type AS kind, aggregate_id AS id, aggregate_version >> 40 AS generation,
                sum(copies)::bigint AS rows, count(*) AS events,
                count(DISTINCT aggregate_version) AS versions,
                max(aggregate_version) & ((1::bigint << 40) - 1) AS last,
                bit_xor(uuid_hash_extended(event_id, 0)) AS fingerprint
         FROM (SELECT aggregate_type, aggregate_id, aggregate_version, event_id, count(*) AS copies
               FROM {table} WHERE event_id IS NOT NULL GROUP BY 1, 2, 3, 4) AS fact
         GROUP BY 1, 2, 3"
    )
}

impl From<&Stated> for Versions {
    fn from(row: &Stated) -> Versions {
        Versions {
            rows: row.rows,
            events: row.events,
            distinct: row.versions,
            last: row.last,
            fingerprint: row.fingerprint,
        }
    }
}

/// Runs a query and hands over its rows one by one.
async fn each<R>(
    conn: &mut AsyncPgConnection,
    sql: &str,
    mut take: impl FnMut(R) -> anyhow::Result<()>,
) -> anyhow::Result<()>
where
    R: QueryableByName<Pg> + Send + 'static,
{
    let rows: QueryResult<_> = sql_query(sql).load_stream::<R>(conn).await;
    let mut rows = rows?;
    while let Some(row) = rows.try_next().await? {
        take(row)?;
    }
    Ok(())
}
