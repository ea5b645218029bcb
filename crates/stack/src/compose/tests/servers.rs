//! `deploy/compose`: Redis and Kafka in containers have the users, rights, topics and settings that they have natively.

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;
use std::process::Command;

use super::{architecture, read, root, script};
use crate::architecture::{Acl, Operation, Resource};
use crate::kafka::Kafka;
use crate::secrets::{Passwords, Secrets};

#[test]
fn redis_has_the_same_users_and_settings_as_natively() {
    let (dir, architecture) = (tempfile::tempdir().unwrap(), architecture());
    let secrets = Secrets::open(dir.path(), Passwords::Names, &architecture).unwrap();
    let lines = |text: &str| -> BTreeSet<String> {
        text.lines()
            .filter(|line| !line.starts_with('#') && !line.starts_with("bind "))
            .map(str::to_owned)
            .collect()
    };
    let native = crate::redis::configuration(6379, &architecture, &secrets);
    assert_eq!(lines(&read("deploy/compose/valkey.conf")), lines(&native));
}

#[test]
fn kafka_has_the_same_users_and_settings_as_natively() {
    let (dir, architecture) = (tempfile::tempdir().unwrap(), architecture());
    let secrets = Secrets::open(dir.path(), Passwords::Names, &architecture).unwrap();
    let kafka = Kafka::native(Path::new("/jars"), dir.path(), 9092, 9093, &secrets);
    let properties = |text: &str| -> BTreeMap<String, String> {
        text.lines()
            .filter(|line| !line.starts_with('#'))
            .map(|line| line.split_once('=').unwrap())
            .map(|(name, value)| (name.to_owned(), value.to_owned()))
            .collect()
    };
    let native = properties(&kafka.native.unwrap().properties(&architecture, &secrets));
    let mut ours = properties(&read("deploy/compose/kafka/server.properties"));
    // The listener for the machine has the users of the one for containers.
    assert_eq!(
        ours.remove("listener.name.host.plain.sasl.jaas.config"),
        ours.get("listener.name.client.plain.sasl.jaas.config").cloned()
    );
    assert!(!ours["listener.security.protocol.map"].contains(":PLAINTEXT"));
    let elsewhere = [
        "listeners",
        "advertised.listeners",
        "listener.security.protocol.map",
        "log.dirs",
    ];
    let rest = |all: BTreeMap<String, String>| -> BTreeMap<String, String> {
        all.into_iter()
            .filter(|(name, _)| !elsewhere.contains(&name.as_str()))
            .collect()
    };
    assert_eq!(rest(ours), rest(native));
}

/// Runs Kafka's set-up with stand-ins that write down how they were called; returns the calls' arguments.
fn set_up_calls() -> Vec<Vec<String>> {
    let dir = tempfile::tempdir().unwrap();
    let calls = dir.path().join("calls");
    for program in ["kafka-topics.sh", "kafka-acls.sh"] {
        let record = format!(
            "printf '%s\\t' {program} \"$@\" >>'{0}'; echo >>'{0}'",
            calls.display()
        );
        script(&dir.path().join(program), &record);
    }
    let path = format!("{}:/usr/bin:/bin", dir.path().display());
    let mut sh = Command::new("sh");
    sh.arg(root().join("deploy/compose/kafka/setup.sh"))
        .env("PATH", path);
    assert!(sh.status().unwrap().success());
    let text = std::fs::read_to_string(calls).unwrap();
    let arguments = |line: &str| line.trim_end().split('\t').map(str::to_owned).collect();
    text.lines().map(arguments).collect()
}

/// The values of a flag, in order.
fn values<'a>(call: &'a [String], flag: &str) -> Vec<&'a str> {
    let pairs = call.iter().zip(call.iter().skip(1));
    pairs
        .filter(|(name, _)| *name == flag)
        .map(|(_, value)| value.as_str())
        .collect()
}

#[test]
fn kafkas_set_up_makes_the_topics_and_the_acls_of_the_architecture() {
    let (mut topics, mut acls) = (Vec::new(), Vec::new());
    for call in set_up_calls() {
        if call[0] == "kafka-topics.sh" {
            topics.push(format!(
                "{} {} {}",
                values(&call, "--topic")[0],
                values(&call, "--partitions")[0],
                values(&call, "--config").join(" ")
            ));
            continue;
        }
        let user = values(&call, "--allow-principal")[0]
            .strip_prefix("User:")
            .unwrap();
        let topics = values(&call, "--topic")
            .into_iter()
            .map(|name| Resource::Topic(name.into()));
        let groups = values(&call, "--group")
            .into_iter()
            .map(|name| Resource::Group(name.into()));
        for resource in topics.chain(groups) {
            for operation in values(&call, "--operation") {
                acls.push(Acl {
                    user: user.to_owned(),
                    resource: resource.clone(),
                    operation: match operation {
                        "Read" => Operation::Read,
                        "Write" => Operation::Write,
                        "Describe" => Operation::Describe,
                        "DescribeConfigs" => Operation::DescribeConfigs,
                        other => panic!("{other} is an operation that the architecture grants to nobody"),
                    },
                });
            }
        }
    }
    acls.sort();
    assert_eq!(acls, architecture().acls());
    let expected = events::topics::ALL.map(|topic| {
        let settings = topic
            .settings
            .iter()
            .map(|(name, value)| format!("{name}={value}"));
        format!(
            "{} {} {}",
            topic.name,
            topic.partitions,
            settings.collect::<Vec<_>>().join(" ")
        )
    });
    assert_eq!(topics, expected);
}
