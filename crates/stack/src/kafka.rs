//! Apache Kafka: one KRaft node, secured like production: SASL on every listener, a user per process,
//! everything forbidden that no ACL allows.

use std::fmt::Write as _;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use anyhow::ensure;
use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;

use crate::architecture::Architecture;
use crate::child::Spawner;
use crate::options::Accounts;
use crate::secrets::{Account, Secrets};

/// The super user, who needs no ACL.
pub(crate) const ADMIN: &str = "admin";

/// Where Kafka is and who may do everything there.
#[derive(Clone, Debug)]
pub(crate) struct Kafka {
    /// `host:port`, several separated by commas when somebody else runs it.
    pub(crate) bootstrap: String,
    /// `None`: the broker asks for nobody's name (only one that somebody else runs).
    pub(crate) admin: Option<Login>,
    /// Whose users it has; a server that we run has the architecture's.
    pub(crate) accounts: Accounts,
    /// The server's files when we run it.
    pub(crate) native: Option<Native>,
}

/// A SASL/PLAIN user.
#[derive(Clone, Debug, Default)]
pub(crate) struct Login {
    pub(crate) user: String,
    pub(crate) password: String,
}

/// The files of a server that we run ourselves.
#[derive(Clone, Debug)]
pub(crate) struct Native {
    jars: PathBuf,
    home: PathBuf,
    port: u16,
    controller_port: u16,
}

impl Kafka {
    /// A server of our own.
    pub(crate) fn native(
        jars: &Path,
        dir: &Path,
        port: u16,
        controller_port: u16,
        secrets: &Secrets,
    ) -> Kafka {
        let password = secrets.password(Account::Kafka(ADMIN)).to_owned();
        Kafka {
            bootstrap: format!("127.0.0.1:{port}"),
            admin: Some(Login {
                user: ADMIN.to_owned(),
                password,
            }),
            accounts: Accounts::Architecture,
            native: Some(Native {
                jars: jars.to_owned(),
                home: dir.join("kafka"),
                port,
                controller_port,
            }),
        }
    }

    /// A server that is there already, with the login of its super user.
    pub(crate) fn external(
        bootstrap: &str,
        login: Option<Login>,
        accounts: Accounts,
    ) -> anyhow::Result<Kafka> {
        ensure!(
            bootstrap.contains(':'),
            "the Kafka address is not of the form host:port"
        );
        Ok(Kafka {
            bootstrap: bootstrap.to_owned(),
            admin: login,
            accounts,
            native: None,
        })
    }

    /// What a process logs in with.
    pub(crate) fn login(&self, process: &str, secrets: &Secrets) -> Option<Login> {
        match self.accounts {
            Accounts::Architecture => Some(Login {
                user: process.to_owned(),
                password: secrets.password(Account::Kafka(process)).to_owned(),
            }),
            Accounts::Given => self.admin.clone(),
        }
    }
}

impl Native {
    /// Writes the configuration, which holds passwords, and formats the data folder the first time.
    pub(crate) async fn prepare(
        &self,
        spawner: &Spawner,
        architecture: &Architecture,
        secrets: &Secrets,
        log: &Path,
    ) -> anyhow::Result<()> {
        crate::files::make_dir(&self.home)?;
        let text = self.properties(architecture, secrets);
        crate::files::write_private(&self.home.join("server.properties"), text.as_bytes())?;
        crate::files::write_private(&self.home.join("log4j2.properties"), LOG4J.as_bytes())?;
        if self.data().join("meta.properties").exists() {
            return Ok(());
        }
        let cluster = cluster_id(rand::random());
        let mut format = self.java();
        format.args([
            "kafka.tools.StorageTool",
            "format",
            "--ignore-formatted",
            "--cluster-id",
            &cluster,
            "--config",
        ]);
        format.arg(self.home.join("server.properties"));
        spawner
            .run("kafka's storage tool", format, log, Duration::from_secs(60))
            .await
    }

    pub(crate) fn server(&self) -> Command {
        let mut server = self.java();
        server.arg("kafka.Kafka").arg(self.home.join("server.properties"));
        server
    }

    fn data(&self) -> PathBuf {
        self.home.join("data")
    }

    fn java(&self) -> Command {
        let mut java = Command::new("java");
        // A small heap, a collector without threads of its own and no optimising compiler: it shares two
        // cores with everything else.
        java.args([
            "-Xmx384m",
            "-XX:+UseSerialGC",
            "-XX:TieredStopAtLevel=1",
            "-Djava.awt.headless=true",
        ]);
        java.arg(format!(
            "-Dlog4j2.configurationFile=file:{}",
            self.home.join("log4j2.properties").display()
        ));
        java.arg("-cp").arg(self.jars.join("*")).current_dir(&self.home);
        for variable in ["_JAVA_OPTIONS", "JAVA_TOOL_OPTIONS", "CLASSPATH"] {
            java.env_remove(variable);
        }
        java
    }

    pub(crate) fn properties(&self, architecture: &Architecture, secrets: &Secrets) -> String {
        let Native {
            port,
            controller_port,
            ..
        } = self;
        let data = self.data();
        let admin = secrets.password(Account::Kafka(ADMIN));
        let login = format!(
            "org.apache.kafka.common.security.plain.PlainLoginModule required \
             username=\"{ADMIN}\" password=\"{admin}\" user_{ADMIN}=\"{admin}\""
        );
        let mut users = String::new();
        for user in architecture.kafka_users() {
            let _ = write!(
                users,
                " user_{user}=\"{}\"",
                secrets.password(Account::Kafka(user))
            );
        }
        format!(
            "process.roles=broker,controller\n\
             node.id=1\n\
             controller.quorum.voters=1@127.0.0.1:{controller_port}\n\
             listeners=CLIENT://127.0.0.1:{port},CONTROLLER://127.0.0.1:{controller_port}\n\
             advertised.listeners=CLIENT://127.0.0.1:{port}\n\
             # The controller's listener asks for a password as well: without one its peers would be the anonymous user,\n\
             # who would then have to be a super user.\n\
             listener.security.protocol.map=CLIENT:SASL_PLAINTEXT,CONTROLLER:SASL_PLAINTEXT\n\
             inter.broker.listener.name=CLIENT\n\
             controller.listener.names=CONTROLLER\n\
             sasl.enabled.mechanisms=PLAIN\n\
             sasl.mechanism.inter.broker.protocol=PLAIN\n\
             sasl.mechanism.controller.protocol=PLAIN\n\
             listener.name.client.plain.sasl.jaas.config={login}{users};\n\
             listener.name.controller.plain.sasl.jaas.config={login};\n\
             authorizer.class.name=org.apache.kafka.metadata.authorizer.StandardAuthorizer\n\
             allow.everyone.if.no.acl.found=false\n\
             super.users=User:{ADMIN}\n\
             log.dirs={data}\n\
             auto.create.topics.enable=false\n\
             # Started again, the one voter waits this long for other candidates before it leads.\n\
             controller.quorum.election.timeout.ms=200\n\
             # A group of one should not wait three seconds for a second member.\n\
             group.initial.rebalance.delay.ms=0\n\
             offsets.topic.replication.factor=1\n\
             offsets.topic.num.partitions=5\n\
             transaction.state.log.replication.factor=1\n\
             transaction.state.log.min.isr=1\n\
             transaction.state.log.num.partitions=2\n\
             share.coordinator.state.topic.replication.factor=1\n\
             share.coordinator.state.topic.min.isr=1\n\
             share.coordinator.state.topic.num.partitions=2\n",
            data = data.display(),
        )
    }
}

/// Sixteen bytes as Kafka writes them. The first bit is cleared, because an id that starts with `-` would be
/// taken for an option.
fn cluster_id(mut bytes: [u8; 16]) -> String {
    bytes[0] &= 0x7f;
    URL_SAFE_NO_PAD.encode(bytes)
}

/// Everything goes to the log file that the child's output is.
const LOG4J: &str = "\
status = warn
appender.out.type = Console
appender.out.name = out
appender.out.layout.type = PatternLayout
appender.out.layout.pattern = %d{ISO8601} %p %m (%c)%n
rootLogger.level = info
rootLogger.appenderRef.out.ref = out
";

#[cfg(test)]
mod tests {
    use super::*;
    use crate::secrets::Passwords;

    #[test]
    fn a_cluster_id_is_no_option() {
        for first in 0..=u8::MAX {
            let id = cluster_id([first; 16]);
            assert!(id.len() == 22 && !id.starts_with('-'), "{id}");
        }
    }

    #[test]
    fn only_processes_with_an_arrow_to_kafka_are_its_users() {
        let architecture =
            Architecture::parse("[process.edge]\n[process.mailer]\nconsumes = ['orders']").unwrap();
        let dir = tempfile::tempdir().unwrap();
        let secrets = Secrets::open(dir.path(), Passwords::Names, &architecture).unwrap();
        let kafka = Kafka::native(Path::new("/jars"), dir.path(), 9092, 9093, &secrets);
        let text = kafka.native.unwrap().properties(&architecture, &secrets);
        assert!(
            text.contains("user_admin=\"admin\" user_mailer=\"mailer\";"),
            "{text}"
        );
        assert!(!text.contains("user_edge"));
        assert!(text.contains("allow.everyone.if.no.acl.found=false"));
    }
}
