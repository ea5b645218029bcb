//! A reader that is moved by hand: the tail's steps, with the test between them.

use diesel_async::AsyncPgConnection;
use outbox::window::{self, Cursor};
use testkit::Version;
use uuid::Uuid;

use crate::fixture::{Fixture, execute};

const PLENTY: usize = 1_000;
const BYTES: usize = 1 << 20;

pub(crate) struct Reader {
    pub(crate) conn: AsyncPgConnection,
    pub(crate) cursor: Cursor,
    pub(crate) seen: Vec<Version>,
}

impl Reader {
    pub(crate) async fn new(fixture: &Fixture) -> Reader {
        Reader {
            conn: fixture.connect().await,
            cursor: Cursor::start(),
            seen: Vec::new(),
        }
    }

    /// One page of at most `limit` rows of the open window; whether it ended the window.
    pub(crate) async fn page(&mut self, limit: usize) -> bool {
        let page = window::page(&mut self.conn, &self.cursor, limit, BYTES)
            .await
            .unwrap();
        let rows = page.rows();
        self.seen
            .extend(rows.map(|row| (row.aggregate_id(), row.aggregate_version())));
        self.cursor = self.cursor.after(&page);
        page.ends_window()
    }

    pub(crate) async fn finish_window(&mut self) {
        while !self.page(PLENTY).await {}
    }

    /// Whole windows until nothing is left, each opened as the tail does.
    pub(crate) async fn drain(&mut self) {
        self.drain_with(async |conn: &mut AsyncPgConnection, cursor: &mut Cursor| {
            window::open(conn, cursor).await.unwrap();
        })
        .await;
    }

    /// The same, with another way to open a window.
    pub(crate) async fn drain_with(&mut self, open: impl AsyncFn(&mut AsyncPgConnection, &mut Cursor)) {
        loop {
            if self.cursor.s2.is_none() {
                if !window::probe(&mut self.conn, &self.cursor).await.unwrap().found {
                    return;
                }
                open(&mut self.conn, &mut self.cursor).await;
            }
            self.finish_window().await;
        }
    }
}

/// A transaction that is moved by hand.
pub(crate) struct Writer<'f> {
    fixture: &'f Fixture,
    pub(crate) conn: AsyncPgConnection,
}

impl<'f> Writer<'f> {
    /// Its transaction has begun and has no xid yet.
    pub(crate) async fn begin(fixture: &'f Fixture) -> Writer<'f> {
        let mut conn = fixture.connect().await;
        execute(&mut conn, "BEGIN").await;
        Writer { fixture, conn }
    }

    /// Its transaction has an xid, and wrote nothing.
    pub(crate) async fn with_xid(fixture: &'f Fixture) -> Writer<'f> {
        let mut writer = Writer::begin(fixture).await;
        window::burn_xid(&mut writer.conn).await.unwrap();
        writer
    }

    pub(crate) async fn bump(&mut self, aggregate: Uuid) {
        self.fixture.bump_in_txn(&mut self.conn, aggregate).await;
    }

    pub(crate) async fn commit(mut self) {
        execute(&mut self.conn, "COMMIT").await;
    }
}

/// One transaction of one fact, committed.
pub(crate) async fn commit_one(fixture: &Fixture, aggregate: Uuid) {
    let mut writer = Writer::begin(fixture).await;
    writer.bump(aggregate).await;
    writer.commit().await;
}
