//! Ways to open a window, each with one deviation from the right one, and what happens in between.

use diesel_async::AsyncPgConnection;
use outbox::window::{self, Cursor};

use crate::fixture::number;

fn opened(cursor: &mut Cursor, h2: i64, s2: String) {
    cursor.h2 = h2;
    cursor.s2 = Some(s2);
    cursor.last = 0;
}

/// The right order, with something else going on between its statements.
pub(crate) async fn right(
    conn: &mut AsyncPgConnection,
    cursor: &mut Cursor,
    before_the_xid: impl AsyncFnOnce(),
    before_s2: impl AsyncFnOnce(),
) {
    let h2 = window::sequence_value(conn).await.unwrap();
    before_the_xid().await;
    window::burn_xid(conn).await.unwrap();
    before_s2().await;
    let s2 = window::current_snapshot(conn).await.unwrap();
    opened(cursor, h2, s2);
}

pub(crate) async fn without_a_burnt_xid(conn: &mut AsyncPgConnection, cursor: &mut Cursor) {
    let h2 = window::sequence_value(conn).await.unwrap();
    let s2 = window::current_snapshot(conn).await.unwrap();
    opened(cursor, h2, s2);
}

pub(crate) async fn with_the_xid_burnt_before_h2(
    conn: &mut AsyncPgConnection,
    cursor: &mut Cursor,
    meanwhile: impl AsyncFnOnce(),
) {
    window::burn_xid(conn).await.unwrap();
    meanwhile().await;
    let h2 = window::sequence_value(conn).await.unwrap();
    let s2 = window::current_snapshot(conn).await.unwrap();
    opened(cursor, h2, s2);
}

pub(crate) async fn with_h2_read_after_s2(
    conn: &mut AsyncPgConnection,
    cursor: &mut Cursor,
    meanwhile: impl AsyncFnOnce(),
) {
    window::burn_xid(conn).await.unwrap();
    let s2 = window::current_snapshot(conn).await.unwrap();
    meanwhile().await;
    let h2 = window::sequence_value(conn).await.unwrap();
    opened(cursor, h2, s2);
}

pub(crate) async fn with_last_value_alone(conn: &mut AsyncPgConnection, cursor: &mut Cursor) {
    let h2 = number(conn, "SELECT last_value AS number FROM outbox_id_seq").await;
    window::burn_xid(conn).await.unwrap();
    let s2 = window::current_snapshot(conn).await.unwrap();
    opened(cursor, h2, s2);
}
