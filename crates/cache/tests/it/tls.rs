//! A Redis of the test's own, with TLS and certificates made for the run, and a password that changes under way.

use std::path::Path;
use std::process::{Child, Command, Stdio};

use cache::{Cache, CacheArgs};
use clap::Parser as _;
use deadpool_redis::redis::{Client, TlsCertificates, Value, cmd, from_redis_value};
use testkit::{Authority, Identity, RedisServer, eventually};
use uuid::Uuid;

use crate::shelf::{BYPASSED, HIT, STORED, Shelf, found, lasting, read};

#[derive(clap::Parser)]
struct Arguments {
    #[command(flatten)]
    cache: CacheArgs,
}

/// As a process would be told.
pub(crate) fn settings(arguments: &[&str]) -> CacheArgs {
    let patient = [
        "test",
        "--redis-command-timeout",
        "20s",
        "--cache-staleness-bound",
        "0s",
    ];
    Arguments::parse_from([&patient, arguments].concat()).cache
}

fn text(path: &Path) -> &str {
    path.to_str().unwrap()
}

struct Server {
    child: Child,
    port: u16,
    identity: Identity,
}

impl Server {
    /// With the user `app`, whose password is `one`, and the user `default`, who may do everything.
    async fn start(authority: &Authority, identity: Identity, asks_for_clients: bool) -> Server {
        Server::start_on(
            RedisServer::free_port(),
            authority,
            identity,
            asks_for_clients,
            &[],
        )
        .await
    }

    /// One of a cluster's nodes, which speak TLS to each other too.
    async fn node(authority: &Authority) -> Server {
        let (port, identity) = (RedisServer::free_port(), authority.peer(&["127.0.0.1"]));
        let file = format!("nodes-{port}.conf");
        let cluster = [
            "--cluster-enabled",
            "yes",
            "--tls-cluster",
            "yes",
            "--cluster-config-file",
            &file,
        ];
        Server::start_on(port, authority, identity, false, &cluster).await
    }

    async fn start_on(
        port: u16,
        authority: &Authority,
        identity: Identity,
        asks_for_clients: bool,
        more: &[&str],
    ) -> Server {
        let child = Command::new(RedisServer::program())
            .current_dir(authority.dir())
            .args([
                "--bind",
                "127.0.0.1",
                "--port",
                "0",
                "--save",
                "",
                "--appendonly",
                "no",
            ])
            .args(["--tls-port", &port.to_string()])
            .arg("--tls-cert-file")
            .arg(&identity.certificate)
            .arg("--tls-key-file")
            .arg(&identity.key)
            .arg("--tls-ca-cert-file")
            .arg(authority.ca())
            .args(["--tls-auth-clients", if asks_for_clients { "yes" } else { "no" }])
            .args(["--user", "app", "on", ">one", "~*", "+@all"])
            .args(["--requirepass", "admin"])
            .args(more)
            .stdout(Stdio::null())
            .spawn()
            .unwrap();
        let server = Server {
            child,
            port,
            identity,
        };
        eventually("redis listens", async || {
            tokio::net::TcpStream::connect(("127.0.0.1", port)).await.ok()
        })
        .await;
        server
    }

    fn url(&self, user: &str, password: &str) -> String {
        format!("rediss://{user}:{password}@127.0.0.1:{}", self.port)
    }

    /// Runs a command as the administrator.
    async fn administer(&self, authority: &Authority, words: &[&str]) -> Value {
        let certificates = TlsCertificates {
            client_tls: None,
            root_cert: Some(std::fs::read(authority.ca()).unwrap()),
        };
        let client = Client::build_with_tls(self.url("default", "admin"), certificates).unwrap();
        let mut connection = client.get_multiplexed_async_connection().await.unwrap();
        let mut command = cmd(words[0]);
        command.arg(&words[1..]);
        command.query_async(&mut connection).await.unwrap()
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// Whether a connection is made, or why not.
async fn connect(args: &CacheArgs) -> Result<(), String> {
    let cache = Cache::start(args, 1).await.map_err(|error| error.to_string())?;
    let seen = cache.tail().look().await;
    seen.map(drop).map_err(|error| error.to_string())
}

async fn ping(server: &Server, more: &[&str]) -> Result<(), String> {
    let url = server.url("app", "one");
    connect(&settings(&[&["--redis-url", &url], more].concat())).await
}

fn check(outcome: Result<(), String>, expected: Result<(), &str>) {
    match (outcome, expected) {
        (Ok(()), Ok(())) => {}
        (Err(said), Err(reason)) => {
            assert!(said.contains(reason), "{reason} is not in {said}");
            assert!(!said.contains("one@"), "{said}");
        }
        (outcome, expected) => panic!("{outcome:?}, not {expected:?}"),
    }
}

#[tokio::test]
async fn redis_is_known_by_its_ca_its_name_and_its_time() {
    let (ours, other) = (Authority::new("ours"), Authority::new("other"));
    let (ca, other_ca) = (ours.ca(), other.ca());
    let server = Server::start(&ours, ours.server(&["127.0.0.1"]), false).await;
    let trusting = ["--redis-ca-file", text(&ca)];
    check(ping(&server, &trusting).await, Ok(()));
    check(
        ping(&server, &["--redis-ca-file", text(&other_ca)]).await,
        Err("UnknownIssuer"),
    );
    let plain = server.url("app", "one").replace("rediss:", "redis:");
    let refused = connect(&settings(&["--redis-url", &plain])).await;
    assert!(refused.is_err(), "plain text was answered");
    let confused = settings(&["--redis-url", &plain, "--redis-ca-file", text(&ca)]);
    check(connect(&confused).await, Err("does not start with rediss://"));

    // Redis takes the files anew when it is told their names again.
    let reload = async |identity: &Identity| {
        let (certificate, key) = (text(&server.identity.certificate), text(&server.identity.key));
        server.identity.become_copy_of(identity);
        for (setting, path) in [("tls-key-file", key), ("tls-cert-file", certificate)] {
            server.administer(&ours, &["CONFIG", "SET", setting, path]).await;
        }
    };
    reload(&ours.server(&["127.0.0.1", "cache.test"])).await;
    check(ping(&server, &trusting).await, Ok(()));
    let old = Server::start(&ours, ours.expired_server(&["127.0.0.1"]), false).await;
    check(ping(&old, &trusting).await, Err("certificate expired"));
    let misnamed = Server::start(&ours, ours.server(&["cache.test"]), false).await;
    check(
        ping(&misnamed, &trusting).await,
        Err("certificate not valid for name"),
    );
}

#[tokio::test]
async fn redis_may_ask_for_a_certificate() {
    let ours = Authority::new("ours");
    let (ca, own) = (ours.ca(), ours.client("app-service"));
    let server = Server::start(&ours, ours.server(&["127.0.0.1"]), true).await;
    let trusting = ["--redis-ca-file", text(&ca)];
    let with_own = [
        "--redis-client-cert-file",
        text(&own.certificate),
        "--redis-client-key-file",
        text(&own.key),
    ];
    assert!(ping(&server, &trusting).await.is_err(), "it did not ask");
    check(ping(&server, &[&trusting[..], &with_own].concat()).await, Ok(()));
}

#[tokio::test]
async fn a_rotated_password_and_a_rotated_ca_are_used_from_the_next_connection_on() {
    let (ours, other) = (Authority::new("ours"), Authority::new("other"));
    let server = Server::start(&ours, ours.server(&["127.0.0.1"]), false).await;
    let (url_file, ca_file) = (ours.dir().join("url"), ours.dir().join("trusted.pem"));
    std::fs::write(&url_file, server.url("app", "one")).unwrap();
    std::fs::copy(ours.ca(), &ca_file).unwrap();
    let files = [
        "--redis-url-file",
        text(&url_file),
        "--redis-ca-file",
        text(&ca_file),
    ];
    let rows = Shelf::<1>::default();
    let shelf = rows.of(&Cache::start(&settings(&files), 4).await.unwrap(), lasting());
    let key = Uuid::now_v7();
    rows.put(key, 1, "mug");
    let until = async |what: &str, status| {
        eventually(what, async || {
            (read(&shelf, key).await == found(1, "mug", status)).then_some(())
        })
        .await;
    };
    until("redis is used", HIT).await;

    // The open connection does not ask again.
    server
        .administer(&ours, &["ACL", "SETUSER", "app", "resetpass", ">two"])
        .await;
    assert_eq!(read(&shelf, key).await, found(1, "mug", HIT));
    server.administer(&ours, &["CLIENT", "KILL", "USER", "app"]).await;
    until("the old password is refused", BYPASSED).await;
    std::fs::write(&url_file, server.url("app", "two")).unwrap();
    until("the new password is used", HIT).await;

    std::fs::copy(other.ca(), &ca_file).unwrap();
    server.administer(&ours, &["CLIENT", "KILL", "USER", "app"]).await;
    until("the other CA does not know this server", BYPASSED).await;
    std::fs::copy(ours.ca(), &ca_file).unwrap();
    until("the right CA is used", HIT).await;
}

#[tokio::test]
async fn the_nodes_of_a_cluster_are_reached_with_tls() {
    let (ours, other) = (Authority::new("ours"), Authority::new("other"));
    let nodes = [Server::node(&ours).await, Server::node(&ours).await];
    for (number, node) in nodes.iter().enumerate() {
        let slots = (number * 8_192..(number + 1) * 8_192).map(|slot| slot.to_string());
        let command: Vec<String> = ["CLUSTER", "ADDSLOTS"]
            .map(str::to_owned)
            .into_iter()
            .chain(slots)
            .collect();
        let command: Vec<&str> = command.iter().map(String::as_str).collect();
        node.administer(&ours, &command).await;
    }
    let port = nodes[1].port.to_string();
    nodes[0]
        .administer(&ours, &["CLUSTER", "MEET", "127.0.0.1", &port])
        .await;
    eventually("the cluster is whole", async || {
        for node in &nodes {
            let info = node.administer(&ours, &["CLUSTER", "INFO"]).await;
            let info: String = from_redis_value(info).unwrap();
            if !info.contains("cluster_state:ok") || !info.contains("cluster_known_nodes:2") {
                return None;
            }
        }
        Some(())
    })
    .await;

    let url = format!("rediss-cluster://app:one@127.0.0.1:{}", nodes[0].port);
    let trusting = async |ca: &Path| {
        let args = settings(&["--redis-url", &url, "--redis-ca-file", text(ca)]);
        Cache::start(&args, 4).await.unwrap()
    };
    let rows = Shelf::<1>::default();
    let shelf = rows.of(&trusting(&ours.ca()).await, lasting());
    let stranger = rows.of(&trusting(&other.ca()).await, lasting());
    for _ in 0..40 {
        let key = Uuid::now_v7();
        rows.put(key, 1, "mug");
        assert_eq!(read(&shelf, key).await, found(1, "mug", STORED));
        assert_eq!(read(&shelf, key).await, found(1, "mug", HIT));
        assert_eq!(read(&stranger, key).await, found(1, "mug", BYPASSED));
    }
    for node in &nodes {
        let keys: i64 = from_redis_value(node.administer(&ours, &["DBSIZE"]).await).unwrap();
        assert!(keys > 0, "a master holds nothing");
    }
}
