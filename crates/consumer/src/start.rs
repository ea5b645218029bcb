//! The start of a consumer waits for Kafka, so that "cannot reach the brokers" is an exit code and not a silence.

use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use anyhow::{Context as _, anyhow};
use rdkafka::ClientContext;
use rdkafka::config::RDKafkaLogLevel;
use rdkafka::consumer::{BaseConsumer, Consumer as _, ConsumerContext};
use rdkafka::error::KafkaError;
use tokio::sync::oneshot;

use crate::args::ConsumerArgs;

/// For one answer.
const ASK_LIMIT: Duration = Duration::from_secs(2);
const PAUSE: Duration = Duration::from_millis(500);
/// For what librdkafka has to say about a refusal.
const CALLBACKS_LIMIT: Duration = Duration::from_millis(200);

/// Waits until a broker has answered, for at most about `limit`; says in the log that it waits.
///
/// # Errors
/// With the last refusal, when the time is over; at once when the settings make no client.
pub async fn wait_until_up(args: &ConsumerArgs, limit: Duration) -> anyhow::Result<()> {
    let config = args.config()?;
    let (answer, answered) = oneshot::channel();
    let ask = move || {
        // Dropping a client blocks, too.
        let asked = config
            .create_with_context(Asker::default())
            .context("cannot make a Kafka client")
            .and_then(|client| until_answered(&client, limit));
        // Nobody listens any more when the process was stopped meanwhile.
        let _ = answer.send(asked);
    };
    std::thread::Builder::new()
        .name("kafka-start".to_owned())
        .spawn(ask)
        .context("cannot start a thread")?;
    answered
        .await
        .unwrap_or_else(|_| Err(anyhow!("the thread that waits for Kafka panicked")))
}

fn until_answered(client: &BaseConsumer<Asker>, limit: Duration) -> anyhow::Result<()> {
    let started = Instant::now();
    loop {
        let left = limit.saturating_sub(started.elapsed()).max(PAUSE);
        let Err(refusal) = client.fetch_metadata(None, ASK_LIMIT.min(left)) else {
            return Ok(());
        };
        serve_callbacks(client);
        let reason = client.context().reason().unwrap_or_else(|| refusal.to_string());
        tracing::warn!(
            waited_seconds = started.elapsed().as_secs(),
            limit_seconds = limit.as_secs(),
            reason,
            error.type = "unavailable",
            "waiting for Kafka",
        );
        if started.elapsed() + PAUSE > limit {
            return Err(anyhow!("Kafka is still unreachable after {limit:?}: {reason}"));
        }
        std::thread::sleep(PAUSE);
    }
}

/// The refusal itself says only that nothing came; the callbacks know why, and each poll serves one.
fn serve_callbacks(client: &BaseConsumer<Asker>) {
    let started = Instant::now();
    while started.elapsed() < CALLBACKS_LIMIT {
        let _ = client.poll(CALLBACKS_LIMIT / 10);
    }
}

/// Keeps what librdkafka said last.
#[derive(Clone, Default)]
struct Asker(Arc<Mutex<Option<String>>>);

impl Asker {
    fn reason(&self) -> Option<String> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }
}

impl ConsumerContext for Asker {}

impl ClientContext for Asker {
    /// The lines say what `error` says.
    fn log(&self, _level: RDKafkaLogLevel, _facility: &str, _message: &str) {}

    fn error(&self, error: KafkaError, reason: &str) {
        // "All brokers are down" follows the reason for it.
        if error.rdkafka_error_code() != Some(rdkafka::types::RDKafkaErrorCode::AllBrokersDown) {
            *self.0.lock().unwrap_or_else(PoisonError::into_inner) = Some(reason.to_owned());
        }
    }
}

#[cfg(test)]
mod tests {
    use clap::Parser as _;

    use super::*;

    #[derive(clap::Parser)]
    struct Command {
        #[command(flatten)]
        consumer: ConsumerArgs,
    }

    #[tokio::test]
    async fn brokers_that_are_not_there_are_given_up_with_the_reason() {
        // A port that was free a moment ago.
        let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
        let address = listener.local_addr().unwrap().to_string();
        drop(listener);
        let args = [
            "test",
            "--kafka-bootstrap-servers",
            &address,
            "--kafka-group-id",
            "g",
        ];
        let args = Command::try_parse_from(args).unwrap().consumer;
        let error = wait_until_up(&args, Duration::from_secs(1))
            .await
            .unwrap_err()
            .to_string();
        assert!(error.contains("still unreachable after 1s"), "{error}");
        assert!(error.contains("Connection refused"), "{error}");
    }
}
