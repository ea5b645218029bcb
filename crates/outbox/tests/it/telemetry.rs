//! What an operator can see of a tail.

use std::sync::atomic::Ordering;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use metrics_exporter_prometheus::PrometheusBuilder;
use opentelemetry::trace::TracerProvider as _;
use opentelemetry_sdk::error::OTelSdkResult;
use opentelemetry_sdk::trace::{SdkTracerProvider, SpanData, SpanExporter};
use outbox::{Attribution, Check, append_in_txn};
use tracing_subscriber::layer::SubscriberExt as _;
use uuid::Uuid;

use crate::fixture::{Fixture, execute, next_version_in_txn};
use crate::operator::{Bumped, Log};
use crate::pace::Refusing;
use crate::publishing::deliver_once;
use crate::reader::commit_one;
use crate::sinks::{Recorder, relay, topic};

#[derive(Debug, Clone, Default)]
struct Kept(Arc<Mutex<Vec<SpanData>>>);

impl SpanExporter for Kept {
    async fn export(&self, batch: Vec<SpanData>) -> OTelSdkResult {
        self.0.lock().unwrap().extend(batch);
        Ok(())
    }
}

#[tokio::test]
async fn publishing_continues_the_trace_of_a_sampled_request() {
    const TRACE: &str = "4bf92f3577b34da6a3ce929d0e0e4736";
    const PARENT: &str = "00f067aa0ba902b7";
    let kept = Kept::default();
    let provider = SdkTracerProvider::builder()
        .with_simple_exporter(kept.clone())
        .build();
    let layer = tracing_opentelemetry::layer().with_tracer(provider.tracer("test"));
    let _guard = tracing::subscriber::set_default(tracing_subscriber::registry().with(layer));
    let topic = topic().await;
    let fixture = Fixture::publishing_to(topic).await;
    let mut conn = fixture.connect().await;
    for flags in ["01", "00"] {
        let aggregate = Uuid::now_v7();
        let version = next_version_in_txn(&mut conn, aggregate).await;
        let traceparent = format!("00-{TRACE}-{PARENT}-{flags}");
        let by = Attribution {
            actor: "system:test",
            traceparent: Some(&traceparent),
        };
        append_in_txn(&conn, &by, &[fixture.fact(aggregate, version)])
            .await
            .unwrap();
    }
    deliver_once(&fixture, relay(topic)).await.unwrap();
    let spans = kept.0.lock().unwrap();
    let sent: Vec<_> = spans
        .iter()
        .filter(|span| span.name == format!("send {topic}"))
        .collect();
    assert_eq!(sent.len(), 1, "one of the two requests was sampled");
    assert_eq!(sent[0].span_context.trace_id().to_string(), TRACE);
    assert_eq!(sent[0].parent_span_id.to_string(), PARENT);
}

#[tokio::test]
async fn a_failing_sink_is_counted_by_class_and_its_backlog_shows() {
    let recorder = PrometheusBuilder::new().build_recorder();
    let metrics = recorder.handle();
    let _guard = metrics::set_default_local_recorder(&recorder);
    let fixture = Fixture::new().await;
    for _ in 0..3 {
        commit_one(&fixture, Uuid::now_v7()).await;
    }
    let sink = Refusing::default();
    sink.until.store(usize::MAX, Ordering::Relaxed);
    let tail = fixture.tail(sink.clone());
    let is = |line: &str| metrics.render().lines().any(|known| known == line);
    let says = async |lines: &[&str]| {
        for line in lines {
            testkit::eventually(line, async || is(line).then_some(())).await;
        }
    };
    says(&[
        "outbox_lease_owner{sink=\"cache\"} 1",
        "outbox_lease_changes_total{sink=\"cache\"} 1",
        "outbox_pending{sink=\"cache\"} 3",
    ])
    .await;
    sink.until.store(0, Ordering::Relaxed);
    says(&[
        "outbox_pending{sink=\"cache\"} 0",
        "outbox_page_rows_count{sink=\"cache\"} 1",
        "outbox_delivery_seconds_count{sink=\"cache\"} 3",
    ])
    .await;
    tail.stop().await;
    let failed = sink.attempts.lock().unwrap().len() - 1;
    let counted = format!("outbox_publish_errors_total{{sink=\"cache\",error_type=\"full\"}} {failed}");
    assert!(is(&counted), "{counted} in {}", metrics.render());
    assert!(is("outbox_lease_owner{sink=\"cache\"} 0"));
    assert!(is("outbox_lease_changes_total{sink=\"cache\"} 2"));
}

/// The tail that stopped cannot be relied on to be looked at: its backlog grows, and shows.
#[tokio::test]
async fn a_tail_that_was_stopped_tells_its_backlog() {
    let recorder = PrometheusBuilder::new().build_recorder();
    let metrics = recorder.handle();
    let _guard = metrics::set_default_local_recorder(&recorder);
    let fixture = Fixture::new().await;
    let mut owner = fixture.owner().await;
    execute(&mut owner, "UPDATE outbox_generation SET timeline = -1").await;
    for _ in 0..3 {
        commit_one(&fixture, Uuid::now_v7()).await;
    }
    execute(
        &mut owner,
        "UPDATE outbox SET occurred_at = clock_timestamp() - interval '100 s'",
    )
    .await;
    let tail = fixture.tail(Recorder::default());
    for start in [
        "outbox_halted{sink=\"cache\"} 1",
        "outbox_pending{sink=\"cache\"} 3",
        "outbox_oldest_age_seconds{sink=\"cache\"} 1",
    ] {
        testkit::eventually(start, async || metrics.render().contains(start).then_some(())).await;
    }
    tail.stop().await;
}

#[tokio::test]
async fn a_version_that_was_committed_without_its_fact_is_told_while_nobody_asks() {
    let (log, _guard) = Log::keep();
    let recorder = PrometheusBuilder::new().build_recorder();
    let metrics = recorder.handle();
    let _recording = metrics::set_default_local_recorder(&recorder);
    let fixture = Fixture::new().await;
    let silent = Uuid::now_v7();
    let mut owner = fixture.owner().await;
    execute(
        &mut owner,
        &format!("INSERT INTO aggregate VALUES ('{silent}', 1)"),
    )
    .await;
    let check = || Check::<Bumped>::new((&fixture.database.runtime_url()).into(), "outbox-test");
    let first = tokio::spawn(check().run(std::future::pending()));
    log.says("a version was committed without its fact").await;
    testkit::eventually("it is counted", async || {
        metrics
            .render()
            .contains("outbox_unstated_versions 1")
            .then_some(())
    })
    .await;
    first.abort();
    let _ = first.await;

    // While another replica is at it, this one has nothing to say: its number would be added to the other's.
    execute(
        &mut owner,
        "SELECT pg_advisory_lock(hashtextextended('outbox check', 0))",
    )
    .await;
    let second = tokio::spawn(check().run(std::future::pending()));
    testkit::eventually("it stands back", async || {
        metrics
            .render()
            .contains("outbox_unstated_versions 0")
            .then_some(())
    })
    .await;
    second.abort();
    let _ = tokio::time::timeout(Duration::from_secs(30), second).await;
}
