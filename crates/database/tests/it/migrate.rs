use std::time::Duration;

use database::{CommandArgs, dedicated, migrate};
use diesel_async::SimpleAsyncConnection as _;
use testkit::Database;

use crate::{MIGRATIONS, text};

#[tokio::test]
async fn a_migrated_database_has_nothing_left_to_apply() {
    let database = Database::create("app", MIGRATIONS).await;
    let args = CommandArgs {
        access: (&database.owner_url()).into(),
        start_timeout: Duration::ZERO,
    };
    assert_eq!(migrate(&args, MIGRATIONS).await.unwrap(), 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn of_two_migrations_at_once_one_applies_everything_and_the_other_nothing() {
    let database = Database::create("app", MIGRATIONS).await;
    dedicated(&database.owner_url(), "test")
        .await
        .unwrap()
        .batch_execute("DROP TABLE note, __diesel_schema_migrations")
        .await
        .unwrap();

    let args = CommandArgs {
        access: (&database.owner_url()).into(),
        start_timeout: Duration::ZERO,
    };
    let (first, second) = tokio::join!(migrate(&args, MIGRATIONS), migrate(&args, MIGRATIONS));
    let mut applied = [first.unwrap(), second.unwrap()];
    applied.sort_unstable();
    assert_eq!(applied, [0, 2]);
}

#[tokio::test]
async fn the_runtime_role_reads_and_writes_what_it_was_granted_and_changes_no_table() {
    let database = Database::create("app", MIGRATIONS).await;
    let mut connection = database.connect().await;
    connection
        .batch_execute("INSERT INTO note VALUES (1, 'hello')")
        .await
        .unwrap();
    assert_eq!(text(&mut connection, "(SELECT text FROM note)").await, "hello");
    for forbidden in [
        "DELETE FROM note",
        "ALTER TABLE note ADD COLUMN extra int",
        "CREATE TABLE other (id int)",
        "DROP TABLE note",
    ] {
        let error = connection.batch_execute(forbidden).await.unwrap_err().to_string();
        assert!(
            error.contains("permission denied") || error.contains("must be owner"),
            "{forbidden}: {error}"
        );
    }
}

#[tokio::test]
async fn the_runtime_role_cannot_migrate() {
    let database = Database::create("app", MIGRATIONS).await;
    dedicated(&database.owner_url(), "test")
        .await
        .unwrap()
        .batch_execute("DROP TABLE note, __diesel_schema_migrations")
        .await
        .unwrap();
    let args = CommandArgs {
        access: (&database.runtime_url()).into(),
        start_timeout: Duration::ZERO,
    };
    let error = format!("{:#}", migrate(&args, MIGRATIONS).await.unwrap_err());
    assert!(error.contains("permission denied"), "{error}");
}
