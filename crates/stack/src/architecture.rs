//! `architecture.toml`: the processes and the arrows between them, and what follows from them for the local
//! servers.

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;

use anyhow::{Context as _, ensure};
use serde::Deserialize;

/// Everything that may talk to everything else. What is not here is forbidden.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Architecture {
    /// The processes by name.
    #[serde(rename = "process")]
    pub processes: BTreeMap<String, Process>,
}

/// One process and the arrows that leave it.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Process {
    /// Who may call its HTTP listener: `public`, `operator` or the name of a process. `None`: it has no
    /// listener.
    pub serves: Option<String>,
    /// Processes whose HTTP listener it calls.
    #[serde(default)]
    pub calls: Vec<String>,
    /// The one PostgreSQL database that it may connect to.
    pub database: Option<String>,
    /// The pattern of the Redis keys that it may read and write.
    pub redis: Option<String>,
    /// Kafka topics that it may write.
    #[serde(default)]
    pub produces: Vec<String>,
    /// Kafka topics that it may read, in a group named like the process.
    #[serde(default)]
    pub consumes: Vec<String>,
    /// Whether it sends mail.
    #[serde(default)]
    pub smtp: bool,
}

impl Process {
    /// Whether it has an arrow to Kafka, and so a Kafka user of its own.
    pub fn uses_kafka(&self) -> bool {
        !self.produces.is_empty() || !self.consumes.is_empty()
    }
}

/// One "allow" of the broker for one user, from any host.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Acl {
    /// The Kafka user, which is the process's name.
    pub user: String,
    /// What it is about.
    pub resource: Resource,
    /// What it may do with it.
    pub operation: Operation,
}

/// A resource of the broker, named exactly.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Resource {
    /// A topic.
    Topic(String),
    /// A consumer group.
    Group(String),
}

/// An operation of Kafka's access control.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Operation {
    /// Fetch from a topic, or join a group and commit its offsets.
    Read,
    /// Produce to a topic; it also allows idempotent producers.
    Write,
    /// See that it exists.
    Describe,
    /// Settings of a topic.
    DescribeConfigs,
}

impl Architecture {
    /// Reads `architecture.toml` in the workspace's root.
    pub fn read(root: &Path) -> anyhow::Result<Architecture> {
        let path = root.join("architecture.toml");
        let text =
            std::fs::read_to_string(&path).with_context(|| format!("cannot read {}", path.display()))?;
        Architecture::parse(&text).with_context(|| format!("{} is not valid", path.display()))
    }

    /// Parses the text and checks that names are plain, databases are not shared and called processes exist.
    pub fn parse(text: &str) -> anyhow::Result<Architecture> {
        let architecture: Architecture = toml::from_str(text)?;
        let mut databases = BTreeSet::new();
        for (name, process) in &architecture.processes {
            // Names become SQL identifiers, users of the broker and file names.
            let names = std::iter::once(name).chain(&process.database);
            for name in names.chain(&process.produces).chain(&process.consumes) {
                ensure!(
                    is_plain(name),
                    "{name:?} is not a plain name (letters, digits, '.', '-', '_')"
                );
            }
            if let Some(database) = &process.database {
                ensure!(
                    databases.insert(database),
                    "database {database:?} has two processes"
                );
            }
            for called in &process.calls {
                ensure!(
                    architecture.processes.contains_key(called),
                    "{name} calls {called:?}, which is not a process"
                );
            }
        }
        Ok(architecture)
    }

    /// Databases, each with the process that owns it.
    pub fn databases(&self) -> impl Iterator<Item = (&str, &str)> {
        self.processes
            .iter()
            .filter_map(|(name, process)| Some((process.database.as_deref()?, name.as_str())))
    }

    /// Redis users, each with the pattern of its keys.
    pub fn redis_users(&self) -> impl Iterator<Item = (&str, &str)> {
        self.processes
            .iter()
            .filter_map(|(name, process)| Some((name.as_str(), process.redis.as_deref()?)))
    }

    /// Kafka users: the processes with an arrow to Kafka.
    pub fn kafka_users(&self) -> impl Iterator<Item = &str> {
        self.processes
            .iter()
            .filter(|(_, process)| process.uses_kafka())
            .map(|(name, _)| name.as_str())
    }

    /// The Kafka users with a consumer group, and the topics of each.
    pub fn groups(&self) -> impl Iterator<Item = (&str, &[String])> {
        let consumers = self
            .processes
            .iter()
            .filter(|(_, process)| !process.consumes.is_empty());
        consumers.map(|(name, process)| (name.as_str(), process.consumes.as_slice()))
    }

    /// Whom an access token is for: the gateway (`plumbline`), and each process whose pages an operator
    /// reads.
    pub fn audiences(&self) -> Vec<&str> {
        let pages = self
            .processes
            .iter()
            .filter(|(_, process)| process.serves.as_deref() == Some("operator"));
        std::iter::once("plumbline")
            .chain(pages.map(|(name, _)| name.as_str()))
            .collect()
    }

    /// The process that the public calls.
    pub fn public(&self) -> anyhow::Result<&str> {
        let mut processes = self.processes.iter();
        let public = processes.find(|(_, process)| process.serves.as_deref() == Some("public"));
        Ok(public.context("no process serves the public")?.0)
    }

    /// Every permission that the broker has to grant, and no other.
    pub fn acls(&self) -> Vec<Acl> {
        let mut acls = Vec::new();
        for (name, process) in &self.processes {
            let mut allow = |resource: Resource, operation| {
                acls.push(Acl {
                    user: name.clone(),
                    resource,
                    operation,
                })
            };
            for topic in &process.produces {
                allow(Resource::Topic(topic.clone()), Operation::Write);
                allow(Resource::Topic(topic.clone()), Operation::Describe);
                // It publishes only to topics that are what they were declared to be.
                allow(Resource::Topic(topic.clone()), Operation::DescribeConfigs);
            }
            for topic in &process.consumes {
                allow(Resource::Topic(topic.clone()), Operation::Read);
                allow(Resource::Topic(topic.clone()), Operation::Describe);
            }
            if !process.consumes.is_empty() {
                allow(Resource::Group(name.clone()), Operation::Read);
            }
        }
        acls.sort();
        acls.dedup();
        acls
    }
}

/// The role that owns a database's tables and runs its migrations.
pub(crate) fn owner_role(database: &str) -> String {
    format!("{database}_owner")
}

/// The role that a process runs with.
pub(crate) fn runtime_role(database: &str) -> String {
    format!("{database}_runtime")
}

fn is_plain(name: &str) -> bool {
    let plain = |c: char| c.is_ascii_alphanumeric() || matches!(c, '.' | '-' | '_');
    !name.is_empty() && name.chars().all(plain)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn shop() -> Architecture {
        Architecture::parse(
            r#"
            [process.gateway]
            serves = "public"
            calls = ["app"]
            [process.app]
            serves = "gateway"
            database = "app"
            redis = "c1:*"
            produces = ["orders"]
            [process.mailer]
            database = "mail"
            consumes = ["orders"]
            smtp = true
            "#,
        )
        .unwrap()
    }

    #[test]
    fn a_producer_may_write_and_a_consumer_may_read_and_nobody_may_do_more() {
        let acl = |user: &str, resource, operation| Acl {
            user: user.into(),
            resource,
            operation,
        };
        let topic = || Resource::Topic("orders".into());
        assert_eq!(
            shop().acls(),
            [
                acl("app", topic(), Operation::Write),
                acl("app", topic(), Operation::Describe),
                acl("app", topic(), Operation::DescribeConfigs),
                acl("mailer", topic(), Operation::Read),
                acl("mailer", topic(), Operation::Describe),
                acl("mailer", Resource::Group("mailer".into()), Operation::Read),
            ]
        );
    }

    #[test]
    fn users_exist_only_for_arrows() {
        let shop = shop();
        assert_eq!(shop.kafka_users().collect::<Vec<_>>(), ["app", "mailer"]);
        assert_eq!(shop.redis_users().collect::<Vec<_>>(), [("app", "c1:*")]);
        assert_eq!(
            shop.databases().collect::<Vec<_>>(),
            [("app", "app"), ("mail", "mailer")]
        );
    }

    #[test]
    fn a_file_that_means_something_else_is_refused() {
        let check = |text: &str, complaint: &str| {
            let error = format!("{:#}", Architecture::parse(text).unwrap_err());
            assert!(
                error.contains(complaint),
                "{error:?} does not mention {complaint:?}"
            );
        };
        check(
            "[process.a]\ndatabase = 'x'\n[process.b]\ndatabase = 'x'",
            "has two processes",
        );
        check("[process.a]\ncalls = ['b']", "which is not a process");
        check("[process.a]\ndatabase = 'x; drop'", "is not a plain name");
        check("[process.a]\nproduce = ['x']", "unknown field");
    }
}
