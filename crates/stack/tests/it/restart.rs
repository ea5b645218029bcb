//! Servers that are killed come back with what they had.

use std::time::{Duration, Instant};

use rustix::process::{Pid, Signal};
use stack::{Server, Stack};
use tokio_postgres::NoTls;

use crate::Servers;

#[tokio::test]
async fn a_killed_server_comes_back_on_its_port_with_its_data_and_one_that_dies_is_noticed() {
    let mut servers = Servers::start().await;
    let stack = &mut servers.stack;
    let before = stack.status().await.unwrap();
    execute(
        &stack.postgres_superuser_url("app"),
        "CREATE TABLE kept (id int); INSERT INTO kept VALUES (1)",
    )
    .await;

    for server in [Server::Postgres, Server::Redis, Server::Kafka, Server::Smtp] {
        let pid = stack.server_pid(server).unwrap();
        stack.kill_server(server).unwrap();
        assert!(stack.server_pid(server).is_err());
        assert!(stack.kill_server(server).is_err(), "{server} was killed twice");
        // It was killed on purpose, so nobody has died.
        assert!(stack.dead().unwrap().is_none());
        stack.start_server(server).await.unwrap();
        assert_ne!(stack.server_pid(server).unwrap(), pid);
    }

    execute(
        &stack.postgres_superuser_url("app"),
        "DELETE FROM kept WHERE id = 1 AND 1 = (SELECT count(*) FROM kept)",
    )
    .await;
    assert_eq!(stack.topics().await.unwrap().len(), 3);
    let after = stack.status().await.unwrap();
    for (name, server) in &before.servers {
        assert_eq!(server.address, after.servers[name].address);
    }
    notice(stack, Server::Redis).await;
    servers.end().await;
}

/// A server that nobody meant to kill is reported in one line.
async fn notice(stack: &mut Stack, server: Server) {
    let pid = i32::try_from(stack.server_pid(server).unwrap()).unwrap();
    rustix::process::kill_process(Pid::from_raw(pid).unwrap(), Signal::KILL).unwrap();
    let deadline = Instant::now() + Duration::from_secs(30);
    let death = loop {
        if let Some(death) = stack.dead().unwrap() {
            break death.to_string();
        }
        assert!(Instant::now() < deadline, "nobody noticed");
        tokio::time::sleep(Duration::from_millis(20)).await;
    };
    let expected = format!("{server} ended (signal: 9");
    assert!(death.starts_with(&expected) && !death.contains('\n'), "{death}");
}

async fn execute(url: &str, sql: &str) {
    let (client, connection) = tokio_postgres::connect(url, NoTls).await.unwrap();
    let connection = tokio::spawn(connection);
    client.batch_execute(sql).await.unwrap();
    drop(client);
    connection.await.unwrap().unwrap();
}
