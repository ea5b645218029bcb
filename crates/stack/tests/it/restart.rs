//! Servers that are killed come back with what they had.

use stack::Server;
use tokio_postgres::NoTls;

use crate::Servers;

#[tokio::test]
async fn a_killed_server_comes_back_on_its_port_with_its_data() {
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
    servers.end().await;
}

#[tokio::test]
async fn a_server_that_dies_by_itself_is_noticed_in_one_line() {
    let mut servers = Servers::start().await;
    let pid = servers.stack.server_pid(Server::Redis).unwrap();
    let pid = rustix::process::Pid::from_raw(i32::try_from(pid).unwrap()).unwrap();
    rustix::process::kill_process(pid, rustix::process::Signal::KILL).unwrap();
    let deadline = std::time::Instant::now() + std::time::Duration::from_secs(30);
    let death = loop {
        if let Some(death) = servers.stack.dead().unwrap() {
            break death.to_string();
        }
        assert!(std::time::Instant::now() < deadline, "nobody noticed");
        tokio::time::sleep(std::time::Duration::from_millis(20)).await;
    };
    assert!(
        death.starts_with("redis ended (signal: 9") && !death.contains('\n'),
        "{death}"
    );
    servers.end().await;
}

async fn execute(url: &str, sql: &str) {
    let (client, connection) = tokio_postgres::connect(url, NoTls).await.unwrap();
    let connection = tokio::spawn(connection);
    client.batch_execute(sql).await.unwrap();
    drop(client);
    connection.await.unwrap().unwrap();
}
