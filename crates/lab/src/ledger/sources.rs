//! Where the ledger reads.

use std::collections::BTreeMap;
use std::path::Path;
use std::time::Duration;

use anyhow::Context as _;
use diesel_async::{AsyncConnection as _, AsyncPgConnection, SimpleAsyncConnection as _};
use kafka::KafkaArgs;
use serde::Deserialize;
use serde::de::DeserializeOwned;
use settings::Secret;
use stack::{Architecture, External, Stack, Status};
use tls::ClientArgs;
use tokio::time::timeout;

/// How long connecting may take.
const CONNECT: Duration = Duration::from_secs(5);

/// All databases, by their names.
const DATABASES: [&str; 4] = ["app", "analytics", "email", "audit"];

/// The consumers' databases, by their names.
pub const CONSUMERS: [&str; 3] = ["analytics", "email", "audit"];

/// Addresses, with the rights to read everything.
#[derive(Clone, Debug)]
pub struct Sources {
    /// A superuser's URL of each database, by its name.
    pub databases: BTreeMap<&'static str, String>,
    /// The topics that the owner of each database consumes.
    pub topics: BTreeMap<&'static str, Vec<String>>,
    /// A user that may describe every topic.
    pub kafka: KafkaArgs,
    /// The base URL of a mail server that answers Mailpit's API.
    pub mail: String,
}

impl Sources {
    /// A connection that can only read.
    pub async fn connect(&self, database: &str) -> anyhow::Result<AsyncPgConnection> {
        let mut conn = self.connect_to_write(database).await?;
        conn.batch_execute("SET default_transaction_read_only = on")
            .await?;
        Ok(conn)
    }

    /// A connection with every right: what the negative controls tamper with.
    pub async fn connect_to_write(&self, database: &str) -> anyhow::Result<AsyncPgConnection> {
        let url = self
            .databases
            .get(database)
            .with_context(|| format!("the ledger knows no database {database:?}"))?;
        let connecting = timeout(CONNECT, AsyncPgConnection::establish(url)).await;
        let mut conn = connecting
            .with_context(|| format!("connecting to database {database:?} took too long"))?
            .with_context(|| format!("cannot connect to database {database:?}"))?;
        // Aggregates over a million rows take seconds.
        conn.batch_execute("SET statement_timeout = '60s'; SET application_name = 'lab'")
            .await?;
        Ok(conn)
    }
}

impl Sources {
    /// Of a stack that is a child of this process.
    pub fn of(stack: &Stack) -> anyhow::Result<Sources> {
        let architecture = Architecture::read(&stack::find_root()?)?;
        let (bootstrap, user, password) = stack.kafka_admin();
        Ok(Sources {
            databases: DATABASES
                .map(|name| (name, stack.postgres_superuser_url(name)))
                .into(),
            topics: topics(&architecture),
            kafka: kafka_args(bootstrap, user, password),
            mail: stack.mail_url()?,
        })
    }

    /// Of the running `cargo stack up`, from what it keeps below `target/stack`.
    pub fn of_running(root: &Path) -> anyhow::Result<Sources> {
        let dir = stack::target_dir(root).join("stack");
        let state: State = read(&dir.join("state.json")).context("is `cargo stack up` running?")?;
        // In containers, a user's password is its name.
        let secrets: BTreeMap<String, String> = match state.containers {
            true => BTreeMap::new(),
            false => read(&dir.join("secrets.json"))?,
        };
        let secret = |account: &str| match account.split_once('/') {
            Some((_, user)) if state.containers => Ok(user.to_owned()),
            _ => secrets
                .get(account)
                .cloned()
                .with_context(|| format!("{} has no {account}", dir.display())),
        };
        let address = |server: &str| {
            let status = state.status.servers.get(server);
            status.with_context(|| format!("the running system has no {server}"))
        };
        let external = External::from_environment();
        let postgres = match external.postgres_url {
            Some(url) => url,
            None => format!(
                "postgres://postgres:{}@{}/postgres",
                secret("postgres/postgres")?,
                address("postgres")?.address
            ),
        };
        let (server, _) = postgres
            .rsplit_once('/')
            .context("the PostgreSQL URL names no database")?;
        let (user, password) = match (&external.kafka_bootstrap, external.kafka_login) {
            (None, _) => ("admin".to_owned(), secret("kafka/admin")?),
            (Some(_), Some(login)) => login,
            (Some(_), None) => Default::default(),
        };
        let mail = address("smtp")?
            .http
            .clone()
            .context("the running system has no mail sink")?;
        Ok(Sources {
            databases: DATABASES.map(|name| (name, format!("{server}/{name}"))).into(),
            topics: topics(&Architecture::read(root)?),
            kafka: kafka_args(address("kafka")?.address.clone(), user, password),
            mail,
        })
    }
}

/// What `cargo stack up` says about itself, as far as it matters here.
#[derive(Deserialize)]
struct State {
    status: Status,
    #[serde(default)]
    containers: bool,
}

fn read<T: DeserializeOwned>(path: &Path) -> anyhow::Result<T> {
    let bytes = std::fs::read(path).with_context(|| format!("cannot read {}", path.display()))?;
    serde_json::from_slice(&bytes).with_context(|| format!("{} is damaged", path.display()))
}

/// The topics that the owner of each consumer's database reads.
fn topics(architecture: &Architecture) -> BTreeMap<&'static str, Vec<String>> {
    let of = |database: &str| {
        let mut owners = architecture.processes.values();
        let owner = owners.find(|process| process.database.as_deref() == Some(database));
        owner.map(|process| process.consumes.clone()).unwrap_or_default()
    };
    CONSUMERS.map(|database| (database, of(database))).into()
}

/// A broker that asks for nobody's name has no user.
fn kafka_args(bootstrap: String, user: String, password: String) -> KafkaArgs {
    let plain = user.is_empty();
    KafkaArgs {
        bootstrap_servers: bootstrap,
        security_protocol: if plain { "PLAINTEXT" } else { "SASL_PLAINTEXT" }.to_owned(),
        sasl_mechanism: (!plain).then(|| "PLAIN".to_owned()),
        sasl_username: (!plain).then_some(user),
        sasl_password: (!plain).then(|| Secret::of(password)),
        tls: ClientArgs::default(),
    }
}
