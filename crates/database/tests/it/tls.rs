//! A PostgreSQL of the test's own, with TLS and certificates made for the run, and a password that changes under way.

use std::path::PathBuf;

use database::{Access, DatabaseArgs, dedicated};
use diesel::sql_types::{Bool, Integer};
use diesel_async::{AsyncPgConnection, RunQueryDsl as _, SimpleAsyncConnection as _};
use settings::Secret;
use stack::{Options, Passwords, Stack};
use testkit::{Authority, Identity, eventually};
use tls::ClientFiles;

struct Server {
    stack: Stack,
    /// A superuser's connection, which stays open whatever the server asks of new ones.
    admin: AsyncPgConnection,
    /// `host:port`
    address: String,
    _dir: tempfile::TempDir,
}

impl Server {
    async fn start() -> Server {
        let dir = tempfile::tempdir().unwrap();
        let mut options = Options::new(stack::find_root().unwrap(), dir.path());
        options.passwords = Passwords::Names;
        options.fsync = false;
        options.mail_sink = false;
        let given = |name: &str| std::env::var(name).unwrap();
        options.external.redis_url = Some(given("PLUMBLINE_TEST_REDIS"));
        options.external.kafka_bootstrap = Some(given("PLUMBLINE_TEST_KAFKA"));
        options.external.kafka_login = Some((
            given("PLUMBLINE_TEST_KAFKA_USER"),
            given("PLUMBLINE_TEST_KAFKA_PASSWORD"),
        ));
        let stack = Stack::servers(options).await.unwrap();
        let url = stack.postgres_superuser_url("postgres");
        let address = url
            .rsplit_once('@')
            .unwrap()
            .1
            .split_once('/')
            .unwrap()
            .0
            .to_owned();
        let admin = dedicated(&url, "test").await.unwrap();
        let mut server = Server {
            stack,
            admin,
            address,
            _dir: dir,
        };
        for statement in [
            "CREATE ROLE rotating LOGIN PASSWORD 'one'",
            "GRANT CONNECT ON DATABASE postgres TO rotating",
        ] {
            server.run(statement).await;
        }
        server
    }

    async fn run(&mut self, statement: &str) {
        let done = self.admin.batch_execute(statement).await;
        done.unwrap_or_else(|error| panic!("{statement}: {error}"));
    }

    /// Writes a file in the server's data folder as the server's user, whom the key has to belong to.
    async fn put(&mut self, name: &str, content: &str) {
        self.run(&format!(
            "COPY (SELECT unnest(string_to_array($file${content}$file$, E'\\n'))) TO PROGRAM 'umask 077; cat > {name}'"
        ))
        .await;
    }

    async fn show(&mut self, identity: &Identity) {
        let read = |path: &PathBuf| std::fs::read_to_string(path).unwrap();
        self.put("server.crt", &read(&identity.certificate)).await;
        self.put("server.key", &read(&identity.key)).await;
        self.run("SELECT pg_reload_conf()").await;
    }

    fn url(&self, query: &str) -> String {
        format!("postgres://rotating:one@{}/postgres{query}", self.address)
    }

    /// Whether a new connection is encrypted, or why there is none.
    async fn connect(&self, query: &str, files: ClientFiles) -> Result<bool, String> {
        let access = Access::new(Secret::of(self.url(query)), files.into());
        let connection = dedicated(&access, "test").await;
        let mut connection = connection.map_err(|error| format!("{error:#}"))?;
        Ok(is_encrypted(&mut connection).await)
    }
}

#[derive(diesel::QueryableByName)]
struct Encrypted {
    #[diesel(sql_type = Bool)]
    ssl: bool,
}

async fn is_encrypted(connection: &mut AsyncPgConnection) -> bool {
    diesel::sql_query("SELECT ssl FROM pg_stat_ssl WHERE pid = pg_backend_pid()")
        .get_result::<Encrypted>(connection)
        .await
        .unwrap()
        .ssl
}

fn trusting(authority: &Authority) -> ClientFiles {
    ClientFiles {
        ca: Some(authority.ca()),
        identity: None,
    }
}

fn check(outcome: Result<bool, String>, expected: Result<bool, &str>) {
    match (outcome, expected) {
        (Ok(encrypted), Ok(expected)) => assert_eq!(encrypted, expected),
        (Err(said), Err(reason)) => assert!(said.contains(reason), "{reason} is not in {said}"),
        (outcome, expected) => panic!("{outcome:?}, not {expected:?}"),
    }
}

#[tokio::test]
async fn a_server_with_tls_is_verified_as_sslmode_says_and_passwords_rotate() {
    let mut server = Server::start().await;
    without_tls(&server).await;
    passwords_rotate_without_a_restart(&mut server).await;
    let ours = Authority::new("ours");
    with_tls(&mut server, &ours).await;
    bad_certificates(&mut server, &ours).await;
    mutual(&mut server, &ours).await;
    server.stack.down().await;
}

async fn without_tls(server: &Server) {
    check(server.connect("", ClientFiles::default()).await, Ok(false));
    for query in ["?sslmode=require", "?sslmode=verify-full"] {
        check(
            server.connect(query, ClientFiles::default()).await,
            Err("server does not support TLS"),
        );
    }
}

#[derive(diesel::QueryableByName)]
struct Session {
    #[diesel(sql_type = Integer)]
    pid: i32,
}

async fn pid(connection: &mut AsyncPgConnection) -> i32 {
    diesel::sql_query("SELECT pg_backend_pid() AS pid")
        .get_result::<Session>(connection)
        .await
        .unwrap()
        .pid
}

async fn passwords_rotate_without_a_restart(server: &mut Server) {
    let file = tempfile::NamedTempFile::new().unwrap();
    std::fs::write(file.path(), format!("{}\n", server.url(""))).unwrap();
    let args = DatabaseArgs {
        access: Access::new(Secret::in_file(file.path()), ClientFiles::default().into()),
        db_max_connections: 3,
        start_timeout: std::time::Duration::from_secs(30),
    };
    let pool = database::pool(&args, "test").unwrap();
    let mut old = pool.get().await.unwrap();
    let session = pid(&mut old).await;

    server.run("ALTER ROLE rotating PASSWORD 'two'").await;
    let refused = pool
        .get()
        .await
        .err()
        .expect("the file still holds the old password");
    assert!(
        refused.to_string().contains("password authentication failed"),
        "{refused}"
    );
    let new_url = server.url("").replace(":one@", ":two@");
    std::fs::write(file.path(), new_url).unwrap();
    let mut new = pool.get().await.unwrap();
    assert_ne!(pid(&mut new).await, session);
    assert_eq!(pid(&mut old).await, session, "the old connection was given up");
    assert!(dedicated(&args.access, "test").await.is_ok());

    std::fs::remove_file(file.path()).unwrap();
    let unreadable = pool.get().await.err().expect("there is no file");
    assert!(
        unreadable.to_string().contains("DATABASE_URL_FILE"),
        "{unreadable}"
    );
    assert_eq!(pid(&mut new).await, pid(&mut new).await);
    server.run("ALTER ROLE rotating PASSWORD 'one'").await;
}

async fn with_tls(server: &mut Server, ours: &Authority) {
    let ca = std::fs::read_to_string(ours.ca()).unwrap();
    server.put("root.crt", &ca).await;
    for setting in [
        "ssl_cert_file = 'server.crt'",
        "ssl_key_file = 'server.key'",
        "ssl = on",
    ] {
        server.run(&format!("ALTER SYSTEM SET {setting}")).await;
    }
    server.show(&ours.server(&["127.0.0.1"])).await;
    eventually("the server speaks TLS", async || {
        server.connect("?sslmode=verify-full", trusting(ours)).await.ok()
    })
    .await;

    for query in ["", "?sslmode=prefer", "?sslmode=require"] {
        check(server.connect(query, ClientFiles::default()).await, Ok(true));
    }
    check(
        server.connect("?sslmode=disable", trusting(ours)).await,
        Ok(false),
    );
    // A CA alone is a wish to verify.
    check(server.connect("", trusting(ours)).await, Ok(true));
    let other = Authority::new("other");
    for query in [
        "",
        "?sslmode=verify-full",
        "?sslmode=verify-ca",
        "?sslmode=require",
    ] {
        check(
            server.connect(query, trusting(&other)).await,
            Err("UnknownIssuer"),
        );
    }
    // The password's exchange is bound to the certificate, and cannot be without one.
    let bound = "?sslmode=verify-full&channel_binding=require";
    check(server.connect(bound, trusting(ours)).await, Ok(true));
    let unbound = "?sslmode=disable&channel_binding=require";
    check(
        server.connect(unbound, trusting(ours)).await,
        Err("channel binding"),
    );
}

async fn bad_certificates(server: &mut Server, ours: &Authority) {
    server.show(&ours.server(&["db.test"])).await;
    eventually("the other name is noticed", async || {
        let said = server
            .connect("?sslmode=verify-full", trusting(ours))
            .await
            .err()?;
        said.contains("certificate not valid for name").then_some(())
    })
    .await;
    check(
        server.connect("?sslmode=verify-ca", trusting(ours)).await,
        Ok(true),
    );

    server.show(&ours.expired_server(&["127.0.0.1"])).await;
    eventually("the end of its time is noticed", async || {
        let said = server
            .connect("?sslmode=verify-full", trusting(ours))
            .await
            .err()?;
        said.contains("certificate expired").then_some(())
    })
    .await;
    check(
        server.connect("?sslmode=verify-ca", trusting(ours)).await,
        Err("certificate expired"),
    );
    check(
        server.connect("?sslmode=require", ClientFiles::default()).await,
        Ok(true),
    );
}

async fn mutual(server: &mut Server, ours: &Authority) {
    server.show(&ours.server(&["127.0.0.1"])).await;
    server.run("ALTER SYSTEM SET ssl_ca_file = 'root.crt'").await;
    let rule = "hostssl all all all scram-sha-256 clientcert=verify-ca";
    server.put("pg_hba.conf", rule).await;
    server.run("SELECT pg_reload_conf()").await;
    eventually("a connection without a certificate is refused", async || {
        let said = server
            .connect("?sslmode=verify-full", trusting(ours))
            .await
            .err()?;
        said.contains("client certificate").then_some(())
    })
    .await;
    let own = ours.client("rotating");
    let with_own = ClientFiles {
        ca: Some(ours.ca()),
        identity: Some((own.certificate, own.key)),
    };
    check(server.connect("?sslmode=verify-full", with_own).await, Ok(true));
}
