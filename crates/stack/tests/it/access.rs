//! What the servers refuse, and that they let in whom they should.

use std::io::{BufRead as _, BufReader, Write as _};
use std::net::TcpStream;

use tokio_postgres::{Client, Error, NoTls};

use crate::Servers;

#[tokio::test]
async fn roles_and_users_can_do_what_the_architecture_says_and_no_more() {
    let servers = Servers::start().await;
    let stack = &servers.stack;

    // A role is let into its own database and into no other.
    let owner = connect(&stack.postgres_url("app_owner", "app")).await.unwrap();
    owner
        .batch_execute("CREATE TABLE product (id bigint); GRANT SELECT ON product TO app_runtime")
        .await
        .unwrap();
    let runtime = connect(&stack.postgres_url("app_runtime", "app")).await.unwrap();
    runtime.query("SELECT id FROM product", &[]).await.unwrap();
    for (role, database) in [
        ("analytics_runtime", "app"),
        ("app_runtime", "audit"),
        ("app_owner", "email"),
        ("app_runtime", "postgres"),
    ] {
        let refusal = connect(&stack.postgres_url(role, database))
            .await
            .map(drop)
            .unwrap_err();
        assert_eq!(code(&refusal), "42501", "{role} in {database}: {refusal}");
    }

    // It changes no schema, not even to make a table that goes away by itself.
    for statement in [
        "CREATE TABLE mine (id bigint)",
        "CREATE TEMPORARY TABLE mine (id bigint)",
        "ALTER TABLE product ADD x int",
        "CREATE SCHEMA mine",
    ] {
        let refusal = runtime.batch_execute(statement).await.unwrap_err();
        assert_eq!(code(&refusal), "42501", "{statement}: {refusal}");
    }
    let wrong = stack
        .postgres_url("app_runtime", "app")
        .replace("app_runtime:", "app_runtime:x");
    assert_eq!(code(&connect(&wrong).await.map(drop).unwrap_err()), "28P01");

    check_redis(&stack.redis_url("app-service"), &stack.redis_url("admin"));

    let topics = stack.topics().await.unwrap();
    let names: Vec<&str> = topics.iter().map(|topic| topic.name.as_str()).collect();
    assert_eq!(
        names,
        [
            "plumbline.catalogue.v1",
            "plumbline.customers.v1",
            "plumbline.orders.v1"
        ]
    );
    for topic in &topics {
        assert_eq!((topic.partitions, topic.records), (12, 0));
        assert!(topic.lag.contains_key("audit-consumer") && topic.lag.values().all(|lag| *lag == 0));
    }
    servers.end().await;
}

fn check_redis(app: &str, admin: &str) {
    let mut app = Redis::login(app);
    assert_eq!(app.ask("SET c1:{product:1}:d x"), "+OK");
    assert_eq!(app.ask("GET c1:{product:1}:d"), "$1");
    assert!(app.ask("EVAL return(1) 0").starts_with(":1"));
    assert!(app.ask("INFO server").starts_with('$'));
    for refused in [
        "FLUSHALL",
        "FLUSHDB",
        "KEYS *",
        "CONFIG GET *",
        "ACL LIST",
        "DEBUG SLEEP 0",
        "SHUTDOWN",
        "GET other",
        "SAVE",
    ] {
        let answer = app.ask(refused);
        assert!(answer.starts_with("-NOPERM"), "{refused}: {answer}");
    }
    assert!(Redis::anonymous(admin).ask("PING").starts_with("-NOAUTH"));
    assert_eq!(Redis::login(admin).ask("FLUSHALL"), "+OK");
}

async fn connect(url: &str) -> Result<Client, Error> {
    let (client, connection) = tokio_postgres::connect(url, NoTls).await?;
    tokio::spawn(connection);
    Ok(client)
}

fn code(error: &Error) -> &str {
    error.code().map_or("none", |code| code.code())
}

/// Enough of a Redis client to see the first line of an answer.
struct Redis {
    stream: BufReader<TcpStream>,
}

impl Redis {
    fn anonymous(url: &str) -> Redis {
        let address = url.rsplit('@').next().unwrap();
        Redis {
            stream: BufReader::new(TcpStream::connect(address).unwrap()),
        }
    }

    fn login(url: &str) -> Redis {
        let login = url.strip_prefix("redis://").unwrap().split('@').next().unwrap();
        let mut redis = Redis::anonymous(url);
        assert_eq!(redis.ask(&format!("AUTH {}", login.replace(':', " "))), "+OK");
        redis
    }

    fn ask(&mut self, command: &str) -> String {
        self.stream
            .get_mut()
            .write_all(format!("{command}\r\n").as_bytes())
            .unwrap();
        let mut line = String::new();
        self.stream.read_line(&mut line).unwrap();
        if let Some(length) = line
            .strip_prefix('$')
            .and_then(|length| length.trim().parse::<u64>().ok())
        {
            std::io::copy(
                &mut std::io::Read::take(&mut self.stream, length + 2),
                &mut std::io::sink(),
            )
            .unwrap();
        }
        line.trim().to_owned()
    }
}
