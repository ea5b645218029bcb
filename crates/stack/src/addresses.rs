//! Where a stack's parts are, and how to get in.

use std::collections::BTreeMap;

use anyhow::Context as _;

use crate::kafka::Login;
use crate::keys::Grant;
use crate::ports::Listener;
use crate::processes::Wiring;
use crate::secrets::Account;
use crate::servers::{Server, log_file};
use crate::stack::Stack;
use crate::status::{ProcessStatus, ServerStatus, Status, TopicStatus};

impl Stack {
    /// The base URL of a replica's HTTP listener.
    pub fn http_url(&self, name: &str, replica: u16) -> anyhow::Result<String> {
        Ok(format!(
            "http://{}",
            self.ports.address(&Listener::Http(name.to_owned(), replica))?
        ))
    }

    /// The base URL of a replica's admin listener.
    pub fn admin_url(&self, name: &str, replica: u16) -> anyhow::Result<String> {
        Ok(format!(
            "http://{}",
            self.ports.address(&Listener::Admin(name.to_owned(), replica))?
        ))
    }

    /// The base URL of what the public calls.
    pub fn public_url(&self) -> anyhow::Result<String> {
        self.http_url(self.architecture.public()?, 1)
    }

    /// The base URL of the mail sink's API.
    pub fn mail_url(&self) -> anyhow::Result<String> {
        let sink = self.servers.sink.as_ref();
        let ours = sink.map(|sink| format!("http://127.0.0.1:{}", sink.http));
        ours.or_else(|| self.options.external.mail_url.clone())
            .context("the stack runs no mail sink")
    }

    /// A signed access token for the gateway and the consumers' pages.
    pub fn token(&self, sub: &str, scopes: &str, email: Option<&str>) -> String {
        self.keys
            .token(Grant { sub, scopes, email }, &self.architecture.audiences())
    }

    /// The superuser's URL of one database.
    pub fn postgres_superuser_url(&self, database: &str) -> String {
        self.servers.postgres.superuser_url(database)
    }

    /// The URL of one database for a role of the architecture: `<db>_owner` or `<db>_runtime`.
    pub fn postgres_url(&self, role: &str, database: &str) -> String {
        let password = self.servers.secrets.password(Account::Postgres(role));
        self.servers.postgres.url(role, password, database)
    }

    /// The Redis URL of a user: a process, or `admin`, who may do everything.
    pub fn redis_url(&self, user: &str) -> String {
        self.servers.redis.url(user, &self.servers.secrets)
    }

    /// Kafka's bootstrap address, and user and password of its super user.
    pub fn kafka_admin(&self) -> (String, String, String) {
        let kafka = &self.servers.kafka;
        let Login { user, password } = kafka.admin.clone().unwrap_or_default();
        (kafka.bootstrap.clone(), user, password)
    }

    /// Kafka user and password of a process.
    pub fn kafka_user(&self, process: &str) -> (String, String) {
        let Login { user, password } = self
            .servers
            .kafka
            .login(process, &self.servers.secrets)
            .unwrap_or_default();
        (user, password)
    }

    /// The process id of a replica.
    pub fn pid(&self, name: &str, replica: u16) -> anyhow::Result<u32> {
        Ok(self.child(name, replica)?.pid())
    }

    /// The process id of a server that runs here.
    pub fn server_pid(&self, server: Server) -> anyhow::Result<u32> {
        self.servers
            .pid(server)
            .with_context(|| format!("{server} is not running here"))
    }

    /// Every server and every replica that is wanted or runs; who is ready is asked now.
    pub async fn status(&self) -> anyhow::Result<Status> {
        let mut status = self.describe()?;
        status.refresh().await;
        Ok(status)
    }

    /// Topics, and how far the consumers are.
    pub async fn topics(&self) -> anyhow::Result<Vec<TopicStatus>> {
        crate::status::read_topics(&self.servers.kafka, &self.architecture).await
    }

    /// The status with nobody asked whether it is ready.
    fn describe(&self) -> anyhow::Result<Status> {
        let mut replicas: Vec<_> = self.wanted().chain(self.processes.keys().cloned()).collect();
        replicas.sort();
        replicas.dedup();
        let processes = replicas.into_iter().map(|(name, replica)| {
            let serves = self
                .architecture
                .processes
                .get(&name)
                .is_some_and(|process| process.serves.is_some());
            Ok(ProcessStatus {
                pid: self.pid(&name, replica).ok(),
                http: if serves {
                    Some(self.http_url(&name, replica)?)
                } else {
                    None
                },
                admin: self.admin_url(&name, replica)?,
                ready: false,
                log: log_file(&self.options.logs(), &format!("{name}-{replica}")),
                name,
                replica,
            })
        });
        Ok(Status {
            processes: processes.collect::<anyhow::Result<_>>()?,
            servers: self.describe_servers(),
        })
    }

    fn describe_servers(&self) -> BTreeMap<String, ServerStatus> {
        let servers = &self.servers;
        let mut described = BTreeMap::new();
        let mut add = |server: Server, address: String, http: Option<String>| {
            let status = ServerStatus {
                address,
                http,
                pid: servers.pid(server),
                log: servers.log(server),
            };
            described.insert(server.name().to_owned(), status);
        };
        add(
            Server::Postgres,
            format!("{}:{}", servers.postgres.host, servers.postgres.port),
            None,
        );
        add(
            Server::Redis,
            format!("{}:{}", servers.redis.host, servers.redis.port),
            None,
        );
        add(Server::Kafka, servers.kafka.bootstrap.clone(), None);
        let smtp = match &servers.sink {
            Some(sink) => Some(format!("127.0.0.1:{}", sink.smtp)),
            None => self.options.external.smtp_url.clone(),
        };
        if let Some(smtp) = smtp {
            let address = smtp.trim_start_matches("smtp://").to_owned();
            add(Server::Smtp, address, self.mail_url().ok());
        }
        described
    }

    pub(crate) fn wiring(&self) -> anyhow::Result<Wiring<'_>> {
        let mut urls: BTreeMap<String, Vec<String>> = BTreeMap::new();
        for (name, replica) in self.wanted() {
            let url = self.http_url(&name, replica)?;
            urls.entry(name).or_default().push(url);
        }
        let smtp_url = match &self.options.external.smtp_url {
            Some(url) => url.clone(),
            None => format!("smtp://{}", self.ports.address(&Listener::Smtp)?),
        };
        Ok(Wiring {
            root: &self.options.root,
            architecture: &self.architecture,
            postgres: &self.servers.postgres,
            redis: &self.servers.redis,
            kafka: &self.servers.kafka,
            smtp_url,
            secrets: &self.servers.secrets,
            keys: &self.keys,
            urls,
        })
    }
}
