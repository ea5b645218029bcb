//! Who may do what to the log's tables.

use diesel_async::{AsyncPgConnection, SimpleAsyncConnection as _};

use crate::records::{count, database, owner};

const ROW: &str = "INSERT INTO audit_event (topic, partition, \"offset\", header_names, header_values, problem) VALUES ('t', 0, 0, '{}', '{}', 'trial')";
const READ: &str = "INSERT INTO audit_read (principal, query) VALUES ('main:ops', 'trial')";

const CHANGES: [&str; 6] = [
    "UPDATE audit_event SET problem = 'edited'",
    "DELETE FROM audit_event",
    "TRUNCATE audit_event",
    "UPDATE audit_read SET principal = 'nobody'",
    "DELETE FROM audit_read",
    "TRUNCATE audit_read",
];

async fn refused(connection: &mut AsyncPgConnection, statement: &str) -> String {
    match connection.batch_execute(statement).await {
        Ok(()) => panic!("{statement} was not refused"),
        Err(error) => error.to_string(),
    }
}

#[tokio::test]
async fn the_runtime_role_may_add_and_nothing_else() {
    let database = database().await;
    let mut runtime = database.connect().await;
    runtime.batch_execute(&format!("{ROW}; {READ}")).await.unwrap();
    for change in CHANGES {
        let error = refused(&mut runtime, change).await;
        assert!(error.contains("permission denied"), "{change}: {error}");
    }
    for more in [
        "SELECT * FROM audit_read",
        "INSERT INTO dead_letter (topic, partition, \"offset\", header_names, header_values, error) VALUES ('t', 0, 0, '{}', '{}', '')",
        "DROP TRIGGER append_only ON audit_event",
        "CREATE TABLE mine (n int)",
    ] {
        let error = refused(&mut runtime, more).await;
        assert!(
            error.contains("permission denied") || error.contains("must be owner"),
            "{more}: {error}"
        );
    }
}

#[tokio::test]
async fn a_trigger_refuses_every_change_to_the_owner() {
    let database = database().await;
    let mut owner = owner(&database).await;
    owner.batch_execute(&format!("{ROW}; {READ}")).await.unwrap();
    for change in CHANGES {
        let error = refused(&mut owner, change).await;
        assert!(error.contains("append-only"), "{change}: {error}");
    }
    assert_eq!(count(&database, "audit_event WHERE problem = 'trial'").await, 1);
}
