use std::net::TcpListener;
use std::time::Duration;

use database::{DatabaseArgs, dedicated, pool, wait_until_up};
use diesel_async::SimpleAsyncConnection as _;
use diesel_async::pooled_connection::deadpool::PoolError;
use testkit::{Database, eventually};

use crate::{MIGRATIONS, text};

fn args(database_url: String, db_max_connections: usize) -> DatabaseArgs {
    DatabaseArgs {
        access: (&database_url).into(),
        db_max_connections,
        start_timeout: Duration::from_secs(30),
    }
}

const SETTINGS: [(&str, &str); 6] = [
    ("application_name", "app-service"),
    ("statement_timeout", "5s"),
    ("lock_timeout", "2s"),
    ("idle_in_transaction_session_timeout", "10s"),
    ("synchronous_commit", "on"),
    ("TimeZone", "UTC"),
];

#[tokio::test]
async fn every_session_states_its_limits() {
    let database = Database::create("app", MIGRATIONS).await;
    let pool = pool(&args(database.runtime_url(), 1), "app-service").unwrap();
    let mut pooled = pool.get().await.unwrap();
    let mut alone = dedicated(&database.runtime_url(), "app-service").await.unwrap();
    for (setting, expected) in SETTINGS {
        let expression = format!("current_setting('{setting}')");
        assert_eq!(text(&mut pooled, &expression).await, expected, "{setting}");
        assert_eq!(text(&mut alone, &expression).await, expected, "{setting}");
    }
}

#[tokio::test]
async fn a_url_may_change_a_limit_but_not_turn_off_synchronous_commit() {
    let database = Database::create("app", MIGRATIONS).await;
    let options = "options=-c%20statement_timeout%3D7s%20-c%20synchronous_commit%3Doff";
    let url = format!("{}?{options}", database.runtime_url());
    let mut connection = dedicated(&url, "test").await.unwrap();
    assert_eq!(
        text(&mut connection, "current_setting('statement_timeout')").await,
        "7s"
    );
    assert_eq!(
        text(&mut connection, "current_setting('synchronous_commit')").await,
        "on"
    );
}

#[tokio::test]
async fn a_connection_outlives_the_runtime_that_first_asked_for_it() {
    let database = Database::create("app", MIGRATIONS).await;
    let pool = pool(&args(database.runtime_url(), 1), "test").unwrap();
    let worker = pool.clone();
    let backend = tokio::task::spawn_blocking(move || {
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_all()
            .build()
            .unwrap();
        runtime.block_on(async { text(&mut worker.get().await.unwrap(), "pg_backend_pid()::text").await })
    })
    .await
    .unwrap();
    let mut connection = pool.get().await.unwrap();
    assert_eq!(text(&mut connection, "pg_backend_pid()::text").await, backend);
}

#[tokio::test]
async fn a_connection_that_the_server_ended_is_replaced() {
    let database = Database::create("app", MIGRATIONS).await;
    let pool = pool(&args(database.runtime_url(), 1), "test").unwrap();
    let backend = text(&mut pool.get().await.unwrap(), "pg_backend_pid()::text").await;
    dedicated(&database.superuser_url(), "test")
        .await
        .unwrap()
        .batch_execute(&format!("SELECT pg_terminate_backend({backend})"))
        .await
        .unwrap();
    eventually("another backend answers", async || {
        let mut connection = pool.get().await.ok()?;
        let mut answered = diesel_async::SimpleAsyncConnection::batch_execute(&mut *connection, "SELECT 1")
            .await
            .is_ok();
        answered = answered && text(&mut connection, "pg_backend_pid()::text").await != backend;
        answered.then_some(())
    })
    .await;
}

#[tokio::test]
async fn a_connection_left_in_a_transaction_is_not_handed_on() {
    let database = Database::create("app", MIGRATIONS).await;
    let pool = pool(&args(database.runtime_url(), 1), "test").unwrap();
    {
        use diesel_async::{AnsiTransactionManager, TransactionManager as _};
        let mut connection = pool.get().await.unwrap();
        AnsiTransactionManager::begin_transaction(&mut *connection)
            .await
            .unwrap();
        connection
            .batch_execute("INSERT INTO note VALUES (1, 'never committed')")
            .await
            .unwrap();
    }
    let mut connection = pool.get().await.unwrap();
    assert_eq!(
        text(&mut connection, "(SELECT count(*)::text FROM note)").await,
        "0"
    );
}

#[tokio::test]
async fn a_pool_without_a_free_connection_says_so_after_its_wait_limit() {
    let database = Database::create("app", MIGRATIONS).await;
    let pool = pool(&args(database.runtime_url(), 1), "test").unwrap();
    let _taken = pool.get().await.unwrap();
    let refused = pool.get().await;
    assert!(matches!(refused, Err(PoolError::Timeout(_))));
}

#[tokio::test]
async fn a_reachable_database_is_up() {
    let database = Database::create("app", MIGRATIONS).await;
    wait_until_up(&database.pool(), Duration::from_secs(10))
        .await
        .unwrap();
}

#[tokio::test]
async fn waiting_ends_with_the_last_refusal_and_without_the_password() {
    let closed = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
    let url = format!("postgres://app_runtime:hunter2@{closed}/app");
    let pool = pool(&args(url, 1), "test").unwrap();
    let error = wait_until_up(&pool, Duration::from_millis(300))
        .await
        .unwrap_err()
        .to_string();
    assert!(error.contains("refused"), "{error}");
    assert!(!error.contains("hunter2"), "{error}");
}

#[tokio::test]
async fn a_server_that_accepts_and_never_answers_is_given_up() {
    let silent = TcpListener::bind("127.0.0.1:0").unwrap();
    let url = format!("postgres://a:b@{}/app", silent.local_addr().unwrap());
    let error = dedicated(&url, "test").await.map(drop).unwrap_err();
    assert!(format!("{error:#}").contains("no session within"), "{error:#}");
}
