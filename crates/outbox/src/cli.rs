//! The operator's commands.

use anyhow::{Context as _, bail, ensure};
use clap::{ArgGroup, Subcommand};
use diesel::sql_types::{BigInt, Double, Nullable, Text, Timestamptz};
use diesel::{OptionalExtension as _, QueryableByName, sql_query};
use diesel_async::{AsyncPgConnection, RunQueryDsl};
use time::OffsetDateTime;
use time::format_description::well_known::Rfc3339;
use uuid::Uuid;

use crate::aggregates::Aggregates;
use crate::check::unstated;
use crate::restate::{open_generation, restate, resume};
use crate::window::{self, Backlog, Cursor};

/// What an operator can do with the outbox. All of it is safe while the application serves.
#[derive(Debug, Clone, Subcommand)]
pub enum Command {
    /// Show each sink's owner, backlog and position.
    Status,
    /// Deliver again what was committed since a moment.
    ///
    /// The position goes back to the newest one that was kept (one a minute) before that moment, so somewhat more is delivered.
    /// Consumers ignore what they know.
    Replay {
        /// The moment, in RFC 3339: `2026-11-28T09:30:00Z`.
        #[arg(long, value_name = "TIME", value_parser = moment)]
        from: OffsetDateTime,
        /// The sink whose position goes back, as `status` names it.
        #[arg(long)]
        sink: String,
        /// Only say what would be done.
        #[arg(long)]
        dry_run: bool,
    },
    /// State every aggregate anew, with the next version and its whole state.
    ///
    /// A consumer that starts without history is complete after it. It can be interrupted and run again.
    Restate {
        /// Only this type of aggregate.
        #[arg(long, value_name = "TYPE", conflicts_with = "after_restore")]
        aggregate: Option<String>,
        /// The database was restored from a backup: open the next generation of versions, so that none that was lost is used again.
        #[arg(long)]
        after_restore: bool,
    },
    /// Let the tails go on after the database moved to another server or timeline.
    #[command(group = ArgGroup::new("claim").required(true))]
    Resume {
        /// No commit was lost: a synchronous failover, an upgrade in place.
        #[arg(long, group = "claim")]
        nothing_lost: bool,
    },
    /// Look for aggregates whose version was committed without its fact; fails if there is one.
    Check,
}

fn moment(text: &str) -> Result<OffsetDateTime, String> {
    OffsetDateTime::parse(text, &Rfc3339)
        .map_err(|error| format!("not a time like 2026-11-28T09:30:00Z: {error}"))
}

impl Command {
    /// Does it, as the role of the serving process, and writes what a person wants to know to `out`.
    ///
    /// # Errors
    /// When the database is not reached or refuses; for [`Command::Check`], also when something is missing.
    pub async fn run<A: Aggregates>(
        self,
        database: &database::CommandArgs,
        aggregates: &A,
        out: &mut (impl std::io::Write + Send),
    ) -> anyhow::Result<()> {
        let mut conn = database::for_command(database, "outbox command").await?;
        match self {
            Command::Status => status(&mut conn, out).await,
            Command::Replay { from, sink, dry_run } => replay(&mut conn, &sink, from, dry_run, out).await,
            Command::Restate {
                aggregate,
                after_restore,
            } => {
                if after_restore {
                    let generation = open_generation(&mut conn).await?;
                    writeln!(
                        out,
                        "generation {generation} is open, and the tails go on; empty the cache now"
                    )?;
                }
                restate_all(&mut conn, aggregates, aggregate.as_deref(), out).await
            }
            Command::Resume { .. } => {
                resume(&mut conn).await?;
                writeln!(out, "the tails go on")?;
                Ok(())
            }
            Command::Check => check::<A>(&mut conn, out).await,
        }
    }
}

#[derive(QueryableByName)]
struct Standing {
    #[diesel(sql_type = Text)]
    sink: String,
    #[diesel(sql_type = Nullable<Text>)]
    owner: Option<String>,
    #[diesel(sql_type = BigInt)]
    epoch: i64,
    #[diesel(sql_type = Double)]
    lease_seconds: f64,
    #[diesel(sql_type = BigInt)]
    saves: i64,
    #[diesel(sql_type = Timestamptz)]
    now: OffsetDateTime,
    #[diesel(embed)]
    cursor: Cursor,
}

async fn status(conn: &mut AsyncPgConnection, out: &mut impl std::io::Write) -> anyhow::Result<()> {
    let standings: Vec<Standing> = sql_query(
        "SELECT sink, owner, epoch, saves, clock_timestamp() AS now,
                greatest(extract(epoch FROM lease_until - clock_timestamp()), -1)::float8 AS lease_seconds,
                s1::text, h, s2::text, h2, last
         FROM outbox_cursor ORDER BY sink",
    )
    .load(conn)
    .await?;
    for standing in standings {
        let Standing { sink, cursor, .. } = &standing;
        let owner = match &standing.owner {
            Some(owner) if standing.lease_seconds > 0.0 => {
                format!("{owner}, for {:.1} s more", standing.lease_seconds)
            }
            Some(owner) => format!("nobody since {owner}"),
            None => "nobody".to_owned(),
        };
        let backlog = window::backlog(conn, cursor).await?;
        let (pending, age) = match &backlog {
            Some(Backlog { rows, oldest }) => (*rows, (standing.now - *oldest).as_seconds_f64()),
            None => (0, 0.0),
        };
        let window = match &cursor.s2 {
            Some(s2) => format!(
                "open, from {} to {s2}, delivered up to id {}",
                cursor.s1, cursor.last
            ),
            None => format!("closed at {}, id {}", cursor.s1, cursor.h),
        };
        writeln!(
            out,
            "{sink}\n  owner    {owner}\n  epoch    {}\n  pending  about {pending}, the oldest for {age:.1} s\n  window   {window}\n  saves    {}",
            standing.epoch, standing.saves,
        )?;
    }
    Ok(())
}

async fn replay(
    conn: &mut AsyncPgConnection,
    sink: &str,
    from: OffsetDateTime,
    dry_run: bool,
    out: &mut impl std::io::Write,
) -> anyhow::Result<()> {
    #[derive(QueryableByName)]
    struct Point {
        #[diesel(sql_type = Text)]
        s1: String,
        #[diesel(sql_type = BigInt)]
        h: i64,
        #[diesel(sql_type = Timestamptz)]
        taken_at: OffsetDateTime,
    }
    let known = sinks(conn).await?;
    ensure!(
        known.iter().any(|name| name == sink),
        "--sink: there is no sink `{sink}`; there are {}",
        known.join(", ")
    );
    let point: Option<Point> = sql_query(
        "SELECT s1::text, h, taken_at FROM outbox_rewind_point WHERE sink = $1 AND taken_at <= $2
         ORDER BY taken_at DESC LIMIT 1",
    )
    .bind::<Text, _>(sink)
    .bind::<Timestamptz, _>(from)
    .get_result(conn)
    .await
    .optional()?;
    let (s1, h, what) = match &point {
        Some(point) => (
            point.s1.as_str(),
            point.h,
            format!("the position of {}", point.taken_at),
        ),
        None => ("1:1:", 0, "the oldest row that is kept".to_owned()),
    };
    let newest = window::sequence_value(conn).await?;
    writeln!(out, "from {what}: at most {} rows up to now", newest - h)?;
    if dry_run {
        return Ok(());
    }
    // Whoever owns the tail finds its epoch over at the next save, and begins at the new position.
    let moved = sql_query(
        "UPDATE outbox_cursor
         SET s1 = $2::pg_snapshot, h = $3, s2 = NULL, h2 = 0, last = 0, saves = saves + 1,
             epoch = epoch + 1, owner = NULL, lease_until = '-infinity'
         WHERE sink = $1 AND pg_snapshot_xmax($2::pg_snapshot) <= pg_snapshot_xmax(s1)",
    )
    .bind::<Text, _>(sink)
    .bind::<Text, _>(s1)
    .bind::<BigInt, _>(h)
    .execute(conn)
    .await?;
    ensure!(
        moved == 1,
        "{sink} has not come as far as that: everything since then will be delivered anyway"
    );
    writeln!(out, "{sink} delivers again")?;
    Ok(())
}

/// Those that have a cursor.
async fn sinks(conn: &mut AsyncPgConnection) -> anyhow::Result<Vec<String>> {
    #[derive(QueryableByName)]
    struct Name {
        #[diesel(sql_type = Text)]
        sink: String,
    }
    let rows: Vec<Name> = sql_query("SELECT sink FROM outbox_cursor ORDER BY sink")
        .load(conn)
        .await?;
    Ok(rows.into_iter().map(|row| row.sink).collect())
}

async fn restate_all<A: Aggregates>(
    conn: &mut AsyncPgConnection,
    aggregates: &A,
    only: Option<&str>,
    out: &mut (impl std::io::Write + Send),
) -> anyhow::Result<()> {
    let known = || A::TABLES.iter().map(|table| table.aggregate);
    if let Some(only) = only
        && !known().any(|aggregate| aggregate == only)
    {
        let known: Vec<&str> = known().collect();
        bail!("there is no aggregate `{only}`; there are {}", known.join(", "));
    }
    for table in A::TABLES {
        if only.is_some_and(|only| only != table.aggregate) {
            continue;
        }
        let progress = |so_far| tracing::info!(aggregate = table.aggregate, so_far, "restating");
        let restated = restate(conn, aggregates, table, progress).await?;
        writeln!(out, "restated {restated} × {}", table.aggregate).context("cannot write")?;
    }
    Ok(())
}

async fn check<A: Aggregates>(
    conn: &mut AsyncPgConnection,
    out: &mut impl std::io::Write,
) -> anyhow::Result<()> {
    let mut wrong = 0;
    for table in A::TABLES {
        let mut after = Some(Uuid::nil());
        while let Some(begin) = after {
            let (found, next) = unstated(conn, table, begin, 1_000).await?;
            for one in found {
                wrong += 1;
                let stated = one
                    .stated
                    .map_or("nothing".to_owned(), |version| version.to_string());
                writeln!(
                    out,
                    "{} {}: version {}, the outbox states {stated}",
                    table.aggregate, one.id, one.version
                )?;
            }
            after = next;
        }
    }
    ensure!(wrong == 0, "{wrong} versions were committed without their facts");
    writeln!(out, "every version has its fact")?;
    Ok(())
}
