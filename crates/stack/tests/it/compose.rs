//! The Compose file's PostgreSQL script, run on a server that has nothing yet.

use std::path::Path;

use stack::{Options, Stack, find_root, target_dir};
use tokio_postgres::{Client, NoTls};

use crate::{Servers, folder};

#[tokio::test]
async fn the_containers_script_makes_the_same_roles_databases_and_rights_as_natively() {
    let servers = Servers::start().await;
    let native = describe(&servers.stack).await;
    servers.end().await;
    assert!(native.len() > 20, "{native:#?}");

    let root = find_root().unwrap();
    let dir = folder(&target_dir(&root));
    let stack = bare(&root, dir.path()).await;
    let script = std::fs::read_to_string(root.join("deploy/compose/postgres.sql")).unwrap();
    run(&stack, &script).await;
    assert_eq!(describe(&stack).await, native);
    for role in ["app_owner", "app_runtime", "audit_runtime"] {
        let database = role.split('_').next().unwrap();
        let url = stack.postgres_superuser_url(database);
        let address = url.rsplit_once('@').unwrap().1;
        connect(&format!("postgres://{role}:{role}@{address}")).await;
    }
    assert!(stack.down().await.is_empty());
}

/// Servers of an architecture without a process: they have an administrator and nothing else.
async fn bare(root: &Path, dir: &Path) -> Stack {
    let shop = dir.join("root");
    let pom = "crates/stack/servers/pom.xml";
    std::fs::create_dir_all(shop.join("crates/stack/servers")).unwrap();
    std::fs::copy(root.join(pom), shop.join(pom)).unwrap();
    std::fs::write(shop.join("architecture.toml"), "[process]\n").unwrap();
    let mut options = Options::new(shop, dir.join("stack"));
    options.target = target_dir(root);
    options.fsync = false;
    options.mail_sink = false;
    Stack::servers(options).await.unwrap()
}

/// As psql does: one statement after the other, on the database of the last `\connect`.
async fn run(stack: &Stack, script: &str) {
    let lines = script.lines().filter(|line| !line.starts_with("--"));
    let script = lines.collect::<Vec<_>>().join("\n");
    for (index, part) in script.split("\\connect ").enumerate() {
        let (database, statements) = match index {
            0 => ("postgres", part),
            _ => part.split_once('\n').unwrap(),
        };
        let client = connect(&stack.postgres_superuser_url(database)).await;
        for statement in statements.split(';').filter(|text| !text.trim().is_empty()) {
            client.batch_execute(statement).await.unwrap();
        }
    }
}

/// A line for each role, database and schema, with owners, attributes and rights.
async fn describe(stack: &Stack) -> Vec<String> {
    let server = connect(&stack.postgres_superuser_url("postgres")).await;
    let mut lines = rows(
        &server,
        "SELECT concat_ws(' ', rolname, rolcanlogin, rolsuper, rolinherit, rolcreaterole, rolcreatedb, rolreplication, rolbypassrls)
         FROM pg_roles WHERE rolname !~ '^pg_' ORDER BY rolname",
    )
    .await;
    let databases = rows(
        &server,
        "SELECT datname::text FROM pg_database WHERE datallowconn ORDER BY datname",
    )
    .await;
    lines.extend(
        rows(
            &server,
            "SELECT concat_ws(' ', datname, pg_get_userbyid(datdba), datacl, pg_encoding_to_char(encoding), datlocprovider, datlocale)
             FROM pg_database ORDER BY datname",
        )
        .await,
    );
    for database in databases {
        let inside = connect(&stack.postgres_superuser_url(&database)).await;
        let schemas = "SELECT concat_ws(' ', current_database(), nspname, pg_get_userbyid(nspowner), nspacl)
                       FROM pg_namespace WHERE nspname !~ '^pg_' ORDER BY nspname";
        lines.extend(rows(&inside, schemas).await);
    }
    lines
}

async fn rows(client: &Client, sql: &str) -> Vec<String> {
    let rows = client.query(sql, &[]).await.unwrap();
    rows.iter().map(|row| row.get(0)).collect()
}

async fn connect(url: &str) -> Client {
    let (client, connection) = tokio_postgres::connect(url, NoTls).await.unwrap();
    tokio::spawn(connection);
    client
}
