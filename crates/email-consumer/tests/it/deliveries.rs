//! The table, as a test sees it.

use diesel::QueryableByName;
use diesel::sql_types::{Int4, Nullable, Text, Uuid as SqlUuid};
use diesel_async::{RunQueryDsl as _, SimpleAsyncConnection as _};
use email_consumer::{MIGRATIONS, MailArgs, Sender};
use std::sync::Arc;
use testkit::Database;
use tokio::sync::{Notify, oneshot};
use tokio::task::JoinHandle;
use uuid::Uuid;

#[derive(Clone, Debug, QueryableByName)]
pub(crate) struct Delivery {
    #[diesel(sql_type = SqlUuid)]
    pub(crate) event_id: Uuid,
    #[diesel(sql_type = Text)]
    pub(crate) template: String,
    #[diesel(sql_type = SqlUuid)]
    pub(crate) message_id: Uuid,
    #[diesel(sql_type = Nullable<Text>)]
    pub(crate) recipient: Option<String>,
    #[diesel(sql_type = Text)]
    pub(crate) state: String,
    #[diesel(sql_type = Int4)]
    pub(crate) attempts: i32,
    #[diesel(sql_type = Nullable<Text>)]
    pub(crate) error: Option<String>,
}

pub(crate) async fn database() -> Database {
    Database::create("email", MIGRATIONS).await
}

pub(crate) async fn deliveries(database: &Database) -> Vec<Delivery> {
    diesel::sql_query("SELECT * FROM email_delivery ORDER BY id")
        .load(&mut database.connect().await)
        .await
        .unwrap()
}

/// Writes `count` welcome mails to Ada that are due.
pub(crate) async fn due(database: &Database, count: u32) {
    execute(
        database,
        &format!(
            "INSERT INTO email_delivery (event_id, template, params, customer_id, recipient, recipient_name, message_id)
             SELECT gen_random_uuid(), 'welcome', '{{}}', gen_random_uuid(), 'ada@example.com', 'Ada', gen_random_uuid()
             FROM generate_series(1, {count})"
        ),
    )
    .await;
}

pub(crate) async fn execute(database: &Database, sql: &str) {
    let mut owner = database::dedicated(&database.owner_url(), "test").await.unwrap();
    owner.batch_execute(sql).await.unwrap();
}

/// Waits until every delivery is in this state.
pub(crate) async fn until_all(database: &Database, state: &str) -> Vec<Delivery> {
    testkit::eventually(&format!("every delivery is {state}"), async || {
        let deliveries = deliveries(database).await;
        (!deliveries.is_empty() && deliveries.iter().all(|delivery| delivery.state == state))
            .then_some(deliveries)
    })
    .await
}

/// A sender, until it is stopped or killed.
pub(crate) struct Sending {
    stop: oneshot::Sender<()>,
    task: JoinHandle<()>,
}

impl Sending {
    pub(crate) fn start(database: &Database, server: &MailArgs) -> Sending {
        let (stop, stopped) = oneshot::channel::<()>();
        let sender = Sender::new(database.pool(), server, Arc::new(Notify::new()));
        Sending {
            stop,
            task: tokio::spawn(sender.run(async {
                let _ = stopped.await;
            })),
        }
    }

    pub(crate) async fn stop(self) {
        self.stop.send(()).unwrap();
        self.task.await.unwrap();
    }

    /// As the process's end would: every mail in flight is cut off where it is.
    pub(crate) async fn kill(self) {
        self.task.abort();
        let _ = self.task.await;
    }
}
