//! Every arrow of `architecture.toml` is seen, and no other.

use std::collections::{BTreeMap, BTreeSet};
use std::net::TcpListener;
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use actix_web::{App, HttpResponse, HttpServer, web};
use opentelemetry_proto::tonic::collector::trace::v1::ExportTraceServiceRequest;
use opentelemetry_proto::tonic::trace::v1::span::SpanKind;
use prost::Message as _;
use testkit::eventually;

use crate::shop::Shop;
use crate::sockets::Sampler;
use crate::whole::{self, WholeStack};

type Edge = (String, String);

/// One exported span, as far as arrows go.
#[derive(Debug, Clone)]
struct Span {
    service: String,
    trace: Vec<u8>,
    id: Vec<u8>,
    parent: Vec<u8>,
    kind: SpanKind,
    peer: Option<String>,
    name: String,
    /// Names of its attributes.
    attributes: BTreeSet<String>,
}

/// An OTLP endpoint that keeps what it is sent.
struct Receiver {
    address: String,
    spans: Arc<Mutex<Vec<Span>>>,
    server: actix_web::dev::ServerHandle,
}

impl Receiver {
    fn start() -> Receiver {
        let spans = Arc::new(Mutex::new(Vec::new()));
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = format!("http://{}", listener.local_addr().unwrap());
        let kept = spans.clone();
        let app = move || {
            let kept = kept.clone();
            App::new().app_data(web::PayloadConfig::new(16 << 20)).route(
                "/v1/traces",
                web::post().to(move |body: web::Bytes| {
                    let kept = kept.clone();
                    async move {
                        let request = ExportTraceServiceRequest::decode(body).unwrap();
                        kept.lock().unwrap().extend(read(request));
                        HttpResponse::Ok().content_type("application/x-protobuf").finish()
                    }
                }),
            )
        };
        let server = HttpServer::new(app)
            .workers(1)
            .disable_signals()
            .listen(listener)
            .unwrap()
            .run();
        let handle = server.handle();
        tokio::spawn(server);
        Receiver {
            address,
            spans,
            server: handle,
        }
    }

    fn spans(&self) -> Vec<Span> {
        self.spans.lock().unwrap().clone()
    }
}

fn read(request: ExportTraceServiceRequest) -> Vec<Span> {
    let mut spans = Vec::new();
    for resource in request.resource_spans {
        let attributes = resource
            .resource
            .map(|resource| resource.attributes)
            .unwrap_or_default();
        let service = text(&attributes, "service.name").unwrap();
        for span in resource.scope_spans.into_iter().flat_map(|scope| scope.spans) {
            spans.push(Span {
                service: service.clone(),
                kind: span.kind(),
                peer: text(&span.attributes, "peer.service"),
                name: span.name,
                attributes: span.attributes.into_iter().map(|each| each.key).collect(),
                trace: span.trace_id,
                id: span.span_id,
                parent: span.parent_span_id,
            });
        }
    }
    spans
}

fn text(attributes: &[opentelemetry_proto::tonic::common::v1::KeyValue], key: &str) -> Option<String> {
    use opentelemetry_proto::tonic::common::v1::any_value::Value;
    let value = attributes
        .iter()
        .find(|attribute| attribute.key == key)?
        .value
        .clone()?
        .value?;
    match value {
        Value::StringValue(text) => Some(text),
        _ => None,
    }
}

/// The arrows that `architecture.toml` allows, `(process, box)`.
fn allowed(whole: &WholeStack) -> BTreeSet<Edge> {
    let architecture = stack::Architecture::read(&whole.root()).unwrap();
    let mut edges = BTreeSet::new();
    for (name, process) in &architecture.processes {
        let mut add = |target: &str| edges.insert((name.clone(), target.to_owned()));
        for callee in &process.calls {
            add(callee);
        }
        if process.database.is_some() {
            add("postgresql");
        }
        if process.redis.is_some() {
            add("redis");
        }
        if process.uses_kafka() {
            add("kafka");
        }
        if process.smtp {
            add("smtp");
        }
    }
    edges
}

/// Arrows as the spans show them; a call between processes counts only when the callee's server
/// span is its child.
fn traced(spans: &[Span]) -> BTreeSet<Edge> {
    let servers: BTreeMap<&[u8], &str> = spans
        .iter()
        .filter(|span| span.kind == SpanKind::Server)
        .map(|span| (span.parent.as_slice(), span.service.as_str()))
        .collect();
    let outward = [SpanKind::Client, SpanKind::Producer, SpanKind::Consumer];
    let outward = spans.iter().filter(|span| outward.contains(&span.kind));
    let mut edges = BTreeSet::new();
    for span in outward {
        let peer = span
            .peer
            .clone()
            .unwrap_or_else(|| panic!("a span without peer.service: {span:?}"));
        let is_process = peer == "app-service";
        if !is_process || servers.get(span.id.as_slice()) == Some(&peer.as_str()) {
            edges.insert((span.service.clone(), peer));
        }
    }
    edges
}

/// The attributes of the semantic conventions that `span` has to have and has not.
fn missing(span: &Span) -> Vec<&'static str> {
    let required: &[&'static str] = match (span.kind, span.peer.as_deref()) {
        (SpanKind::Server, _) => &[
            "http.request.method",
            "http.route",
            "http.response.status_code",
            "url.scheme",
        ],
        (SpanKind::Client, Some("app-service")) => &[
            "http.request.method",
            "http.response.status_code",
            "server.address",
            "server.port",
        ],
        (SpanKind::Client, Some("postgresql" | "redis")) => &["db.system.name", "db.operation.name"],
        (SpanKind::Client, Some("smtp")) => &["server.address", "server.port"],
        (SpanKind::Producer, _) => &[
            "messaging.system",
            "messaging.operation.name",
            "messaging.operation.type",
            "messaging.destination.name",
        ],
        (SpanKind::Consumer, _) => &[
            "messaging.system",
            "messaging.operation.name",
            "messaging.operation.type",
            "messaging.destination.name",
            "messaging.destination.partition.id",
            "messaging.consumer.group.name",
        ],
        _ => &[],
    };
    let has = |name: &&'static str| span.attributes.contains(*name);
    required.iter().copied().filter(|name| !has(name)).collect()
}

/// A trace that begins at the gateway and is seen in app-service and every consumer.
fn one_trace_reaches_every_process(spans: &[Span]) -> bool {
    let mut services: BTreeMap<&[u8], BTreeSet<&str>> = BTreeMap::new();
    for span in spans {
        services.entry(&span.trace).or_default().insert(&span.service);
    }
    services.values().any(|services| services.len() == 5)
}

async fn shop_for_a_while(shop: &Shop<'_>, round: usize) {
    let product = shop.product(&format!("ARROW-{round}"), 500, 100).await;
    let customer = shop.customer(&format!("arrow-{round}")).await;
    for _ in 0..5 {
        let order = shop.order(&customer, &[(&product, 1)]).await;
        shop.pay(&order).await;
        shop.get(&format!("/v1/products/{product}"), &customer).await;
    }
    shop.analytics("revenue").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn every_arrow_is_seen_and_no_other() {
    let receiver = Receiver::start();
    let env = [
        ("OTEL_EXPORTER_OTLP_ENDPOINT", receiver.address.as_str()),
        ("OTEL_BSP_SCHEDULE_DELAY", "200"),
    ];
    let env = env
        .map(|(name, value)| (name.to_owned(), value.to_owned()))
        .to_vec();
    let whole = whole::start("arrows", env).await;
    let shop = Shop::open(&whole);
    let expected = allowed(&whole);

    let mut names = whole.names_by_port();
    names.insert(
        receiver.address.rsplit(':').next().unwrap().parse().unwrap(),
        "otlp".into(),
    );
    // All the time, because a mail's connection lives for milliseconds.
    let sampler = Sampler::start(whole.stack.status().await.unwrap(), names);
    let started = Instant::now();
    for round in 0.. {
        shop_for_a_while(&shop, round).await;
        let seen = expected.is_subset(&sampler.seen()) && expected.is_subset(&traced(&receiver.spans()));
        if seen || started.elapsed() > Duration::from_secs(60) {
            break;
        }
    }
    let traced = eventually(
        "a trace from the gateway into each consumer, and every arrow",
        async || {
            let spans = receiver.spans();
            Some(traced(&spans))
                .filter(|traced| *traced == expected && one_trace_reaches_every_process(&spans))
        },
    );
    let traced = traced.await;
    assert_eq!(traced, expected);
    for span in receiver.spans() {
        assert_eq!(missing(&span), [""; 0], "{span:?}");
    }
    let entered = receiver.spans().into_iter();
    let entered: BTreeSet<(String, String)> = entered
        .filter(|span| span.kind == SpanKind::Server)
        .map(|span| (span.service, span.name))
        .collect();
    for service in ["gateway", "app-service"] {
        let name = "GET /v1/products/{id}";
        assert!(
            entered.contains(&(service.to_owned(), name.to_owned())),
            "{entered:?}"
        );
    }
    let mut connected = sampler.stop();
    connected.retain(|(_, target)| target != "otlp");
    assert_eq!(
        connected, expected,
        "the TCP endpoints of the processes are their arrows"
    );
    whole.down().await;
    receiver.server.stop(false).await;
}

#[test]
fn an_arrow_that_is_not_drawn_would_be_noticed() {
    let span = |service: &str, kind, peer: &str, id: u8, parent: u8| Span {
        service: service.into(),
        trace: vec![1],
        id: vec![id],
        parent: vec![parent],
        kind,
        peer: (!peer.is_empty()).then(|| peer.to_owned()),
        name: String::new(),
        attributes: BTreeSet::new(),
    };
    let edge = |from: &str, to: &str| (from.to_owned(), to.to_owned());
    let call = [
        span("gateway", SpanKind::Client, "app-service", 1, 0),
        span("app-service", SpanKind::Server, "", 2, 1),
        span("email-consumer", SpanKind::Client, "app-service", 3, 0),
        span("audit-consumer", SpanKind::Client, "redis", 4, 0),
    ];
    let seen = traced(&call);
    assert!(seen.contains(&edge("gateway", "app-service")));
    assert!(seen.contains(&edge("audit-consumer", "redis")));
    assert!(
        !seen.contains(&edge("email-consumer", "app-service")),
        "nobody answered this call"
    );
    assert!(!one_trace_reaches_every_process(&call));
    assert!(missing(&call[0]).contains(&"server.port"));
}
