//! Servers that somebody else runs.

use stack::{External, Options, Server, Stack, find_root};

use crate::Servers;

#[tokio::test]
async fn servers_from_the_environment_are_provisioned_and_left_running() {
    let theirs = Servers::start().await;
    let dir = tempfile::tempdir().unwrap();
    let (bootstrap, user, password) = theirs.stack.kafka_admin();
    let mut options = Options::new(find_root().unwrap(), dir.path());
    options.external = External {
        postgres_url: Some(theirs.stack.postgres_superuser_url("postgres")),
        redis_url: Some(theirs.stack.redis_url("admin")),
        kafka_bootstrap: Some(bootstrap.clone()),
        kafka_login: Some((user.clone(), password)),
        smtp_url: Some("smtp://127.0.0.1:25".to_owned()),
        ..External::default()
    };
    let mut ours = Stack::servers(options).await.unwrap();

    let url = ours.postgres_url("audit_runtime", "audit");
    let (client, connection) = tokio_postgres::connect(&url, tokio_postgres::NoTls)
        .await
        .unwrap();
    tokio::spawn(connection);
    client.query("SELECT 1", &[]).await.unwrap();
    assert_eq!(ours.redis_url("app-service"), theirs.stack.redis_url("admin"));
    assert_eq!(
        (ours.kafka_admin().0, ours.kafka_user("audit-consumer").0),
        (bootstrap, user)
    );
    assert_eq!(ours.topics().await.unwrap().len(), 3);

    for server in Server::ALL {
        assert!(ours.kill_server(server).is_err(), "{server} is not ours to kill");
    }
    assert!(ours.down().await.is_empty());
    assert_eq!(theirs.stack.topics().await.unwrap().len(), 3);
    theirs.end().await;
}
