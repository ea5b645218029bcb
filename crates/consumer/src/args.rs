use std::time::Duration;

use settings::duration;

/// How a consumer joins its group.
#[derive(Clone, Debug, clap::Args)]
#[command(next_help_heading = "Kafka")]
pub struct ConsumerArgs {
    #[command(flatten)]
    pub kafka: kafka::KafkaArgs,

    /// Consumer group; replicas of one process share it and with it the partitions.
    #[arg(long = "kafka-group-id", env = "KAFKA_GROUP_ID", value_name = "NAME")]
    pub group_id: String,

    /// How long the group waits for a silent member before its partitions go to the others (6s to 30m, as brokers allow by default).
    #[arg(long = "kafka-session-timeout", env = "KAFKA_SESSION_TIMEOUT", value_name = "DURATION", default_value = "45s", value_parser = duration(Duration::from_secs(6)..=Duration::from_secs(1800)))]
    pub session_timeout: Duration,
}

impl ConsumerArgs {
    /// With the password and certificates as their files are now.
    pub(crate) fn config(&self) -> Result<rdkafka::ClientConfig, kafka::Unusable> {
        let mut config = self.kafka.client(&self.group_id)?;
        config
            .set("group.id", &self.group_id)
            .set("session.timeout.ms", millis(self.session_timeout))
            // Default 3 s, which must stay well below the session timeout: three heartbeats may be lost.
            .set("heartbeat.interval.ms", millis(self.session_timeout / 4))
            // Default range,roundrobin: those take every partition from every member at each change of the group.
            .set("partition.assignment.strategy", "cooperative-sticky")
            // Default true. Offsets in Kafka follow the database; a timer that commits what was merely fetched would lie to lag tools.
            .set("enable.auto.commit", "false")
            .set("enable.auto.offset.store", "false")
            // Default largest, which skips silently. The position is in the database: one outside of the log means that either the log
            // or the database is not the one it was, and somebody has to decide.
            .set("auto.offset.reset", "error")
            // Default 64 MiB and 100,000 records of prefetch: the bounded queues behind this one decide how much is held.
            .set("queued.max.messages.kbytes", "16384")
            .set("queued.min.messages", "1000")
            // Default 5 min: how long a topic or partition that was made after the start would wait for its consumer.
            .set("topic.metadata.refresh.interval.ms", "30000")
            // Off by default. The high watermarks in it are where consumer_lag comes from.
            .set("statistics.interval.ms", "5000");
        Ok(config)
    }
}

fn millis(duration: Duration) -> String {
    duration.as_millis().to_string()
}

#[cfg(test)]
mod tests {
    use clap::Parser;

    use super::*;

    #[derive(Debug, Parser)]
    struct Command {
        #[command(flatten)]
        consumer: ConsumerArgs,
    }

    fn parse(timeout: &str) -> Result<ConsumerArgs, clap::Error> {
        Command::try_parse_from([
            "test",
            "--kafka-bootstrap-servers",
            "127.0.0.1:9092",
            "--kafka-group-id",
            "some-consumer",
            "--kafka-session-timeout",
            timeout,
        ])
        .map(|command| command.consumer)
    }

    #[test]
    fn librdkafka_accepts_every_setting() {
        let config = parse("6s").unwrap().config().unwrap();
        assert_eq!(config.get("session.timeout.ms"), Some("6000"));
        assert_eq!(config.get("heartbeat.interval.ms"), Some("1500"));
        config.create_native_config().expect("known settings");
    }

    #[test]
    fn a_session_timeout_that_brokers_refuse_is_refused_at_the_start() {
        for bad in ["5s", "31m", "6"] {
            assert!(parse(bad).is_err(), "{bad}");
        }
    }
}
