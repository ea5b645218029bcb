#![expect(
    clippy::unwrap_used,
    reason = "only tests call it, and they fail by panicking"
)]

use std::net::TcpListener;
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use kafka::KafkaArgs;
use rdkafka::consumer::{BaseConsumer, Consumer as _};
use rustix::process::{Pid, Resource, Rlimit, prlimit};
use settings::Secret;
use tempfile::TempDir;
use tls::ClientFiles;

use crate::{Authority, Identity, eventually};

/// A Kafka of one test's own, with one listener for each way in; killed with this value. It has no ACLs.
pub struct Broker {
    child: Child,
    home: TempDir,
    jars: std::path::PathBuf,
    ports: Vec<(Listener, u16)>,
}

/// A way into a [`Broker`]. Each but the first has TLS, with a certificate for `localhost` unless it says otherwise.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Listener {
    /// Without TLS and without a password.
    Plain,
    /// With TLS.
    Good,
    /// With a certificate for another name.
    Misnamed,
    /// With a certificate whose time is over.
    Expired,
    /// That asks for a client's certificate of the same authority.
    Mutual,
    /// That asks for a password: SCRAM-SHA-256, user `app`, at first with the password `one`.
    Login,
}

impl Listener {
    const ALL: [Listener; 6] = [
        Listener::Plain,
        Listener::Good,
        Listener::Misnamed,
        Listener::Expired,
        Listener::Mutual,
        Listener::Login,
    ];

    fn name(self) -> &'static str {
        match self {
            Listener::Plain => "PLAIN",
            Listener::Good => "GOOD",
            Listener::Misnamed => "MISNAMED",
            Listener::Expired => "EXPIRED",
            Listener::Mutual => "MUTUAL",
            Listener::Login => "LOGIN",
        }
    }

    fn protocol(self) -> &'static str {
        match self {
            Listener::Plain => "PLAINTEXT",
            Listener::Login => "SASL_SSL",
            _ => "SSL",
        }
    }
}

impl Broker {
    /// Takes about four seconds, most of it Java's.
    pub async fn start(authority: &Authority) -> Broker {
        let root = stack::find_root().unwrap();
        let artifacts = stack::Artifacts::fetch(&root, &stack::target_dir(&root), |_| {}).unwrap();
        let free: Vec<TcpListener> = (0..=Listener::ALL.len())
            .map(|_| TcpListener::bind("127.0.0.1:0").unwrap())
            .collect();
        let mut ports: Vec<u16> = free
            .iter()
            .map(|free| free.local_addr().unwrap().port())
            .collect();
        drop(free);
        let controller = ports.pop().unwrap();
        let ports: Vec<(Listener, u16)> = Listener::ALL.into_iter().zip(ports).collect();
        let home = tempfile::tempdir().unwrap();
        let properties = properties(authority, &ports, controller, &home);
        std::fs::write(home.path().join("server.properties"), properties).unwrap();
        let format = [
            "kafka.tools.StorageTool",
            "format",
            "--cluster-id",
            "MkU3OEVBNTcwNTJENDM2Qg",
            "--config",
            "server.properties",
            "--add-scram",
            "SCRAM-SHA-256=[name=app,password=one]",
        ];
        let jars = artifacts.jars;
        run(java(&jars, &home).args(format));
        let broker = Broker {
            child: serve(&jars, &home),
            home,
            jars,
            ports,
        };
        broker.until_up().await;
        broker
    }

    /// Kills it and starts it again, with all that it had: every connection has to be made and authenticated anew.
    pub async fn restart(&mut self) {
        self.kill();
        self.child = serve(&self.jars, &self.home);
        self.until_up().await;
    }

    /// Kills it, until it is [restarted](Broker::restart).
    pub fn kill(&mut self) {
        self.child.kill().unwrap();
        self.child.wait().unwrap();
    }

    /// From now on its files cannot grow, as if its disk were full, until it is [restarted](Broker::restart).
    pub fn leave_no_room(&self) {
        let limit = Rlimit {
            current: Some(0),
            maximum: Some(0),
        };
        let pid = Pid::from_raw(i32::try_from(self.child.id()).unwrap());
        prlimit(pid, Resource::Fsize, limit).unwrap();
    }

    async fn until_up(&self) {
        let probe: BaseConsumer = self
            .args(Listener::Plain, ClientFiles::default())
            .client("test")
            .unwrap()
            .create()
            .unwrap();
        eventually("the broker answers", async || {
            probe.fetch_metadata(None, Duration::from_secs(1)).ok()
        })
        .await;
    }

    /// What a client of that listener is told; for [`Listener::Login`] with the first password.
    pub fn args(&self, listener: Listener, files: ClientFiles) -> KafkaArgs {
        let login = listener == Listener::Login;
        KafkaArgs {
            bootstrap_servers: self.address(listener),
            security_protocol: listener.protocol().to_owned(),
            sasl_mechanism: login.then(|| "SCRAM-SHA-256".to_owned()),
            sasl_username: login.then(|| "app".to_owned()),
            sasl_password: login.then(|| Secret::of("one")),
            tls: files.into(),
        }
    }

    /// Gives the user `app` another password; what is connected stays so.
    pub fn set_password(&self, password: &str) {
        let bootstrap = self.address(Listener::Plain);
        let change = format!("SCRAM-SHA-256=[password={password}]");
        run(java(&self.jars, &self.home)
            .args([
                "kafka.admin.ConfigCommand",
                "--bootstrap-server",
                &bootstrap,
                "--alter",
            ])
            .args([
                "--entity-type",
                "users",
                "--entity-name",
                "app",
                "--add-config",
                &change,
            ]));
    }

    fn address(&self, listener: Listener) -> String {
        let (_, port) = self.ports.iter().find(|(known, _)| *known == listener).unwrap();
        format!("localhost:{port}")
    }
}

impl Drop for Broker {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

fn java(jars: &std::path::Path, home: &TempDir) -> Command {
    let mut java = Command::new("java");
    java.args(["-Xmx256m", "-XX:+UseSerialGC", "-XX:TieredStopAtLevel=1", "-cp"])
        .arg(jars.join("*"))
        .current_dir(home.path())
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(Stdio::null());
    java
}

fn serve(jars: &std::path::Path, home: &TempDir) -> Child {
    java(jars, home)
        .args(["kafka.Kafka", "server.properties"])
        .spawn()
        .unwrap()
}

fn run(command: &mut Command) {
    let status = command.status().expect("java is installed");
    assert!(status.success(), "{command:?}: {status}");
}

fn properties(authority: &Authority, ports: &[(Listener, u16)], controller: u16, home: &TempDir) -> String {
    let store = |name: &str, identity: &Identity| {
        let path = home.path().join(format!("{name}.pem"));
        std::fs::write(&path, identity.pem()).unwrap();
        path.display().to_string()
    };
    let join = |one: &dyn Fn(Listener, u16) -> String| {
        let all: Vec<String> = ports
            .iter()
            .map(|(listener, port)| one(*listener, *port))
            .collect();
        all.join(",")
    };
    let bound = join(&|listener, port| format!("{}://127.0.0.1:{port}", listener.name()));
    let advertised = join(&|listener, port| format!("{}://localhost:{port}", listener.name()));
    let protocols = join(&|listener, _| format!("{}:{}", listener.name(), listener.protocol()));
    format!(
        "process.roles=broker,controller\n\
         node.id=1\n\
         controller.quorum.voters=1@127.0.0.1:{controller}\n\
         controller.quorum.election.timeout.ms=200\n\
         controller.listener.names=CONTROLLER\n\
         inter.broker.listener.name=PLAIN\n\
         listeners={bound},CONTROLLER://127.0.0.1:{controller}\n\
         advertised.listeners={advertised}\n\
         listener.security.protocol.map={protocols},CONTROLLER:PLAINTEXT\n\
         log.dirs={data}\n\
         group.initial.rebalance.delay.ms=0\n\
         offsets.topic.replication.factor=1\n\
         offsets.topic.num.partitions=1\n\
         transaction.state.log.replication.factor=1\n\
         transaction.state.log.min.isr=1\n\
         num.partitions=1\n\
         sasl.enabled.mechanisms=SCRAM-SHA-256\n\
         listener.name.login.scram-sha-256.sasl.jaas.config=org.apache.kafka.common.security.scram.ScramLoginModule required;\n\
         ssl.keystore.type=PEM\n\
         ssl.keystore.location={good}\n\
         ssl.truststore.type=PEM\n\
         ssl.truststore.location={ca}\n\
         listener.name.misnamed.ssl.keystore.type=PEM\n\
         listener.name.misnamed.ssl.keystore.location={misnamed}\n\
         listener.name.expired.ssl.keystore.type=PEM\n\
         listener.name.expired.ssl.keystore.location={expired}\n\
         listener.name.mutual.ssl.client.auth=required\n",
        data = home.path().join("data").display(),
        ca = authority.ca().display(),
        good = store("good", &authority.server(&["localhost"])),
        misnamed = store("misnamed", &authority.server(&["broker.test"])),
        expired = store("expired", &authority.expired_server(&["localhost"])),
    )
}
