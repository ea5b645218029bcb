//! The example in `examples/` does what it says, on an empty database.

use std::process::Command;

use diesel_migrations::{EmbeddedMigrations, embed_migrations};

const NOTHING: EmbeddedMigrations = embed_migrations!("tests/no_migrations");

#[tokio::test(flavor = "multi_thread")]
async fn the_example_delivers_what_was_committed_and_nothing_else() {
    let database = testkit::Database::create("app", NOTHING).await;
    let tests = std::env::current_exe().unwrap();
    let example = tests.ancestors().nth(2).unwrap().join("examples/things");
    let ran = Command::new(example)
        .arg(database.superuser_url())
        .output()
        .unwrap();
    let said = String::from_utf8_lossy(&ran.stdout);
    assert!(ran.status.success(), "{ran:?}");
    assert_eq!(
        said,
        "things.v1 1 {\"name\":\"anvil\"}\nthings.v1 2 {\"name\":\"spanner\"}\n"
    );
}
