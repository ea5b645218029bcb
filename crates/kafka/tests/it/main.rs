//! A broker of the test's own, with TLS and certificates made for the run.

#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

use std::sync::{Arc, Mutex};
use std::time::Duration;

use kafka::KafkaArgs;
use rdkafka::ClientContext;
use rdkafka::config::RDKafkaLogLevel;
use rdkafka::consumer::{BaseConsumer, Consumer as _, ConsumerContext};
use rdkafka::error::KafkaError;
use testkit::{Authority, Broker, Listener, eventually};
use tls::ClientFiles;

/// What librdkafka says of itself.
#[derive(Clone, Default)]
struct Said(Arc<Mutex<String>>);

impl ClientContext for Said {
    fn log(&self, _: RDKafkaLogLevel, _: &str, message: &str) {
        self.0.lock().unwrap().push_str(message);
    }

    fn error(&self, _: KafkaError, reason: &str) {
        self.0.lock().unwrap().push_str(reason);
    }
}

impl ConsumerContext for Said {}

/// Whether a client gets the cluster's metadata, or what it says of why not.
async fn reach(args: KafkaArgs, reason: Option<&str>) {
    let said = Said::default();
    let client: BaseConsumer<Said> = args
        .client("test")
        .unwrap()
        .create_with_context(said.clone())
        .unwrap();
    eventually(&format!("{args:?} ends with {reason:?}"), async || {
        // Serves the callbacks.
        let _ = client.poll(Duration::ZERO);
        let reached = client.fetch_metadata(None, Duration::from_millis(500)).is_ok();
        match reason {
            None => reached.then_some(()),
            Some(reason) => {
                assert!(!reached, "{args:?} was accepted");
                said.0.lock().unwrap().contains(reason).then_some(())
            }
        }
    })
    .await;
    std::thread::spawn(move || drop(client));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_broker_is_known_by_its_ca_its_name_and_its_time_and_may_ask_the_same() {
    let (ours, other) = (Authority::new("ours"), Authority::new("other"));
    let broker = Broker::start(&ours).await;
    let trusting = |authority: &Authority| ClientFiles {
        ca: Some(authority.ca()),
        identity: None,
    };
    let own = ours.client("app-service");
    let with_own = ClientFiles {
        identity: Some((own.certificate, own.key)),
        ..trusting(&ours)
    };
    let foreign = other.client("app-service");
    let with_foreign = ClientFiles {
        identity: Some((foreign.certificate, foreign.key)),
        ..trusting(&ours)
    };
    let refused = Some("certificate verify failed");
    tokio::join!(
        reach(broker.args(Listener::Good, trusting(&ours)), None),
        reach(broker.args(Listener::Login, trusting(&ours)), None),
        reach(broker.args(Listener::Good, trusting(&other)), refused),
        reach(broker.args(Listener::Good, ClientFiles::default()), refused),
        reach(broker.args(Listener::Misnamed, trusting(&ours)), refused),
        reach(broker.args(Listener::Expired, trusting(&ours)), refused),
        reach(broker.args(Listener::Mutual, with_own), None),
        reach(
            broker.args(Listener::Mutual, trusting(&ours)),
            Some("certificate")
        ),
        reach(broker.args(Listener::Mutual, with_foreign), Some("SSL")),
    );
}

#[test]
fn rotated_secrets_make_another_configuration() {
    let (ours, other) = (Authority::new("ours"), Authority::new("other"));
    let (ca, password) = (ours.dir().join("trusted.pem"), ours.dir().join("password"));
    std::fs::copy(ours.ca(), &ca).unwrap();
    std::fs::write(&password, "one\n").unwrap();
    let args = KafkaArgs {
        bootstrap_servers: "localhost:1".to_owned(),
        security_protocol: "SASL_SSL".to_owned(),
        sasl_mechanism: Some("PLAIN".to_owned()),
        sasl_username: Some("app".to_owned()),
        sasl_password: Some(settings::Secret::in_file(&password)),
        tls: ClientFiles {
            ca: Some(ca.clone()),
            identity: None,
        }
        .into(),
    };
    let before = args.client("test").unwrap();
    assert!(kafka::same_secrets(&before, &args.client("test").unwrap()));
    std::fs::write(&password, "two").unwrap();
    let after = args.client("test").unwrap();
    assert_eq!(after.get("sasl.password"), Some("two"));
    assert!(!kafka::same_secrets(&before, &after));
    std::fs::copy(other.ca(), &ca).unwrap();
    assert!(!kafka::same_secrets(&after, &args.client("test").unwrap()));
}
