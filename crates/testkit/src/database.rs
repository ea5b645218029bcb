use std::time::Duration;

use database::{CommandArgs, DatabaseArgs};
use diesel_async::{AsyncPgConnection, SimpleAsyncConnection as _};
use diesel_migrations::EmbeddedMigrations;
use uuid::Uuid;

const APPLICATION: &str = "test";

/// A new database with one process's tables and rights; dropped with this value.
pub struct Database {
    /// The database's name, unique on the server.
    pub name: String,
    owner: String,
    server: Server,
}

impl Database {
    /// Creates a database as production has it: it belongs to `<owner>_owner`, only `<owner>_runtime` may connect besides, and
    /// `migrations` ran as the owner. `owner` is `app`, `analytics`, `email` or `audit`.
    pub async fn create(owner: &str, migrations: EmbeddedMigrations) -> Database {
        Database::create_on(&crate::address("PLUMBLINE_TEST_POSTGRES"), owner, migrations).await
    }

    /// The same on another server, by the URL of its superuser: for a test that crashes its server, or must be alone on it.
    pub async fn create_on(superuser_url: &str, owner: &str, migrations: EmbeddedMigrations) -> Database {
        let server = Server::of_url(superuser_url);
        let name = format!("{owner}_{}", Uuid::now_v7().simple());
        server
            .administer(&[
                format!(r#"CREATE DATABASE "{name}" OWNER "{owner}_owner""#),
                format!(r#"REVOKE CONNECT ON DATABASE "{name}" FROM PUBLIC"#),
                format!(r#"GRANT CONNECT ON DATABASE "{name}" TO "{owner}_runtime""#),
            ])
            .await;
        let database = Database {
            name,
            owner: owner.to_owned(),
            server,
        };
        let args = CommandArgs {
            access: (&database.owner_url()).into(),
            start_timeout: Duration::ZERO,
        };
        database::migrate(&args, migrations)
            .await
            .unwrap_or_else(|error| panic!("cannot migrate {}: {error:#}", database.name));
        database
    }

    /// As the role of the serving process.
    pub fn runtime_url(&self) -> String {
        self.url_of_role("runtime")
    }

    /// As the role of `migrate`.
    pub fn owner_url(&self) -> String {
        self.url_of_role("owner")
    }

    /// With every right.
    pub fn superuser_url(&self) -> String {
        self.server.superuser_url(&self.name)
    }

    /// A pool of 10 connections as the runtime role.
    pub fn pool(&self) -> database::Pool {
        let args = DatabaseArgs {
            access: (&self.runtime_url()).into(),
            db_max_connections: 10,
            start_timeout: Duration::from_secs(30),
        };
        database::pool(&args, APPLICATION).expect("the URL was built here")
    }

    /// One connection as the runtime role.
    pub async fn connect(&self) -> AsyncPgConnection {
        connect(&self.runtime_url()).await
    }

    /// The test servers' roles have their own names as passwords.
    fn url_of_role(&self, suffix: &str) -> String {
        let role = format!("{}_{suffix}", self.owner);
        format!("postgres://{role}:{role}@{}/{}", self.server.address, self.name)
    }
}

impl Drop for Database {
    fn drop(&mut self) {
        let server = self.server.clone();
        let drop_database = format!(r#"DROP DATABASE IF EXISTS "{}" WITH (FORCE)"#, self.name);
        // Neither an async context nor its absence can be relied on here, and blocking a runtime's thread on itself would deadlock.
        let dropping = std::thread::spawn(move || {
            tokio::runtime::Builder::new_current_thread()
                .enable_all()
                .build()
                .map(|runtime| runtime.block_on(server.administer(&[drop_database])))
        });
        // Best effort: the servers of a test run are temporary, and a test that already fails should fail with its own message.
        let _ = dropping.join();
    }
}

/// The test server, as its superuser knows it.
#[derive(Clone)]
struct Server {
    /// `user:password`
    superuser: String,
    /// `host:port`
    address: String,
}

impl Server {
    fn of_url(url: &str) -> Server {
        let split = || {
            let (superuser, rest) = url.strip_prefix("postgres://")?.rsplit_once('@')?;
            let (address, _) = rest.split_once('/')?;
            Some(Server {
                superuser: superuser.to_owned(),
                address: address.to_owned(),
            })
        };
        split().expect("the superuser's URL is postgres://user:password@host:port/postgres")
    }

    fn superuser_url(&self, database: &str) -> String {
        format!("postgres://{}@{}/{database}", self.superuser, self.address)
    }

    /// Runs statements that no transaction may hold, one by one.
    async fn administer(&self, statements: &[String]) {
        let mut connection = connect(&self.superuser_url("postgres")).await;
        // Copying or removing a database's files takes longer than any statement of a request when many tests do it at once.
        let patient = "SET statement_timeout = '60s'; SET lock_timeout = '60s'".to_owned();
        for statement in std::iter::once(&patient).chain(statements) {
            connection
                .batch_execute(statement)
                .await
                .unwrap_or_else(|error| panic!("{statement}: {error}"));
        }
    }
}

async fn connect(url: &str) -> AsyncPgConnection {
    database::dedicated(url, APPLICATION)
        .await
        .unwrap_or_else(|error| panic!("{error:#}"))
}
