//! What each process is told: exactly the addresses and passwords of its own arrows.

use std::collections::BTreeMap;
use std::path::Path;
use std::process::Command;

use crate::architecture::{Architecture, Process, owner_role, runtime_role};
use crate::kafka::Kafka;
use crate::keys::{ISSUER, Keys};
use crate::postgres::Postgres;
use crate::redis::Redis;
use crate::secrets::{Account, Secrets};

/// A process's replica; replicas count from 1.
pub(crate) type Replica = (String, u16);

/// Everything that a process could be told.
pub(crate) struct Wiring<'a> {
    pub(crate) root: &'a Path,
    pub(crate) architecture: &'a Architecture,
    pub(crate) postgres: &'a Postgres,
    pub(crate) redis: &'a Redis,
    pub(crate) kafka: &'a Kafka,
    pub(crate) smtp_url: String,
    pub(crate) secrets: &'a Secrets,
    pub(crate) keys: &'a Keys,
    /// The replicas' base URLs of each process that another calls.
    pub(crate) urls: BTreeMap<String, Vec<String>>,
}

/// A replica's own listeners, as `host:port`.
pub(crate) struct Listeners {
    pub(crate) http: Option<String>,
    pub(crate) admin: String,
}

impl Wiring<'_> {
    /// The environment of `<name> serve`.
    pub(crate) fn environment(
        &self,
        name: &str,
        process: &Process,
        listeners: &Listeners,
    ) -> Vec<(String, String)> {
        let mut environment = Environment::default();
        environment.set("ADMIN_ADDR", &listeners.admin);
        // Enough for a load balancer that does not exist here; `down` should not take half a minute.
        environment.set("DRAIN_DELAY", "1s");
        environment.set("SHUTDOWN_GRACE_SECONDS", "8");
        if let Some(http) = &listeners.http {
            environment.set("HTTP_ADDR", http);
        }
        self.trust(process, &mut environment);
        for called in &process.calls {
            let urls = self
                .urls
                .get(called)
                .map(|urls| urls.join(","))
                .unwrap_or_default();
            environment.set(&format!("{}_URL", called.to_uppercase().replace('-', "_")), urls);
        }
        if let Some(database) = &process.database {
            environment.set(
                "DATABASE_URL",
                self.database_url(&runtime_role(database), database),
            );
        }
        if process.redis.is_some() {
            environment.set("REDIS_URL", self.redis.url(name, self.secrets));
        }
        if process.uses_kafka() {
            self.kafka(name, &mut environment);
        }
        if !process.produces.is_empty() {
            // One broker, so one replica of each topic.
            environment.set("KAFKA_TOPIC_REPLICATION", 1);
        }
        if !process.consumes.is_empty() {
            environment.set("KAFKA_GROUP_ID", name);
            environment.set("KAFKA_SESSION_TIMEOUT", "6s");
        }
        if process.smtp {
            environment.set("SMTP_URL", &self.smtp_url);
        }
        environment.0
    }

    /// The environment of `<name> migrate`.
    pub(crate) fn migration(&self, database: &str) -> Vec<(String, String)> {
        let mut environment = Environment::default();
        environment.set("DATABASE_URL", self.database_url(&owner_role(database), database));
        environment.0
    }

    /// Whose tokens it believes, and what it signs itself.
    fn trust(&self, process: &Process, environment: &mut Environment) {
        match process.serves.as_deref() {
            None => {}
            Some("public") => {
                environment.set("JWKS_FILE", self.keys.jwks_file().display());
                environment.set("JWT_ISSUER", ISSUER);
                environment.set(
                    "ROUTES_FILE",
                    self.root.join("deploy/gateway/routes.toml").display(),
                );
                environment.set("ASSERTION_KEY_FILE", self.keys.assertion_key_file().display());
                environment.set("ASSERTION_KEY_ID", self.keys.assertion_key_id());
            }
            Some(caller) if self.architecture.processes.contains_key(caller) => {
                environment.set("ASSERTION_JWKS_FILE", self.keys.assertion_jwks_file().display());
            }
            Some(_) => {
                environment.set("JWKS_FILE", self.keys.jwks_file().display());
                environment.set("JWT_ISSUER", ISSUER);
            }
        }
    }

    fn kafka(&self, name: &str, environment: &mut Environment) {
        environment.set("KAFKA_BOOTSTRAP_SERVERS", &self.kafka.bootstrap);
        match self.kafka.login(name, self.secrets) {
            Some(login) => {
                environment.set("KAFKA_SECURITY_PROTOCOL", "SASL_PLAINTEXT");
                environment.set("KAFKA_SASL_MECHANISM", "PLAIN");
                environment.set("KAFKA_SASL_USERNAME", login.user);
                environment.set("KAFKA_SASL_PASSWORD", login.password);
            }
            None => environment.set("KAFKA_SECURITY_PROTOCOL", "PLAINTEXT"),
        }
    }

    fn database_url(&self, role: &str, database: &str) -> String {
        self.postgres
            .url(role, self.secrets.password(Account::Postgres(role)), database)
    }
}

#[derive(Default)]
struct Environment(Vec<(String, String)>);

impl Environment {
    fn set(&mut self, name: &str, value: impl ToString) {
        self.0.push((name.to_owned(), value.to_string()));
    }
}

/// A command that inherits nothing but what has no address in it. The user's own settings of the log and of
/// telemetry come through, and `environment` wins over them.
pub(crate) fn command(
    binary: &Path,
    verb: &str,
    environment: impl IntoIterator<Item = (String, String)>,
) -> Command {
    let mut command = Command::new(binary);
    command.arg(verb).env_clear();
    command.envs(std::env::vars_os().filter(|(name, _)| name.to_str().is_some_and(is_harmless)));
    command.envs(environment);
    command
}

fn is_harmless(name: &str) -> bool {
    let exact = [
        "PATH",
        "HOME",
        "LANG",
        "TZ",
        "TMPDIR",
        "LD_LIBRARY_PATH",
        "RUST_LOG",
        "RUST_BACKTRACE",
        "LOG_FORMAT",
    ];
    exact.contains(&name) || name.starts_with("OTEL_") || name.starts_with("LC_")
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::secrets::Passwords;

    const SHOP: &str = r#"
        [process.edge]
        serves = "public"
        calls = ["the-app"]
        [process.the-app]
        serves = "edge"
        database = "app"
        redis = "c1:*"
        produces = ["orders"]
        [process.mailer]
        database = "mail"
        consumes = ["orders"]
        smtp = true
        [process.report]
        serves = "operator"
        database = "report"
        consumes = ["orders"]
    "#;

    /// The names that a process of the little shop gets, without those that every process has.
    fn names(process: &str) -> Vec<String> {
        let architecture = Architecture::parse(SHOP).unwrap();
        let dir = tempfile::tempdir().unwrap();
        let secrets = Secrets::open(dir.path(), Passwords::Names, &architecture).unwrap();
        let wiring = Wiring {
            root: Path::new("/shop"),
            architecture: &architecture,
            postgres: &Postgres::external("postgres://root:secret@127.0.0.1:5432/postgres").unwrap(),
            redis: &Redis::native(Path::new("/no/redis-server"), dir.path(), 6379),
            kafka: &Kafka::native(Path::new("/jars"), dir.path(), 9092, 9093, &secrets),
            smtp_url: "smtp://127.0.0.1:1025".into(),
            secrets: &secrets,
            keys: &Keys::open(dir.path()).unwrap(),
            urls: BTreeMap::from([(
                "the-app".into(),
                vec!["http://127.0.0.1:1".into(), "http://127.0.0.1:2".into()],
            )]),
        };
        let listeners = Listeners {
            http: None,
            admin: "127.0.0.1:9080".into(),
        };
        let environment = wiring.environment(process, &architecture.processes[process], &listeners);
        let common = ["ADMIN_ADDR", "DRAIN_DELAY", "SHUTDOWN_GRACE_SECONDS"];
        environment
            .into_iter()
            .map(|(name, _)| name)
            .filter(|name| !common.contains(&name.as_str()))
            .collect()
    }

    const KAFKA: [&str; 5] = [
        "KAFKA_BOOTSTRAP_SERVERS",
        "KAFKA_SECURITY_PROTOCOL",
        "KAFKA_SASL_MECHANISM",
        "KAFKA_SASL_USERNAME",
        "KAFKA_SASL_PASSWORD",
    ];

    #[test]
    fn a_process_is_told_what_its_arrows_need_and_nothing_else() {
        let edge = [
            "JWKS_FILE",
            "JWT_ISSUER",
            "ROUTES_FILE",
            "ASSERTION_KEY_FILE",
            "ASSERTION_KEY_ID",
            "THE_APP_URL",
        ];
        assert_eq!(names("edge"), edge);
        let app = [
            ["ASSERTION_JWKS_FILE", "DATABASE_URL", "REDIS_URL"].as_slice(),
            &KAFKA,
            &["KAFKA_TOPIC_REPLICATION"],
        ]
        .concat();
        assert_eq!(names("the-app"), app);
        let group = ["KAFKA_GROUP_ID", "KAFKA_SESSION_TIMEOUT"];
        assert_eq!(
            names("mailer"),
            [["DATABASE_URL"].as_slice(), &KAFKA, &group, &["SMTP_URL"]].concat()
        );
        assert_eq!(
            names("report"),
            [
                ["JWKS_FILE", "JWT_ISSUER", "DATABASE_URL"].as_slice(),
                &KAFKA,
                &group
            ]
            .concat()
        );
    }

    #[test]
    fn addresses_of_the_user_are_not_inherited() {
        for name in [
            "DATABASE_URL",
            "REDIS_URL",
            "KAFKA_BOOTSTRAP_SERVERS",
            "PLUMBLINE_POSTGRES_URL",
            "PGPASSWORD",
        ] {
            assert!(!is_harmless(name), "{name}");
        }
        assert!(is_harmless("OTEL_EXPORTER_OTLP_ENDPOINT") && is_harmless("RUST_LOG"));
    }
}
