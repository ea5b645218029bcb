use database::{dedicated, prepared};
use diesel::prelude::*;
use diesel_async::{AsyncPgConnection, RunQueryDsl as _, SimpleAsyncConnection as _};
use testkit::Database;

use crate::{MIGRATIONS, text};

diesel::table! {
    jar (id) {
        id -> Int8,
        label -> Nullable<Text>,
        sugar -> Int8,
    }
}

#[derive(AsChangeset)]
#[diesel(table_name = jar)]
struct Change<'a> {
    label: Option<&'a str>,
    sugar: i64,
}

async fn kept(connection: &mut AsyncPgConnection) -> String {
    let count = "(SELECT count(*)::text FROM pg_prepared_statements WHERE statement LIKE 'UPDATE%')";
    text(connection, count).await
}

#[tokio::test]
async fn an_update_is_prepared_once_for_each_of_its_texts() {
    let database = Database::create("app", MIGRATIONS).await;
    let mut connection = dedicated(&database.runtime_url(), "test").await.unwrap();
    let create = "CREATE TEMPORARY TABLE jar (id bigint, label text, sugar bigint);
                  INSERT INTO jar VALUES (1, 'plum', 0), (2, 'fig', 0)";
    connection.batch_execute(create).await.unwrap();
    // A field that is `None` is left out of the text, and the type stays the same.
    for (id, label, sugar) in [(1, None, 1), (2, None, 2), (1, Some("date"), 3), (2, None, 4)] {
        let update = diesel::update(jar::table.find(id)).set(Change { label, sugar });
        assert_eq!(prepared(update).execute(&mut connection).await.unwrap(), 1);
    }
    assert_eq!(kept(&mut connection).await, "2");
    let rows = "(SELECT string_agg(concat_ws(' ', label, sugar), ', ' ORDER BY id) FROM jar)";
    assert_eq!(text(&mut connection, rows).await, "date 3, fig 4");
}

#[tokio::test]
async fn what_it_returns_is_typed_as_the_update() {
    let database = Database::create("app", MIGRATIONS).await;
    let mut connection = dedicated(&database.runtime_url(), "test").await.unwrap();
    let create = "CREATE TEMPORARY TABLE jar (id bigint, label text, sugar bigint);
                  INSERT INTO jar VALUES (1, 'plum', 5)";
    connection.batch_execute(create).await.unwrap();
    for expected in [6, 7] {
        let update = diesel::update(jar::table.find(1))
            .set(jar::sugar.eq(jar::sugar + 1))
            .returning((jar::label, jar::sugar));
        let found: (Option<String>, i64) = prepared(update).get_result(&mut connection).await.unwrap();
        assert_eq!(found, (Some("plum".to_owned()), expected));
    }
    assert_eq!(kept(&mut connection).await, "1");
}
