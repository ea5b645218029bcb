//! `docker-compose.yml` and the `Dockerfile`: processes, migrations, networks, ports and images are those of the architecture.

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;

use serde_json::Value;

use super::{architecture, read};
use crate::architecture::{Architecture, Process, owner_role};
use crate::compose::Compose;
use crate::kafka::{Kafka, Login};
use crate::keys::Keys;
use crate::options::Accounts;
use crate::ports::{Listener, PortBook, Ports};
use crate::postgres::Postgres;
use crate::processes::{Listeners, Wiring};
use crate::redis::Redis;
use crate::secrets::{Passwords, Secrets};

fn file() -> Value {
    serde_saphyr::from_str(&read("docker-compose.yml")).unwrap()
}

fn strings(value: &Value) -> BTreeSet<String> {
    let items = value.as_array().into_iter().flatten();
    items.map(|item| item.as_str().unwrap().to_owned()).collect()
}

fn environment(service: &Value) -> BTreeMap<String, String> {
    let variables = service["environment"].as_object().into_iter().flatten();
    variables
        .map(|(name, value)| (name.clone(), value.as_str().unwrap().to_owned()))
        .collect()
}

/// Set for a laptop, where `down` should be quick, or not by name (`env_file`).
const NATIVE_ONLY: [&str; 4] = [
    "DRAIN_DELAY",
    "SHUTDOWN_GRACE_SECONDS",
    "KAFKA_SESSION_TIMEOUT",
    "ASSERTION_KEY_ID",
];

/// The environment that a process in a container needs, by the same rules as natively.
fn expected(architecture: &Architecture, name: &str, process: &Process) -> BTreeMap<String, String> {
    let dir = tempfile::tempdir().unwrap();
    let secrets = Secrets::open(dir.path(), Passwords::Names, architecture).unwrap();
    let login = Login {
        user: "admin".into(),
        password: "admin".into(),
    };
    let book = PortBook::new(Ports::Fixed, architecture).unwrap();
    let port = |listener| book.port(&listener).unwrap();
    let url = |name: &str| format!("http://{name}:{}", port(Listener::Http(name.to_owned(), 1)));
    let wiring = Wiring {
        root: Path::new("/"),
        architecture,
        postgres: &Postgres::external("postgres://postgres:postgres@postgres:5432/postgres").unwrap(),
        redis: &Redis::external("redis://redis:6379", Accounts::Architecture).unwrap(),
        kafka: &Kafka::external("kafka:9092", Some(login), Accounts::Architecture).unwrap(),
        smtp_url: "smtp://mailpit:1025".into(),
        secrets: &secrets,
        keys: &Keys::open(dir.path()).unwrap(),
        urls: process
            .calls
            .iter()
            .map(|called| (called.clone(), vec![url(called)]))
            .collect(),
    };
    let listeners = Listeners {
        http: process
            .serves
            .is_some()
            .then(|| format!("0.0.0.0:{}", port(Listener::Http(name.to_owned(), 1)))),
        admin: format!("127.0.0.1:{}", port(Listener::Admin(name.to_owned(), 1))),
    };
    wiring
        .environment(name, process, &listeners)
        .into_iter()
        .filter(|(name, _)| !NATIVE_ONLY.contains(&name.as_str()))
        .collect()
}

/// One network for each listener that an arrow leads to, and for the process's own.
fn networks(name: &str, process: &Process) -> BTreeSet<String> {
    let mut networks = BTreeSet::new();
    match process.serves.as_deref() {
        Some(outside @ ("public" | "operator")) => networks.insert(outside.to_owned()),
        Some(_) => networks.insert(name.to_owned()),
        None => false,
    };
    networks.extend(process.calls.iter().cloned());
    let servers = [
        ("postgres", process.database.is_some()),
        ("redis", process.redis.is_some()),
        ("kafka", process.uses_kafka()),
        ("smtp", process.smtp),
    ];
    let used = servers.into_iter().filter(|(_, uses)| *uses);
    networks.extend(used.map(|(server, _)| server.to_owned()));
    networks
}

/// What the file says otherwise than the architecture.
fn differences(architecture: &Architecture, file: &Value) -> Vec<String> {
    let services = file["services"].as_object().unwrap();
    let mut found = Vec::new();
    for (name, process) in &architecture.processes {
        let Some(service) = services.get(name) else {
            found.push(format!("{name}: no service"));
            continue;
        };
        let (ours, theirs) = (expected(architecture, name, process), environment(service));
        for variable in ours.keys().chain(theirs.keys()).collect::<BTreeSet<_>>() {
            // Paths differ by nature; that they are given does not.
            let path = variable.ends_with("_FILE");
            let same = match (ours.get(variable), theirs.get(variable)) {
                (Some(ours), Some(theirs)) => path || ours == theirs,
                _ => false,
            };
            if !same {
                found.push(format!("{name}: {variable}"));
            }
        }
        if networks(name, process) != strings(&service["networks"]) {
            found.push(format!("{name}: networks"));
        }
        if service["build"]["args"]["BIN"] != name.as_str() {
            found.push(format!("{name}: builds another binary"));
        }
        let healthcheck = ["CMD", "/app", "healthcheck"].map(Value::from).to_vec();
        if service["healthcheck"]["test"] != Value::from(healthcheck) {
            found.push(format!("{name}: healthcheck"));
        }
    }
    let migrations: BTreeMap<&str, &Value> = services
        .iter()
        .filter_map(|(name, service)| Some((name.strip_suffix("-migration")?, service)))
        .collect();
    let databases: BTreeMap<&str, &str> = architecture.databases().collect();
    if !migrations.keys().eq(databases.keys()) {
        found.push("migrations: not one for each database".to_owned());
    }
    for (database, migration) in migrations {
        let owner = owner_role(database);
        let url = format!("postgres://{owner}:{owner}@postgres:5432/{database}");
        if environment(migration) != BTreeMap::from([("DATABASE_URL".to_owned(), url)]) {
            found.push(format!("{database}-migration: DATABASE_URL"));
        }
        if strings(&migration["networks"]) != BTreeSet::from(["postgres".to_owned()]) {
            found.push(format!("{database}-migration: networks"));
        }
    }
    found
}

#[test]
fn processes_have_the_users_addresses_and_networks_of_their_arrows() {
    let found = differences(&architecture(), &file());
    assert!(
        found.is_empty(),
        "docker-compose.yml differs from architecture.toml: {found:#?}"
    );
}

#[test]
fn an_arrow_that_only_one_of_the_two_states_is_reported() {
    let check = |change: &dyn Fn(&mut Architecture, &mut Value), expected: &[&str]| {
        let (mut architecture, mut file) = (architecture(), file());
        change(&mut architecture, &mut file);
        assert_eq!(differences(&architecture, &file), expected);
    };
    check(
        &|_, file| file["services"]["audit-consumer"]["environment"]["REDIS_URL"] = "redis://redis".into(),
        &["audit-consumer: REDIS_URL"],
    );
    check(
        &|_, file| {
            let networks = &mut file["services"]["gateway"]["networks"];
            networks.as_array_mut().unwrap().push("postgres".into());
        },
        &["gateway: networks"],
    );
    check(
        &|_, file| {
            let environment = &mut file["services"]["email-consumer"]["environment"];
            environment["KAFKA_SASL_USERNAME"] = "admin".into();
        },
        &["email-consumer: KAFKA_SASL_USERNAME"],
    );
    check(
        &|architecture, _| {
            architecture.processes.get_mut("email-consumer").unwrap().smtp = false;
        },
        &["email-consumer: SMTP_URL", "email-consumer: networks"],
    );
    check(
        &|_, file| {
            file["services"]
                .as_object_mut()
                .unwrap()
                .remove("audit-migration");
        },
        &["migrations: not one for each database"],
    );
}

#[test]
fn servers_listen_where_the_stack_looks_for_them_and_nowhere_else() {
    let (file, architecture) = (file(), architecture());
    let book = PortBook::new(Ports::Fixed, &architecture).unwrap();
    let published: BTreeSet<String> = file["services"]
        .as_object()
        .unwrap()
        .values()
        .flat_map(|service| strings(&service["ports"]))
        .map(|mapping| mapping.rsplit_once(':').unwrap().0.to_owned())
        .collect();
    let outside = architecture
        .processes
        .iter()
        .filter(|(_, process)| matches!(process.serves.as_deref(), Some("public" | "operator")))
        .map(|(name, _)| Listener::Http(name.clone(), 1));
    let servers = [
        Listener::Postgres,
        Listener::Redis,
        Listener::Kafka,
        Listener::Smtp,
        Listener::SmtpHttp,
    ];
    let listeners = servers.into_iter().chain(outside);
    let fixed = listeners.map(|listener| book.address(&listener).unwrap());
    assert_eq!(published, fixed.collect());

    let addresses = Compose::addresses();
    let ours = [
        addresses.postgres_url.unwrap().replace("/postgres", ""),
        addresses.redis_url.unwrap(),
        addresses.kafka_bootstrap.unwrap(),
        addresses.smtp_url.unwrap(),
        addresses.mail_url.unwrap(),
    ];
    for address in ours {
        let address = address.rsplit(['@', '/']).next().unwrap();
        assert!(published.contains(address), "{address} is not published");
    }
}

#[test]
fn images_are_pinned_and_processes_can_write_nowhere() {
    let file = file();
    for (name, service) in file["services"].as_object().unwrap() {
        let image = service["image"].as_str().unwrap();
        if service.get("build").is_some() {
            assert_eq!(service["read_only"], true, "{name}");
            assert_eq!(
                strings(&service["cap_drop"]),
                BTreeSet::from(["ALL".to_owned()]),
                "{name}"
            );
        } else {
            let (_, tag) = image.rsplit_once(':').unwrap();
            assert!(tag.contains('.'), "{name}: {image} is not pinned");
        }
    }
}

#[test]
fn the_dockerfile_builds_every_process_and_runs_it_as_nobody_in_particular() {
    let text = read("Dockerfile");
    let words: Vec<&str> = text.split([' ', '\n', '"']).collect();
    let packages = words.windows(2).filter(|pair| pair[0] == "--package");
    let built: BTreeSet<String> = packages.map(|pair| pair[1].to_owned()).collect();
    assert_eq!(built, architecture().processes.into_keys().collect());
    assert!(text.lines().any(|line| line == "USER 65532:65532"));
    for line in text
        .lines()
        .filter(|line| line.starts_with("RUN cargo") && !line.contains("prepare"))
    {
        assert!(line.contains("--locked"), "{line}");
    }
}
