//! What runs where, and how far the consumers are.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::time::Duration;

use serde::{Deserialize, Serialize};

use crate::architecture::Architecture;
use crate::kafka::{self, Kafka, Login};
use crate::kafka_admin::KafkaAdmin;
use crate::options::Options;
use crate::secrets::{Account, Secrets};

/// Servers and processes, as `status --json` prints them.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
pub struct Status {
    /// By name: `postgres`, `redis`, `kafka`, `smtp`.
    pub servers: BTreeMap<String, ServerStatus>,
    /// In the order of their names and replicas.
    pub processes: Vec<ProcessStatus>,
}

/// One server.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct ServerStatus {
    /// `host:port`.
    pub address: String,
    /// The base URL of the mail sink's API; nothing for the others.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub http: Option<String>,
    /// Nothing for a server that somebody else runs, or that was killed.
    pub pid: Option<u32>,
    /// Its log.
    pub log: PathBuf,
}

/// One replica of a process.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct ProcessStatus {
    /// The process.
    pub name: String,
    /// From 1.
    pub replica: u16,
    /// The running process's id; nothing when it was killed or stopped.
    pub pid: Option<u32>,
    /// The base URL of its HTTP listener, if it has one.
    pub http: Option<String>,
    /// The base URL of its admin listener.
    pub admin: String,
    /// Whether `/readyz` answered 200.
    pub ready: bool,
    /// Its log.
    pub log: PathBuf,
}

impl Status {
    /// Asks every process whether it is ready, all at once.
    pub async fn refresh(&mut self) {
        let asked: Vec<_> = self
            .processes
            .iter()
            .map(|process| tokio::spawn(is_ready(process.admin.clone())))
            .collect();
        for (process, answer) in self.processes.iter_mut().zip(asked) {
            process.ready = answer.await.unwrap_or(false);
        }
    }
}

/// Whether an admin listener's `/readyz` answers 200 within a second.
pub(crate) async fn is_ready(admin: String) -> bool {
    // A client for each question: a connection that is kept would belong to the runtime that asked first.
    let client = reqwest::Client::builder().timeout(Duration::from_secs(1)).build();
    let Ok(client) = client else { return false };
    let answer = client.get(format!("{admin}/readyz")).send().await;
    answer.is_ok_and(|answer| answer.status().is_success())
}

/// A topic and the groups that read it.
#[derive(Clone, Debug, Serialize)]
pub struct TopicStatus {
    /// The topic.
    pub name: String,
    /// Its partitions.
    pub partitions: usize,
    /// Records ever written; none are deleted.
    pub records: i64,
    /// By group: records that it has not committed yet.
    pub lag: BTreeMap<String, i64>,
}

/// Topics and lag of the stack that lives in `options.dir` and whose broker is at `bootstrap`; for another
/// process than the one that runs it.
pub async fn topics(options: &Options, bootstrap: &str) -> anyhow::Result<Vec<TopicStatus>> {
    let architecture = Architecture::read(&options.root)?;
    let login = match &options.external.kafka_bootstrap {
        Some(_) => options
            .external
            .kafka_login
            .clone()
            .map(|(user, password)| Login { user, password }),
        None => {
            let secrets = Secrets::open(&options.dir, options.passwords, &architecture)?;
            Some(Login {
                user: kafka::ADMIN.to_owned(),
                password: secrets.password(Account::Kafka(kafka::ADMIN)).to_owned(),
            })
        }
    };
    read_topics(
        &Kafka::external(bootstrap, login, options.external.accounts)?,
        &architecture,
    )
    .await
}

/// Reads topics and lag from the broker.
pub(crate) async fn read_topics(
    kafka: &Kafka,
    architecture: &Architecture,
) -> anyhow::Result<Vec<TopicStatus>> {
    let mut admin = KafkaAdmin::connect(kafka).await?;
    let names = events::topics::ALL.map(|topic| topic.name);
    let ends = admin.ends(&names).await?;
    let mut topics: Vec<TopicStatus> = ends
        .iter()
        .map(|(name, partitions)| TopicStatus {
            name: name.clone(),
            partitions: partitions.len(),
            records: partitions.values().sum(),
            lag: BTreeMap::new(),
        })
        .collect();
    for (group, consumed) in architecture.groups() {
        let wanted = ends.iter().filter(|(name, _)| consumed.contains(name));
        let lag = admin
            .lag(
                group,
                &wanted
                    .map(|(name, partitions)| (name.clone(), partitions.clone()))
                    .collect(),
            )
            .await?;
        for topic in &mut topics {
            topic
                .lag
                .extend(lag.get(&topic.name).map(|behind| (group.to_owned(), *behind)));
        }
    }
    Ok(topics)
}
