//! An owner's reading position and how much of it is saved.

use std::time::Duration;

use anyhow::Context as _;
use diesel::QueryResult;
use diesel_async::AsyncPgConnection;
use time::OffsetDateTime;
use tokio::time::{Instant, timeout};

use crate::lease::Lease;
use crate::meter::Meter;
use crate::page::Page;
use crate::window::{self, Cursor};

/// Bounds of a page, whichever is reached first. Large pages hide the wait for acknowledgements when a backlog is drained.
const PAGE_ROWS: usize = 4_000;
const PAGE_BYTES: usize = 8 << 20;
/// While nobody knows how large rows are: of the largest these are 64 MiB. The server sends all that a statement selects, whatever
/// is read of it.
const FIRST_ROWS: usize = 256;
const FEWEST_ROWS: usize = 16;
/// The cursor is saved at most this often while rows flow; a crash delivers again what came
/// after. Saving each page would turn its row into a bloated queue of dead versions.
const SAVE_EVERY: Duration = Duration::from_millis(250);
const SAVE_PAGES: u32 = 64;
/// How long one statement of the tail may take; the server ends it then as well.
pub(crate) const STATEMENT_LIMIT: Duration = Duration::from_secs(5);
/// How often the backlog is measured.
const MEASURE_EVERY: Duration = Duration::from_secs(1);
/// How often a position that moved is kept as one to rewind to.
const REMEMBER_EVERY: Duration = Duration::from_secs(60);

/// The database's clock as it was read, and when that was by ours.
#[derive(Clone, Copy)]
pub(crate) struct Clock {
    pub(crate) at: OffsetDateTime,
    /// From before the question, so that the time since then is not underestimated.
    pub(crate) read: Instant,
}

impl Clock {
    pub(crate) fn now(&self) -> OffsetDateTime {
        self.at + self.read.elapsed()
    }
}

/// Where the owner reads. Nothing of it survives its database session.
pub(crate) struct Position {
    pub(crate) conn: AsyncPgConnection,
    pub(crate) lease: Lease,
    pub(crate) cursor: Cursor,
    saved: Cursor,
    saved_at: Instant,
    unsaved_pages: u32,
    /// How many rows the next page may have.
    rows: usize,
    remembered_at: Option<Instant>,
    measured: Instant,
    /// When a window was last looked for.
    pub(crate) looked: Instant,
    pub(crate) clock: Clock,
    /// The clock from before the open window's end; unknown for a window that another owner opened.
    pub(crate) opened: Option<Clock>,
    /// Everything that was committed before it has been delivered.
    pub(crate) reached: Option<Clock>,
    /// When the sink was last told of it.
    pub(crate) told: Option<Instant>,
}

impl Position {
    pub(crate) fn new(conn: AsyncPgConnection, lease: Lease, cursor: Cursor) -> Position {
        let now = Instant::now();
        Position {
            conn,
            lease,
            saved: cursor.clone(),
            cursor,
            saved_at: now,
            unsaved_pages: 0,
            rows: FIRST_ROWS,
            remembered_at: None,
            measured: now,
            looked: now,
            clock: Clock {
                at: OffsetDateTime::now_utc(),
                read: now,
            },
            opened: None,
            reached: None,
            told: None,
        }
    }

    /// The next page, opening a new window when none is open; `None` when nothing was committed. Whether something was need not be
    /// asked when a commit was `told` of.
    pub(crate) async fn look(&mut self, told: bool) -> anyhow::Result<Option<Page>> {
        self.looked = Instant::now();
        if self.cursor.s2.is_none() {
            if !told {
                let probe = bounded(window::probe(&mut self.conn, &self.cursor)).await?;
                self.read_clock(probe.at);
                if !probe.found {
                    self.reached = Some(self.clock);
                    return Ok(None);
                }
            }
            let at = bounded(window::open(&mut self.conn, &mut self.cursor)).await?;
            self.read_clock(at);
            self.opened = Some(self.clock);
        }
        let cursor = self.cursor.clone();
        self.page_at(&cursor).await.map(Some)
    }

    /// It was `at` when the database was last looked at, or later.
    fn read_clock(&mut self, at: OffsetDateTime) {
        self.clock = Clock {
            at,
            read: self.looked,
        };
    }

    /// The page that comes after `cursor` in the open window.
    pub(crate) async fn page_at(&mut self, cursor: &Cursor) -> anyhow::Result<Page> {
        let page = bounded(window::page(&mut self.conn, cursor, self.rows, PAGE_BYTES)).await?;
        if !page.is_empty() {
            let row_bytes = page.payload_bytes() / page.len() + 1;
            self.rows = (PAGE_BYTES / row_bytes).clamp(FEWEST_ROWS, PAGE_ROWS);
        }
        Ok(page)
    }

    /// `page` was delivered, and `after` comes next. That an empty window is over need not be saved, unless it was saved as open.
    pub(crate) fn moved(&mut self, after: Cursor, page: &Page) {
        self.cursor = after;
        if !page.is_empty() || self.saved.s2.is_some() {
            self.unsaved_pages += 1;
        }
    }

    /// Saves the cursor unless that was a moment ago.
    pub(crate) async fn save_if_due(&mut self, rows_are_kept: Duration) -> anyhow::Result<()> {
        if self.unsaved_pages < SAVE_PAGES && self.saved_at.elapsed() < SAVE_EVERY {
            return Ok(());
        }
        self.save(rows_are_kept).await
    }

    /// Saves the cursor if it moved.
    pub(crate) async fn save(&mut self, rows_are_kept: Duration) -> anyhow::Result<()> {
        if self.unsaved_pages == 0 {
            return Ok(());
        }
        timeout(STATEMENT_LIMIT, self.lease.save(&mut self.conn, &self.cursor))
            .await
            .context("saving the cursor took too long")??;
        let moved = self.cursor.s1 != self.saved.s1;
        let due = self
            .remembered_at
            .is_none_or(|remembered| remembered.elapsed() >= REMEMBER_EVERY);
        if moved && due {
            bounded(self.lease.remember(&mut self.conn, &self.cursor, rows_are_kept)).await?;
            self.remembered_at = Some(Instant::now());
        }
        self.saved = self.cursor.clone();
        self.saved_at = Instant::now();
        self.unsaved_pages = 0;
        Ok(())
    }

    /// Measures the backlog, of which `next` is what comes next, unless that was a moment ago.
    pub(crate) async fn measure(&mut self, meter: &Meter, next: Option<&Page>) -> anyhow::Result<()> {
        if self.measured.elapsed() < MEASURE_EVERY {
            return Ok(());
        }
        self.measured = Instant::now();
        let Some(first) = next.and_then(|page| page.rows().next()) else {
            meter.backlog(0, Duration::ZERO);
            return Ok(());
        };
        let newest = bounded(window::sequence_value(&mut self.conn)).await?;
        let age = self.clock.now() - first.occurred_at();
        meter.backlog(
            newest - first.id() + 1,
            Duration::try_from(age).unwrap_or_default(),
        );
        Ok(())
    }

    pub(crate) async fn rewind(&mut self, store: String, memory: Duration) -> anyhow::Result<()> {
        let rewinding = self.lease.rewind(&mut self.conn, &self.cursor, store, memory);
        self.cursor = timeout(STATEMENT_LIMIT, rewinding)
            .await
            .context("saving the rewound cursor took too long")??;
        self.saved = self.cursor.clone();
        self.reached = None;
        self.told = None;
        self.opened = None;
        Ok(())
    }
}

pub(crate) async fn bounded<T>(statement: impl Future<Output = QueryResult<T>>) -> anyhow::Result<T> {
    Ok(timeout(STATEMENT_LIMIT, statement)
        .await
        .context("the database does not answer")??)
}
