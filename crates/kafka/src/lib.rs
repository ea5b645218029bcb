//! One way to reach Kafka: clap arguments in, an `rdkafka::ClientConfig` out.
//!
//! What every client of this system needs (addresses, identity, connection behaviour) is set here; what only a consumer or only the
//! relay's producer needs is set where that client is made.

use std::path::Path;

use rdkafka::ClientConfig;
use settings::{Secret, Setting, Unreadable};
use tls::{BadFile, ClientArgs};

/// How to reach and authenticate to the brokers.
///
/// `Debug` shows everything but the password.
#[derive(Clone, Debug, clap::Args)]
#[command(next_help_heading = "Kafka")]
pub struct KafkaArgs {
    /// Brokers to bootstrap from, `host:port`, separated by commas.
    #[arg(long = "kafka-bootstrap-servers", env = "KAFKA_BOOTSTRAP_SERVERS", value_name = "HOST:PORT,…", value_parser = parse_servers)]
    pub bootstrap_servers: String,

    /// Transport and authentication of the broker's listener. With SSL and SASL_SSL the broker's certificate has to bear the name that
    /// it is reached by.
    #[arg(
        long = "kafka-security-protocol",
        env = "KAFKA_SECURITY_PROTOCOL",
        default_value = "PLAINTEXT",
        ignore_case = true,
        value_parser = ["PLAINTEXT", "SSL", "SASL_PLAINTEXT", "SASL_SSL"],
        requires_ifs = [("SASL_PLAINTEXT", SaslPassword::ENV), ("SASL_SSL", SaslPassword::ENV)]
    )]
    pub security_protocol: String,

    /// SASL mechanism; needed with SASL_PLAINTEXT and SASL_SSL.
    #[arg(
        long = "kafka-sasl-mechanism",
        env = "KAFKA_SASL_MECHANISM",
        value_parser = ["PLAIN", "SCRAM-SHA-256", "SCRAM-SHA-512"],
        required_if_eq_any = WITH_SASL
    )]
    pub sasl_mechanism: Option<String>,

    /// SASL user; needed with SASL_PLAINTEXT and SASL_SSL.
    #[arg(long = "kafka-sasl-username", env = "KAFKA_SASL_USERNAME", required_if_eq_any = WITH_SASL)]
    pub sasl_username: Option<String>,

    #[command(flatten)]
    pub sasl_password: Option<Secret<SaslPassword>>,

    #[command(flatten)]
    pub tls: ClientArgs<Brokers>,
}

const WITH_SASL: [(&str, &str); 2] = [
    ("security_protocol", "SASL_PLAINTEXT"),
    ("security_protocol", "SASL_SSL"),
];

/// `KAFKA_SASL_PASSWORD`.
pub struct SaslPassword;

impl Setting for SaslPassword {
    const ENV: &'static str = "KAFKA_SASL_PASSWORD";
    const VALUE_NAME: &'static str = "PASSWORD";
    const HELP: &'static str = "SASL password; needed with SASL_PLAINTEXT and SASL_SSL";
    const REQUIRED: bool = false;

    fn check(password: &str) -> Result<(), String> {
        if password.is_empty() {
            return Err("it is empty".to_owned());
        }
        Ok(())
    }
}

/// `KAFKA_SSL_CA_FILE` and its companions.
pub struct Brokers;

impl tls::Peer for Brokers {
    const PREFIX: &'static str = "KAFKA_SSL";
    const NAME: &'static str = "the broker";
}

/// No client can be made with the settings as they are now.
#[derive(Debug, thiserror::Error)]
pub enum Unusable {
    #[error(transparent)]
    Secret(#[from] Unreadable),
    #[error(transparent)]
    File(#[from] BadFile),
    #[error("TLS files are given for Kafka, but KAFKA_SECURITY_PROTOCOL is neither SSL nor SASL_SSL")]
    NoTls,
}

impl KafkaArgs {
    /// The configuration that every client shares. `client_id` is the process's name: brokers show it in their logs and quotas.
    ///
    /// It holds the password and the certificates as their files are *now*, and librdkafka keeps what it was made with for all its
    /// connections. A client that was made with others ([`same_secrets`]) should be replaced: something was rotated.
    ///
    /// # Errors
    /// When a file cannot be read or used.
    pub fn client(&self, client_id: &str) -> Result<ClientConfig, Unusable> {
        let mut config = ClientConfig::new();
        config
            .set("bootstrap.servers", &self.bootstrap_servers)
            .set("security.protocol", self.security_protocol.to_ascii_uppercase())
            .set("client.id", client_id)
            // Off by default. Without it a connection that a firewall or a dead broker dropped silently is noticed only by a request's
            // own timeout.
            .set("socket.keepalive.enable", "true")
            // Default 0.1 s to 10 s. A broker that restarts is back within seconds, and a consumer that waits 10 s more than it has
            // to shows as lag.
            .set("reconnect.backoff.max.ms", "2000")
            // Default true: at debug level only noise, because an idle connection that the broker closes is normal.
            .set("log.connection.close", "false");
        for (setting, value) in [
            ("sasl.mechanism", &self.sasl_mechanism),
            ("sasl.username", &self.sasl_username),
        ] {
            if let Some(value) = value {
                config.set(setting, value);
            }
        }
        if let Some(password) = &self.sasl_password {
            config.set("sasl.password", password.read()?);
        }
        self.set_tls(&mut config)?;
        Ok(config)
    }

    /// What is wrong with the settings; nothing is connected to.
    pub fn fault(&self) -> Option<String> {
        if let Err(error) = self.client("check") {
            return Some(error.to_string());
        }
        if self.tls.is_empty() {
            return None;
        }
        let error = self.tls.client().config(tls::Verify::Full).err()?;
        Some(format!("TLS to Kafka: {error}"))
    }

    fn set_tls(&self, config: &mut ClientConfig) -> Result<(), Unusable> {
        if !self.security_protocol.to_ascii_uppercase().ends_with("SSL") {
            return if self.tls.is_empty() {
                Ok(())
            } else {
                Err(Unusable::NoTls)
            };
        }
        // The default since librdkafka 2; what the whole rests on is said here.
        config.set("ssl.endpoint.identification.algorithm", "https");
        // As content and not as paths, so that a rotated file shows as another configuration.
        let files = self.tls.files();
        if let Some(ca) = &files.ca {
            config.set("ssl.ca.pem", text(ca)?);
        }
        if let Some((certificate, key)) = &files.identity {
            config.set("ssl.certificate.pem", text(certificate)?);
            config.set("ssl.key.pem", text(key)?);
        }
        Ok(())
    }
}

/// Whether two configurations hold the same password and certificates. (rdkafka's own view of a configuration blots them out.)
pub fn same_secrets(one: &ClientConfig, other: &ClientConfig) -> bool {
    let secrets = [
        "sasl.password",
        "ssl.ca.pem",
        "ssl.certificate.pem",
        "ssl.key.pem",
    ];
    secrets
        .iter()
        .all(|setting| one.get(setting) == other.get(setting))
}

fn text(path: &Path) -> Result<String, BadFile> {
    // PEM is ASCII; what else a file holds between the blocks is nothing to librdkafka.
    tls::read_pem(path).map(|bytes| String::from_utf8_lossy(&bytes).into_owned())
}

/// librdkafka takes any text here and then logs failed look-ups for ever; a typing mistake should end the start instead.
fn parse_servers(value: &str) -> Result<String, String> {
    for server in value.split(',') {
        let port = server
            .trim()
            .rsplit_once(':')
            .filter(|(host, _)| !host.is_empty())
            .and_then(|(_, port)| port.parse::<u16>().ok());
        if port.is_none() {
            return Err(format!("`{server}` is not host:port"));
        }
    }
    Ok(value.to_owned())
}

#[cfg(test)]
mod tests {
    use clap::Parser;

    use super::*;

    #[derive(Parser)]
    struct Command {
        #[command(flatten)]
        kafka: KafkaArgs,
    }

    fn parse(arguments: &str) -> Result<KafkaArgs, clap::Error> {
        Command::try_parse_from(["test"].into_iter().chain(arguments.split_whitespace()))
            .map(|command| command.kafka)
    }

    const SASL: &str = "--kafka-bootstrap-servers 127.0.0.1:9092 --kafka-security-protocol SASL_PLAINTEXT --kafka-sasl-mechanism PLAIN \
        --kafka-sasl-username email-consumer --kafka-sasl-password hunter2";

    #[test]
    fn sasl_settings_reach_the_client_configuration() {
        let config = parse(SASL).unwrap().client("email-consumer").unwrap();
        for (setting, expected) in [
            ("bootstrap.servers", "127.0.0.1:9092"),
            ("security.protocol", "SASL_PLAINTEXT"),
            ("sasl.mechanism", "PLAIN"),
            ("sasl.username", "email-consumer"),
            ("sasl.password", "hunter2"),
            ("client.id", "email-consumer"),
        ] {
            assert_eq!(config.get(setting), Some(expected), "{setting}");
        }
        config
            .create_native_config()
            .expect("librdkafka knows every setting");
    }

    #[test]
    fn debug_output_never_shows_the_password() {
        let args = parse(SASL).unwrap();
        assert!(!format!("{args:?}").contains("hunter2"));
    }

    #[test]
    fn sasl_without_credentials_is_refused_and_each_missing_flag_is_named() {
        let error = parse("--kafka-bootstrap-servers b:1 --kafka-security-protocol SASL_SSL")
            .unwrap_err()
            .to_string();
        for flag in [
            "--kafka-sasl-mechanism",
            "--kafka-sasl-username",
            "--kafka-sasl-password",
        ] {
            assert!(error.contains(flag), "{flag} in {error}");
        }
    }

    #[test]
    fn a_server_without_a_port_is_refused() {
        for bad in ["broker", "broker:", ":9092", "broker:port", "a:1,b"] {
            let error = parse(&format!("--kafka-bootstrap-servers {bad}"));
            assert!(error.is_err(), "{bad}");
        }
    }

    #[test]
    fn without_sasl_nothing_but_the_servers_is_needed() {
        let config = parse("--kafka-bootstrap-servers a:1,b:2")
            .unwrap()
            .client("x")
            .unwrap();
        assert_eq!(config.get("sasl.mechanism"), None);
        assert_eq!(config.get("security.protocol"), Some("PLAINTEXT"));
    }

    #[test]
    fn the_name_of_a_protocol_may_be_lower_case_and_files_need_tls() {
        let args = parse("--kafka-bootstrap-servers a:1 --kafka-security-protocol ssl").unwrap();
        let config = args.client("x").unwrap();
        assert_eq!(config.get("security.protocol"), Some("SSL"));
        assert_eq!(config.get("ssl.endpoint.identification.algorithm"), Some("https"));
        let mut plain = parse("--kafka-bootstrap-servers a:1").unwrap();
        plain.tls = tls::ClientFiles {
            ca: Some("/ca.pem".into()),
            identity: None,
        }
        .into();
        let error = plain.client("x").unwrap_err().to_string();
        assert!(error.contains("KAFKA_SECURITY_PROTOCOL"), "{error}");
    }
}
