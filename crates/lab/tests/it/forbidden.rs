//! What the diagram does not show is refused by the servers themselves.

use std::collections::BTreeSet;
use std::time::Duration;

use kafka::KafkaArgs;
use rdkafka::consumer::{BaseConsumer, Consumer};
use rdkafka::error::{KafkaError, RDKafkaErrorCode};
use rdkafka::{Offset, TopicPartitionList};
use settings::Secret;
use tls::ClientArgs;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio_postgres::NoTls;
use tokio_postgres::error::SqlState;

use crate::whole::{self, WholeStack};

#[tokio::test(flavor = "multi_thread")]
async fn forbidden_arrows_are_refused_by_the_servers() {
    let whole = whole::start("forbidden", vec![]).await;
    consumers_cannot_produce(&whole).await;
    app_service_cannot_consume(&whole).await;
    a_role_connects_to_its_own_database_only(&whole).await;
    grants_are_what_the_architecture_says(&whole).await;
    a_runtime_role_runs_no_ddl(&whole).await;
    the_redis_user_runs_no_dangerous_command(&whole).await;
    environments_hold_only_their_own_arrows(&whole).await;
    whole.down().await;
}

fn kafka_args(whole: &WholeStack, process: &str) -> KafkaArgs {
    let (user, password) = whole.stack.kafka_user(process);
    let (bootstrap_servers, _, _) = whole.stack.kafka_admin();
    KafkaArgs {
        bootstrap_servers,
        security_protocol: "SASL_PLAINTEXT".into(),
        sasl_mechanism: Some("PLAIN".into()),
        sasl_username: Some(user),
        sasl_password: Some(Secret::of(password)),
        tls: ClientArgs::default(),
    }
}

async fn consumers_cannot_produce(whole: &WholeStack) {
    for process in ["analytics-consumer", "email-consumer", "audit-consumer"] {
        let refused = testkit::produce_as(&kafka_args(whole, process), events::topics::ORDERS).await;
        let code = refused.expect_err(process).rdkafka_error_code();
        assert_eq!(
            code,
            Some(RDKafkaErrorCode::TopicAuthorizationFailed),
            "{process}"
        );
    }
    // The same attempt by the one that may, or the refusals above prove nothing.
    testkit::produce_as(&kafka_args(whole, "app-service"), events::topics::CATALOGUE)
        .await
        .unwrap();
}

/// Reads partition 0 of the orders' topic as `process`; what the broker says to that.
async fn read_as(whole: &WholeStack, process: &str) -> Option<KafkaError> {
    let mut config = kafka_args(whole, process).client("forbidden").unwrap();
    config
        .set("group.id", process)
        .set("enable.partition.eof", "true");
    let reading = move || {
        let consumer: BaseConsumer = config.create().unwrap();
        let mut partitions = TopicPartitionList::new();
        partitions
            .add_partition_offset(events::topics::ORDERS, 0, Offset::Beginning)
            .unwrap();
        consumer.assign(&partitions).unwrap();
        // Partitions are assigned by hand here, which needs no group: what counts is the topic.
        let about_topic = |error: &KafkaError| {
            error.rdkafka_error_code() != Some(RDKafkaErrorCode::GroupAuthorizationFailed)
        };
        (0..60).find_map(|_| {
            consumer
                .poll(Duration::from_millis(500))?
                .err()
                .filter(about_topic)
        })
    };
    // Dropping a consumer blocks.
    tokio::task::spawn_blocking(reading).await.unwrap()
}

async fn app_service_cannot_consume(whole: &WholeStack) {
    let refused = read_as(whole, "app-service").await.expect("an answer");
    assert_eq!(
        refused.rdkafka_error_code(),
        Some(RDKafkaErrorCode::TopicAuthorizationFailed)
    );
    let allowed = read_as(whole, "audit-consumer").await;
    assert!(
        matches!(allowed, Some(KafkaError::PartitionEOF(0))),
        "{allowed:?}"
    );
}

async fn a_role_connects_to_its_own_database_only(whole: &WholeStack) {
    let databases = ["app", "analytics", "email", "audit"];
    for role in databases {
        for database in databases {
            let url = whole.stack.postgres_url(&format!("{role}_runtime"), database);
            let connected = tokio_postgres::connect(&url, NoTls).await;
            match connected {
                Ok(_) => assert_eq!(role, database, "{role}_runtime reaches the database {database}"),
                Err(error) => {
                    assert_ne!(role, database, "{error}");
                    assert_eq!(error.code(), Some(&SqlState::INSUFFICIENT_PRIVILEGE), "{error}");
                }
            }
        }
    }
}

/// Who was granted what, in the databases as the migrations left them.
async fn grants_are_what_the_architecture_says(whole: &WholeStack) {
    let architecture = stack::Architecture::read(&whole.root()).unwrap();
    let databases: Vec<&String> = architecture
        .processes
        .values()
        .filter_map(|p| p.database.as_ref())
        .collect();
    for database in &databases {
        let url = whole.stack.postgres_superuser_url(database);
        let (client, connection) = tokio_postgres::connect(&url, NoTls).await.unwrap();
        let driving = tokio::spawn(connection);
        let names = async |sql: &str| -> BTreeSet<String> {
            client
                .query(sql, &[])
                .await
                .unwrap()
                .iter()
                .map(|row| row.get(0))
                .collect()
        };
        let own: BTreeSet<String> = ["owner", "runtime"]
            .map(|role| format!("{database}_{role}"))
            .into();
        let grantees = "SELECT DISTINCT grantee::text FROM information_schema.role_table_grants
                        WHERE table_schema = 'public'";
        assert_eq!(
            names(grantees).await,
            own,
            "roles with rights on tables of {database}"
        );
        let owners = "SELECT DISTINCT tableowner::text FROM pg_tables WHERE schemaname = 'public'";
        assert_eq!(names(owners).await, BTreeSet::from([format!("{database}_owner")]));
        // By oid: a name would be looked up for tables of other schemas, too.
        let unreachable = format!(
            "SELECT relname::text FROM pg_class
             WHERE relnamespace = 'public'::regnamespace AND relkind IN ('r', 'p') AND relname NOT LIKE '\\_\\_diesel%'
             AND NOT has_any_column_privilege('{database}_runtime', oid, 'SELECT')
             AND NOT has_any_column_privilege('{database}_runtime', oid, 'INSERT')"
        );
        assert_eq!(
            names(&unreachable).await,
            BTreeSet::new(),
            "tables that no grant reaches"
        );
        let connecting = format!(
            "SELECT rolname::text FROM pg_roles
             WHERE NOT rolsuper AND rolcanlogin AND has_database_privilege(rolname, '{database}', 'CONNECT')"
        );
        assert_eq!(
            names(&connecting).await,
            own,
            "roles that may connect to {database}"
        );
        let roles = "SELECT rolname::text FROM pg_roles WHERE NOT rolsuper AND rolcanlogin";
        assert_eq!(
            names(roles).await.len(),
            2 * databases.len(),
            "there is no role without an arrow"
        );
        driving.abort();
    }
}

async fn a_runtime_role_runs_no_ddl(whole: &WholeStack) {
    for database in ["app", "analytics", "email", "audit"] {
        let url = whole.stack.postgres_url(&format!("{database}_runtime"), database);
        let (client, connection) = tokio_postgres::connect(&url, NoTls).await.unwrap();
        let driving = tokio::spawn(connection);
        let owned = match database {
            "app" => "outbox",
            _ => "position",
        };
        for ddl in [
            "CREATE TABLE mine (id int)".to_owned(),
            "CREATE SCHEMA mine".to_owned(),
            format!("ALTER TABLE {owned} ADD COLUMN mine int"),
            format!("DROP TABLE {owned}"),
            format!("TRUNCATE {owned}"),
        ] {
            let error = client.batch_execute(&ddl).await.expect_err(&ddl);
            assert_eq!(
                error.code(),
                Some(&SqlState::INSUFFICIENT_PRIVILEGE),
                "{database}: {ddl}: {error}"
            );
        }
        driving.abort();
    }
}

async fn the_redis_user_runs_no_dangerous_command(whole: &WholeStack) {
    let url = whole.stack.redis_url("app-service");
    // redis://user:password@host:port/…
    let rest = url.strip_prefix("redis://").unwrap();
    let (credentials, address) = rest.split_once('@').unwrap();
    let (user, password) = credentials.split_once(':').unwrap();
    let mut socket = TcpStream::connect(address.trim_end_matches('/')).await.unwrap();
    for (command, answer) in [
        (format!("AUTH {user} {password}"), "+OK"),
        ("SET c1:{forbidden}:d 1 PX 1000".into(), "+OK"),
        ("FLUSHALL".into(), "-NOPERM"),
        ("FLUSHDB".into(), "-NOPERM"),
        ("KEYS *".into(), "-NOPERM"),
        ("CONFIG GET *".into(), "-NOPERM"),
        ("SHUTDOWN NOSAVE".into(), "-NOPERM"),
        ("GET elsewhere".into(), "-NOPERM"),
    ] {
        socket
            .write_all(format!("{command}\r\n").as_bytes())
            .await
            .unwrap();
        let mut buffer = [0; 512];
        let length = tokio::time::timeout(Duration::from_secs(30), socket.read(&mut buffer))
            .await
            .unwrap()
            .unwrap();
        let said = String::from_utf8_lossy(&buffer[..length]);
        assert!(
            said.starts_with(answer),
            "{}: {said}",
            command.split(' ').next().unwrap()
        );
    }
}

/// A process can't call what it was never told the address of.
async fn environments_hold_only_their_own_arrows(whole: &WholeStack) {
    let architecture = stack::Architecture::read(&whole.root()).unwrap();
    let servers = whole.server_ports();
    for process in &whole.stack.status().await.unwrap().processes {
        let environment = std::fs::read_to_string(format!("/proc/{}/environ", process.pid.unwrap())).unwrap();
        let box_ = &architecture.processes[&process.name];
        for (server, allowed) in [
            ("postgres", box_.database.is_some()),
            ("redis", box_.redis.is_some()),
            ("kafka", box_.uses_kafka()),
            ("smtp", box_.smtp),
            ("app-service", !box_.calls.is_empty()),
        ] {
            let told = environment.contains(&format!(":{}", servers[server]))
                // Its own listening address is no arrow.
                && process.name != server;
            assert_eq!(told, allowed, "{} and the address of {server}", process.name);
        }
    }
}
