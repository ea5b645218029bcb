//! One way to reach Kafka: clap arguments in, an `rdkafka::ClientConfig` out.
//!
//! What every client of this system needs (addresses, identity, connection behaviour) is set here; what only a consumer or only the
//! relay's producer needs is set where that client is made.

use std::fmt;

use rdkafka::ClientConfig;

/// How to reach and authenticate to the brokers.
///
/// `Debug` shows everything but the password.
#[derive(Clone, clap::Args)]
#[command(next_help_heading = "Kafka")]
pub struct KafkaArgs {
    /// Brokers to bootstrap from, `host:port`, separated by commas.
    #[arg(long = "kafka-bootstrap-servers", env = "KAFKA_BOOTSTRAP_SERVERS", value_name = "HOST:PORT,…", value_parser = parse_servers)]
    pub bootstrap_servers: String,

    /// Transport and authentication of the broker's listener.
    #[arg(
        long = "kafka-security-protocol",
        env = "KAFKA_SECURITY_PROTOCOL",
        default_value = "PLAINTEXT",
        value_parser = ["PLAINTEXT", "SSL", "SASL_PLAINTEXT", "SASL_SSL"]
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

    /// SASL password; needed with SASL_PLAINTEXT and SASL_SSL.
    #[arg(long = "kafka-sasl-password", env = "KAFKA_SASL_PASSWORD", hide_env_values = true, required_if_eq_any = WITH_SASL)]
    pub sasl_password: Option<String>,
}

const WITH_SASL: [(&str, &str); 2] = [
    ("security_protocol", "SASL_PLAINTEXT"),
    ("security_protocol", "SASL_SSL"),
];

impl KafkaArgs {
    /// The configuration that every client shares. `client_id` is the process's name: brokers show it in their logs and quotas.
    pub fn client(&self, client_id: &str) -> ClientConfig {
        let mut config = ClientConfig::new();
        config
            .set("bootstrap.servers", &self.bootstrap_servers)
            .set("security.protocol", &self.security_protocol)
            .set("client.id", client_id)
            // Off by default. Without it a connection that a firewall or a dead broker dropped silently is noticed only by a request's
            // own timeout.
            .set("socket.keepalive.enable", "true")
            // Default 0.1 s to 10 s. A broker that restarts is back within seconds, and a consumer that waits 10 s more than it has
            // to shows as lag.
            .set("reconnect.backoff.max.ms", "2000")
            // Default true: at debug level only noise, because an idle connection that the broker closes is normal.
            .set("log.connection.close", "false");
        let sasl = [
            ("sasl.mechanism", &self.sasl_mechanism),
            ("sasl.username", &self.sasl_username),
            ("sasl.password", &self.sasl_password),
        ];
        for (setting, value) in sasl {
            if let Some(value) = value {
                config.set(setting, value);
            }
        }
        config
    }
}

impl fmt::Debug for KafkaArgs {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.debug_struct("KafkaArgs")
            .field("bootstrap_servers", &self.bootstrap_servers)
            .field("security_protocol", &self.security_protocol)
            .field("sasl_mechanism", &self.sasl_mechanism)
            .field("sasl_username", &self.sasl_username)
            .field("sasl_password", &self.sasl_password.as_ref().map(|_| "***"))
            .finish()
    }
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
        let config = parse(SASL).unwrap().client("email-consumer");
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
        let config = parse("--kafka-bootstrap-servers a:1,b:2").unwrap().client("x");
        assert_eq!(config.get("sasl.mechanism"), None);
        assert_eq!(config.get("security.protocol"), Some("PLAINTEXT"));
    }
}
