//! The servers of the diagram as children of the stack, or as they are when somebody else runs them.

use std::collections::BTreeMap;
use std::fmt;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use anyhow::{Context as _, bail, ensure};
use rustix::process::Signal;
use tokio_postgres::error::SqlState;

use crate::architecture::Architecture;
use crate::artifacts::Artifacts;
use crate::child::{Child, Ended, Spawner};
use crate::kafka::{self, Kafka, Login};
use crate::kafka_admin::KafkaAdmin;
use crate::options::{Accounts, Options};
use crate::ports::{Listener, PortBook};
use crate::postgres::{self, Postgres};
use crate::redis::{self, Redis};
use crate::secrets::{Account, Secrets};
use crate::sink::Sink;

/// A server that the stack runs.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Server {
    /// PostgreSQL.
    Postgres,
    /// Redis, or Valkey.
    Redis,
    /// Apache Kafka.
    Kafka,
    /// The mail sink.
    Smtp,
}

impl Server {
    /// All of them.
    pub const ALL: [Server; 4] = [Server::Postgres, Server::Redis, Server::Kafka, Server::Smtp];

    /// The name in `status --json` and of the log file.
    pub fn name(self) -> &'static str {
        match self {
            Server::Postgres => "postgres",
            Server::Redis => "redis",
            Server::Kafka => "kafka",
            Server::Smtp => "smtp",
        }
    }
}

impl fmt::Display for Server {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

/// How long a server may take until it answers; PostgreSQL and Kafka may have to recover from a kill.
const READY: Duration = Duration::from_secs(120);

/// How long the last PostgreSQL's processes may stand in the way of the next.
const LEFTOVERS: Duration = Duration::from_secs(15);

/// How long a server may take to end.
const STOP: Duration = Duration::from_secs(15);

pub(crate) struct Servers {
    architecture: Architecture,
    pub(crate) secrets: Secrets,
    spawner: Spawner,
    logs: PathBuf,
    pub(crate) postgres: Postgres,
    pub(crate) redis: Redis,
    pub(crate) kafka: Kafka,
    pub(crate) sink: Option<Sink>,
    running: BTreeMap<Server, Child>,
}

impl Servers {
    /// Decides where each server comes from and gives it a port; starts nothing.
    pub(crate) fn plan(
        options: &Options,
        architecture: &Architecture,
        secrets: Secrets,
        ports: &PortBook,
        spawner: Spawner,
        artifacts: Option<&Artifacts>,
    ) -> anyhow::Result<Servers> {
        let dir = &options.dir;
        let artifacts = || artifacts.context("the servers' files were not fetched");
        let postgres = match &options.external.postgres_url {
            Some(url) => Postgres::external(url)?,
            None => {
                let port = ports.port(&Listener::Postgres)?;
                Postgres::native(&artifacts()?.postgres, dir, port, &secrets, options.fsync)?
            }
        };
        let redis = match &options.external.redis_url {
            Some(url) => Redis::external(url, options.external.accounts)?,
            None => Redis::native(&artifacts()?.redis, dir, ports.port(&Listener::Redis)?),
        };
        let kafka = match &options.external.kafka_bootstrap {
            Some(bootstrap) => {
                let login = options.external.kafka_login.clone();
                let login = login.map(|(user, password)| Login { user, password });
                Kafka::external(bootstrap, login, options.external.accounts)?
            }
            None => {
                let (port, controller) = (
                    ports.port(&Listener::Kafka)?,
                    ports.port(&Listener::KafkaController)?,
                );
                Kafka::native(&artifacts()?.jars, dir, port, controller, &secrets)
            }
        };
        let sink = if options.runs_mail_sink() {
            let (smtp, http) = (ports.port(&Listener::Smtp)?, ports.port(&Listener::SmtpHttp)?);
            Some(Sink::new(options.stack_binary(), dir, smtp, http))
        } else {
            None
        };
        Ok(Servers {
            architecture: architecture.clone(),
            secrets,
            spawner,
            logs: options.logs(),
            postgres,
            redis,
            kafka,
            sink,
            running: BTreeMap::new(),
        })
    }

    /// Starts what we run, waits for all of it at once, and makes roles, databases, topics and ACLs.
    pub(crate) async fn start_all(&mut self) -> anyhow::Result<()> {
        let this = &*self;
        let (postgres, redis, kafka, smtp) = tokio::try_join!(
            async {
                let child = this.launch(Server::Postgres).await?;
                this.postgres.provision(&this.architecture, &this.secrets).await?;
                anyhow::Ok(child)
            },
            this.launch(Server::Redis),
            async {
                let child = this.launch(Server::Kafka).await?;
                this.provision_kafka()
                    .await
                    .context("cannot make topics and ACLs")?;
                anyhow::Ok(child)
            },
            this.launch(Server::Smtp),
        )?;
        for (server, child) in Server::ALL.into_iter().zip([postgres, redis, kafka, smtp]) {
            self.running.extend(child.map(|child| (server, child)));
        }
        Ok(())
    }

    /// Starts one server again, after it was stopped or killed.
    pub(crate) async fn start(&mut self, server: Server) -> anyhow::Result<()> {
        ensure!(!self.running.contains_key(&server), "{server} is running");
        let child = self.launch(server).await?;
        self.running.insert(
            server,
            child.with_context(|| format!("{server} is not run by the stack"))?,
        );
        Ok(())
    }

    /// Prepares, starts and waits; `None` when somebody else runs it, who is waited for just as well.
    async fn launch(&self, server: Server) -> anyhow::Result<Option<Child>> {
        self.prepare(server).await?;
        let deadline = Instant::now() + LEFTOVERS;
        loop {
            let command = match server {
                Server::Postgres => self
                    .postgres
                    .native
                    .as_ref()
                    .map(|native| native.server(self.postgres.port)),
                Server::Redis => self.redis.native.as_ref().map(redis::Native::server),
                Server::Kafka => self.kafka.native.as_ref().map(kafka::Native::server),
                Server::Smtp => match &self.sink {
                    Some(sink) => Some(sink.server()),
                    None => return Ok(None),
                },
            };
            let spawn = |command| self.spawner.spawn(server.name(), command, &self.log(server));
            let mut child = command.map(spawn).transpose()?;
            match self.until_ready(server, child.as_mut()).await {
                Ok(()) => return Ok(child),
                // After a SIGKILL of PostgreSQL, its own children need a moment to notice.
                Err(error) if error.to_string().contains("still in use") && Instant::now() < deadline => {
                    tokio::time::sleep(Duration::from_millis(200)).await;
                }
                Err(error) => return Err(error),
            }
        }
    }

    /// Writes configuration, and makes data folders the first time.
    async fn prepare(&self, server: Server) -> anyhow::Result<()> {
        let log = self.log(server);
        let (architecture, secrets) = (&self.architecture, &self.secrets);
        match server {
            Server::Postgres => match &self.postgres.native {
                Some(native) => {
                    let password = secrets.password(Account::Postgres(postgres::SUPERUSER));
                    native.prepare(&self.spawner, password, &log).await
                }
                None => Ok(()),
            },
            Server::Redis => match &self.redis.native {
                Some(native) => native.prepare(self.redis.port, architecture, secrets),
                None => Ok(()),
            },
            Server::Kafka => match &self.kafka.native {
                Some(native) => native.prepare(&self.spawner, architecture, secrets, &log).await,
                None => Ok(()),
            },
            Server::Smtp => Ok(()),
        }
    }

    async fn until_ready(&self, server: Server, mut child: Option<&mut Child>) -> anyhow::Result<()> {
        let deadline = Instant::now() + READY;
        loop {
            if let Some(child) = &mut child
                && let Some(status) = child.exited()?
            {
                return Err(child.obituary(status));
            }
            let error = match self.probe(server).await {
                Ok(()) => return Ok(()),
                Err(error) => error,
            };
            if is_final(&error) || Instant::now() > deadline {
                return Err(error.context(format!(
                    "{server} does not answer; its log is {}",
                    self.log(server).display()
                )));
            }
            tokio::time::sleep(Duration::from_millis(25)).await;
        }
    }

    async fn probe(&self, server: Server) -> anyhow::Result<()> {
        match server {
            Server::Postgres => self.postgres.connect("postgres").await.map(drop),
            Server::Redis => self.redis.ping().await,
            Server::Kafka => {
                ensure!(
                    KafkaAdmin::connect(&self.kafka).await?.is_up().await?,
                    "the broker is not registered yet"
                );
                Ok(())
            }
            Server::Smtp => match &self.sink {
                Some(sink) => sink.probe().await,
                None => bail!("there is no mail sink"),
            },
        }
    }

    async fn provision_kafka(&self) -> anyhow::Result<()> {
        let mut admin = KafkaAdmin::connect(&self.kafka).await?;
        admin.create_topics(&events::topics::ALL).await?;
        if self.kafka.accounts == Accounts::Architecture {
            admin.set_acls(&self.architecture.acls()).await?;
            let groups: Vec<&str> = self.architecture.groups().map(|(group, _)| group).collect();
            admin.prepare_groups(&groups).await?;
        }
        Ok(())
    }

    /// SIGKILL, and it is reaped.
    pub(crate) fn kill(&mut self, server: Server) -> anyhow::Result<()> {
        self.running
            .remove(&server)
            .map(drop)
            .with_context(|| format!("{server} is not running here"))
    }

    /// Stops (`Signal::STOP`) or continues (`Signal::CONT`) a server.
    pub(crate) fn signal(&self, server: Server, signal: Signal) -> anyhow::Result<()> {
        self.running
            .get(&server)
            .with_context(|| format!("{server} is not running here"))?
            .signal(signal)
    }

    /// Ends all of them at once, gracefully; returns those that had to be killed.
    pub(crate) async fn stop_all(&mut self) -> Vec<Server> {
        let ending = std::mem::take(&mut self.running)
            .into_iter()
            .map(|(server, child)| {
                // PostgreSQL's "fast": it does not wait for clients to leave.
                let signal = if server == Server::Postgres {
                    Signal::INT
                } else {
                    Signal::TERM
                };
                tokio::spawn(async move { (server, child.stop(signal, STOP).await) })
            });
        let mut killed = Vec::new();
        for ended in ending.collect::<Vec<_>>() {
            if let Ok((server, Ended::Killed)) = ended.await {
                killed.push(server);
            }
        }
        killed
    }

    /// What became of a server that ended by itself.
    pub(crate) fn dead(&mut self) -> anyhow::Result<Option<anyhow::Error>> {
        for child in self.running.values_mut() {
            if let Some(status) = child.exited()? {
                return Ok(Some(child.obituary(status)));
            }
        }
        Ok(None)
    }

    pub(crate) fn pid(&self, server: Server) -> Option<u32> {
        self.running.get(&server).map(Child::pid)
    }

    pub(crate) fn log(&self, server: Server) -> PathBuf {
        log_file(&self.logs, server.name())
    }
}

/// The log of a server or a process's replica.
pub(crate) fn log_file(logs: &Path, name: &str) -> PathBuf {
    logs.join(format!("{name}.log"))
}

/// Waiting does not help against a wrong password.
fn is_final(error: &anyhow::Error) -> bool {
    let postgres = error
        .downcast_ref::<tokio_postgres::Error>()
        .and_then(tokio_postgres::Error::code);
    postgres == Some(&SqlState::INVALID_PASSWORD)
}
