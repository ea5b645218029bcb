//! Random transactions and a reader between them. Everything is one sequence of steps, so that a failure shrinks.

use std::cell::Cell;
use std::collections::BTreeSet;

use diesel_async::AsyncPgConnection;
use outbox::window::{self, Cursor};
use proptest::prelude::*;
use proptest::test_runner::{Config, TestRunner};
use testkit::{Verdict, judge};
use uuid::Uuid;

use crate::fixture::{Fixture, execute};
use crate::reader::Reader;
use crate::wrong::reading::IdAfterLast;

const WRITERS: usize = 4;
const AGGREGATES: usize = 5;

#[derive(Debug, Clone)]
enum Move {
    /// Takes an xid and writes nothing yet.
    TakeXid(usize),
    Bump(usize, usize),
    Savepoint(usize),
    RollBackToSavepoint(usize),
    Commit(usize),
    RollBack(usize),
    /// A look at the table, and a page of at most so many rows.
    Read(usize),
    Save,
    /// Another owner goes on with what was saved.
    TakeOver,
}

fn moves() -> impl Strategy<Value = Vec<Move>> {
    let writer = 0..WRITERS;
    let one = prop_oneof![
        1 => writer.clone().prop_map(Move::TakeXid),
        6 => (writer.clone(), 0..AGGREGATES).prop_map(|(writer, aggregate)| Move::Bump(writer, aggregate)),
        1 => writer.clone().prop_map(Move::Savepoint),
        1 => writer.clone().prop_map(Move::RollBackToSavepoint),
        3 => writer.clone().prop_map(Move::Commit),
        1 => writer.prop_map(Move::RollBack),
        5 => (1_usize..4).prop_map(Move::Read),
        1 => Just(Move::Save),
        1 => Just(Move::TakeOver),
    ];
    prop::collection::vec(one, 20..120)
}

#[test]
fn no_overlap_of_transactions_loses_inverts_or_invents_a_row() {
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .enable_all()
        .build()
        .unwrap();
    let fixture = runtime.block_on(Fixture::new());
    let config = Config {
        cases: 48,
        failure_persistence: None,
        ..Config::default()
    };
    // Games in which nobody could lose would prove nothing: of the same ones, those that a reader by id loses.
    let lost_by_id = Cell::new(0);
    TestRunner::new(config)
        .run(&moves(), |moves| {
            let game = runtime.block_on(play(&fixture, &moves));
            lost_by_id.set(lost_by_id.get() + u32::from(game.by_id.lost > 0));
            prop_assert!(game.right.is_clean(), "{}", game.right);
            Ok(())
        })
        .unwrap();
    assert!(lost_by_id.get() > 0, "no game was lost by polling `id > last`");
    // The database is dropped before the runtime is.
    drop(fixture);
}

/// A writer's transaction as far as the game has to know it.
#[derive(Default)]
struct Open {
    begun: bool,
    savepoint: bool,
    /// Aggregates that it has locked: nobody else may bump them, or the game would wait for itself.
    locked: BTreeSet<usize>,
}

/// What the reader saw, and what one would have seen that polls by id whenever it does.
struct Game {
    right: Verdict,
    by_id: Verdict,
}

async fn play(fixture: &Fixture, moves: &[Move]) -> Game {
    let aggregates: [Uuid; AGGREGATES] = std::array::from_fn(|_| Uuid::now_v7());
    let mut writers = Vec::new();
    for _ in 0..WRITERS {
        writers.push((fixture.connect().await, Open::default()));
    }
    let mut reader = Reader::new(fixture).await;
    // The database is shared by all games; earlier rows are somebody else's.
    reader.drain().await;
    reader.seen.clear();
    let mut wrong = IdAfterLast::default();
    wrong.poll(&mut reader.conn).await;
    wrong.seen.clear();
    let mut saved = (reader.cursor.clone(), reader.seen.len());
    for one in moves {
        match one {
            Move::Read(limit) => {
                read(&mut reader, *limit).await;
                wrong.poll(&mut reader.conn).await;
            }
            Move::Save => saved = (reader.cursor.clone(), reader.seen.len()),
            Move::TakeOver => reader.cursor = saved.0.clone(),
            Move::Bump(writer, aggregate) => {
                let taken =
                    (0..WRITERS).any(|other| other != *writer && writers[other].1.locked.contains(aggregate));
                if !taken {
                    let (conn, open) = &mut writers[*writer];
                    begin(conn, open).await;
                    fixture.bump_in_txn(conn, aggregates[*aggregate]).await;
                    open.locked.insert(*aggregate);
                }
            }
            Move::TakeXid(writer) => {
                let (conn, open) = &mut writers[*writer];
                begin(conn, open).await;
                window::burn_xid(conn).await.unwrap();
            }
            Move::Savepoint(writer) => {
                let (conn, open) = &mut writers[*writer];
                begin(conn, open).await;
                execute(conn, "SAVEPOINT s").await;
                open.savepoint = true;
            }
            Move::RollBackToSavepoint(writer) => {
                let (conn, open) = &mut writers[*writer];
                if open.savepoint {
                    execute(conn, "ROLLBACK TO SAVEPOINT s").await;
                }
            }
            Move::Commit(writer) => end(&mut writers[*writer], "COMMIT").await,
            Move::RollBack(writer) => end(&mut writers[*writer], "ROLLBACK").await,
        }
    }
    for writer in &mut writers {
        end(writer, "COMMIT").await;
    }
    reader.finish_window().await;
    reader.drain().await;
    wrong.poll(&mut reader.conn).await;
    let committed: Vec<_> = fixture
        .committed()
        .await
        .into_iter()
        .filter(|(id, _)| aggregates.contains(id))
        .collect();
    Game {
        right: judge(committed.iter().copied(), reader.seen.iter().copied()),
        by_id: judge(committed, wrong.seen),
    }
}

async fn read(reader: &mut Reader, limit: usize) {
    if reader.cursor.s2.is_none() {
        let probe = window::probe(&mut reader.conn, &reader.cursor).await.unwrap();
        if !probe.found {
            return;
        }
        window::open(&mut reader.conn, &mut reader.cursor).await.unwrap();
    }
    reader.page(limit).await;
}

async fn begin(conn: &mut AsyncPgConnection, open: &mut Open) {
    if !open.begun {
        execute(conn, "BEGIN").await;
        open.begun = true;
    }
}

async fn end((conn, open): &mut (AsyncPgConnection, Open), how: &str) {
    if open.begun {
        execute(conn, how).await;
        *open = Open::default();
    }
}

#[test]
fn a_cursor_moves_on_only_when_the_window_ends() {
    let cursor = Cursor {
        s2: Some("10:12:10".to_owned()),
        h2: 7,
        last: 3,
        ..Cursor::start()
    };
    assert_eq!(cursor.after(&outbox::Page::default()), cursor);
}
