//! Whether a secret has changed since the client was made.

use rdkafka::ClientConfig;
use rdkafka::consumer::BaseConsumer;

use crate::args::ConsumerArgs;

/// What a client was made with, against what the files say by now.
pub(crate) struct Rotation<'a> {
    args: &'a ConsumerArgs,
    used: ClientConfig,
    /// What no client could be made with.
    refused: Option<ClientConfig>,
}

impl Rotation<'_> {
    pub(crate) fn since<'a>(args: &'a ConsumerArgs, config: &ClientConfig) -> Rotation<'a> {
        Rotation {
            args,
            used: config.clone(),
            refused: None,
        }
    }

    /// Reads the files. A change that no client can be made with is logged once, and the old client stays: its connections are good.
    pub(crate) fn is_due(&mut self) -> bool {
        let config = match self.args.config() {
            Ok(config) => config,
            Err(error) => {
                // A file that is being replaced may be gone for a moment.
                tracing::debug!(%error, "cannot read Kafka's secrets now");
                return false;
            }
        };
        let known = |other| kafka::same_secrets(&config, other);
        if known(&self.used) || self.refused.as_ref().is_some_and(known) {
            return false;
        }
        match config.create::<BaseConsumer>() {
            Ok(_) => true,
            Err(error) => {
                tracing::error!(%error, error.type = "credentials", "a password or certificate for Kafka was rotated, but cannot be used; the old one stays");
                self.refused = Some(config);
                false
            }
        }
    }
}
