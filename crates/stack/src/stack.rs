//! The whole system: servers and processes as children of one [`Stack`].

use std::time::Duration;

use anyhow::Context as _;
use rustix::process::Signal;

use crate::architecture::{Architecture, owner_role, runtime_role};
use crate::artifacts::Artifacts;
use crate::child::Spawner;
use crate::options::Options;
use crate::ports::{Listener, PortBook, Ports, check_free};
use crate::secrets::{Account, Secrets};
use crate::servers::{Server, Servers};

/// Servers and processes as children; dropping it kills them all.
pub struct Stack {
    pub(crate) options: Options,
    pub(crate) architecture: Architecture,
    pub(crate) servers: Servers,
}

impl Stack {
    /// Starts the servers, with roles, databases, topics and ACLs; no process.
    pub async fn servers(options: Options) -> anyhow::Result<Stack> {
        let architecture = Architecture::read(&options.root)?;
        let artifacts = match options.external.is_partial() {
            true => Some(Artifacts::fetch(&options.root, &options.target, |_| {})?),
            false => None,
        };
        crate::files::make_dir(&options.dir)?;
        let secrets = Secrets::open(&options.dir, options.passwords, accounts(&architecture).iter().map(Login::account))?;
        let mut ports = PortBook::new(options.ports);
        let spawner = Spawner::new();
        let mut servers = Servers::plan(&options, &architecture, secrets, &mut ports, spawner, artifacts.as_ref())?;
        servers.start_all().await?;
        Ok(Stack { options, architecture, servers })
    }

    /// The superuser's URL of one database.
    pub fn postgres_superuser_url(&self, database: &str) -> String {
        self.servers.postgres.superuser_url(database)
    }

    /// The Redis URL of a user: a process, or `admin`, who may do everything.
    pub fn redis_url(&self, user: &str) -> String {
        self.servers.redis.url(user, &self.servers.secrets)
    }

    /// Bootstrap address, user and password of Kafka's super user; user and password are empty when the broker asks for none.
    pub fn kafka_admin(&self) -> (String, String, String) {
        let kafka = &self.servers.kafka;
        let (user, password) = kafka.admin.clone().map(|login| (login.user, login.password)).unwrap_or_default();
        (kafka.bootstrap.clone(), user, password)
    }

    /// Ends everything in order: processes from the edge inwards, then the servers.
    pub async fn down(mut self) -> Vec<Server> {
        self.servers.stop_all().await
    }
}

enum Login {
    Postgres(String),
    Redis(String),
    Kafka(String),
}
impl Login {
    fn account(&self) -> Account<'_> {
        match self {
            Login::Postgres(a) => Account::Postgres(a),
            Login::Redis(a) => Account::Redis(a),
            Login::Kafka(a) => Account::Kafka(a),
        }
    }
}
fn accounts(architecture: &Architecture) -> Vec<Login> {
    let mut all = vec![Login::Postgres("postgres".into()), Login::Redis("admin".into()), Login::Kafka("admin".into())];
    for (database, _) in architecture.databases() {
        all.push(Login::Postgres(owner_role(database)));
        all.push(Login::Postgres(runtime_role(database)));
    }
    all.extend(architecture.redis_users().map(|(u, _)| Login::Redis(u.into())));
    all.extend(architecture.kafka_users().map(|u| Login::Kafka(u.into())));
    all
}
