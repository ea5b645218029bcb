//! What the five processes tell about a run: metrics with the names that dashboards and alerts use, labels that stay few, and log lines
//! without personal data.

mod exposition;

use std::collections::BTreeSet;

use reqwest::{Method, StatusCode};
use serde_json::{Value, json};
use testkit::eventually;

use crate::shop::{CUSTOMER, Shop};
use crate::telemetry::exposition::{Exposition, Series};
use crate::whole::{self, WholeStack};

const HTTP: (&str, &str) = ("http_server_request_duration_seconds", "histogram");

/// In every process.
const ALL: [(&str, &str); 5] = [
    ("build_info", "gauge"),
    ("process_cpu_seconds_total", "counter"),
    ("process_resident_memory_bytes", "gauge"),
    ("process_start_time_seconds", "gauge"),
    ("process_open_fds", "gauge"),
];

/// In every process with a database.
const DATABASE: [(&str, &str); 4] = [
    ("db_client_operation_duration_seconds", "histogram"),
    ("db_client_connection_count", "gauge"),
    ("db_client_connection_max", "gauge"),
    ("db_client_connection_pending_requests", "gauge"),
];

/// In every consumer.
const CONSUMER: [(&str, &str); 7] = [
    ("messaging_client_consumed_messages_total", "counter"),
    ("messaging_process_duration_seconds", "histogram"),
    ("consumer_lag", "gauge"),
    ("consumer_oldest_unprocessed_age_seconds", "gauge"),
    ("consumer_duplicates_total", "counter"),
    ("consumer_rebalances_total", "counter"),
    ("dead_letters", "gauge"),
];

const APP_SERVICE: [(&str, &str); 6] = [
    HTTP,
    ("messaging_client_sent_messages_total", "counter"),
    ("outbox_pending", "gauge"),
    ("outbox_oldest_age_seconds", "gauge"),
    ("cache_requests_total", "counter"),
    ("cache_invalidation_lag_seconds", "histogram"),
];

const GATEWAY: [(&str, &str); 2] = [HTTP, ("http_client_request_duration_seconds", "histogram")];

/// The metrics that `process` must export, with their types.
fn expected(process: &str) -> Vec<(&'static str, &'static str)> {
    let own: &[&[(&str, &str)]] = match process {
        "gateway" => &[&GATEWAY],
        "app-service" => &[&APP_SERVICE, &DATABASE],
        "email-consumer" => &[&CONSUMER, &DATABASE],
        _ => &[&[HTTP], &CONSUMER, &DATABASE],
    };
    [&ALL[..]]
        .iter()
        .chain(own)
        .flat_map(|part| part.iter().copied())
        .collect()
}

/// The labels that dashboards and alerts group by; a series of `metric` has exactly one of these sets, besides a histogram's own.
/// Nothing for a metric that no dashboard splits.
fn label_sets(metric: &str) -> &'static [&'static [&'static str]] {
    match metric {
        "http_server_request_duration_seconds" => {
            &[&["http_request_method", "http_response_status_code", "http_route"]]
        }
        "http_client_request_duration_seconds" => &[
            &["http_request_method", "http_response_status_code", "peer_service"],
            &["error_type", "http_request_method", "peer_service"],
        ],
        "db_client_operation_duration_seconds" => &[&["db_operation_name", "db_system_name"]],
        "db_client_connection_count" => &[&["state"]],
        "cache_requests_total" => &[&["namespace", "result"]],
        "cache_invalidation_lag_seconds" => &[&["by"]],
        "messaging_client_consumed_messages_total" | "messaging_process_duration_seconds" => {
            &[&["messaging_destination_name"]]
        }
        "consumer_duplicates_total" => &[&["topic"]],
        "consumer_lag" | "consumer_oldest_unprocessed_age_seconds" => &[&["partition", "topic"]],
        "build_info" => &[&["revision", "service", "version"]],
        _ => &[],
    }
}

/// Whether `labels` are what [`label_sets`] says of `metric`.
fn has_its_labels(metric: &str, labels: &[(String, String)]) -> bool {
    let mut names: Vec<&str> = labels.iter().map(|(name, _)| name.as_str()).collect();
    names.retain(|name| !["le", "quantile"].contains(name));
    names.sort_unstable();
    let sets = label_sets(metric);
    sets.is_empty() || sets.contains(&names.as_slice())
}

/// No process may have more series of one metric than this: what grows with the traffic's content has no bound.
const MOST_SERIES: usize = 1_000;

const CUSTOMER_NAME: &str = "Zelda Quuxworth";
const CUSTOMER_EMAIL: &str = "zelda.quuxworth@example.com";
const UNKNOWN_PATH: &str = "/v1/no-such-thing/0198a5d2-0000-7000-8000-00000000beef";

/// Debug lines as well: they are switched on when something is wrong, and then nobody thinks of names.
const LOGGED: &str = "info,chassis=debug,gateway=debug,app_service=debug,outbox=debug,cache=debug,consumer=debug,database=debug,identity=debug,\
    analytics_consumer=debug,email_consumer=debug,audit_consumer=debug";

#[tokio::test(flavor = "multi_thread")]
async fn metrics_are_the_documented_ones_with_bounded_labels_and_logs_hold_no_personal_data() {
    let whole = whole::start("telemetry", vec![("RUST_LOG".to_owned(), LOGGED.to_owned())]).await;
    let ids = traffic(&whole).await;
    for process in whole.processes() {
        let text = scrape(&whole, &process.name, &process.admin).await;
        check_metrics(&process.name, &text);
        for chosen in ids
            .iter()
            .map(String::as_str)
            .chain(["no-such-thing", "BREW", "Zelda", "zelda"])
        {
            assert!(
                !text.contains(chosen),
                "{}: {chosen} is in its metrics",
                process.name
            );
        }
        let log = std::fs::read_to_string(&process.log).unwrap();
        check_log(&process.name, &log);
    }
    whole.down().await;
}

/// Something of everything, the senseless included. Returns ids that must not become labels.
async fn traffic(whole: &WholeStack) -> Vec<String> {
    let shop = Shop::open(whole);
    let product = shop.product("TELE-1", 1_250, 5).await;
    let token = whole.stack.token("zelda", CUSTOMER, Some(CUSTOMER_EMAIL));
    let customer = json!({"name": CUSTOMER_NAME});
    shop.post("/v1/customers", &token, customer.clone()).await;
    let order = shop.order(&token, &[(&product, 1)]).await;
    shop.pay(&order).await;
    let path = format!("/v1/products/{product}");
    for _ in 0..2 {
        assert_eq!(shop.get(&path, &shop.operator).await.status, StatusCode::OK);
    }

    let gateway = whole.gateway();
    let brew = Method::from_bytes(b"BREW").unwrap();
    for (method, url, body) in [
        (Method::POST, format!("{gateway}/v1/customers"), Some(customer)),
        (
            Method::POST,
            format!("{gateway}/v1/orders"),
            Some(json!({"lines": [{"product_id": product, "quantity": 20}]})),
        ),
        (
            Method::POST,
            format!("{gateway}/v1/customers"),
            Some(json!({"name": CUSTOMER_NAME, "email": CUSTOMER_EMAIL})),
        ),
        (Method::GET, format!("{gateway}{UNKNOWN_PATH}"), None),
        (brew.clone(), format!("{gateway}{path}"), None),
        (
            Method::GET,
            format!("{}{UNKNOWN_PATH}", whole.http_of("app-service")),
            None,
        ),
        (
            brew.clone(),
            format!("{}{path}", whole.http_of("app-service")),
            None,
        ),
        (
            Method::GET,
            format!("{}{UNKNOWN_PATH}", whole.http_of("audit-consumer")),
            None,
        ),
        (
            brew,
            format!("{}/v1/revenue", whole.http_of("analytics-consumer")),
            None,
        ),
    ] {
        let answer = shop.send(method, &url, &token, body).await;
        assert!(!answer.status.is_success(), "{url}: {}", answer.status);
    }
    eventually("the mails", async || {
        let mails = shop.mails().await;
        mails.iter().any(|(to, _)| to == CUSTOMER_EMAIL).then_some(())
    })
    .await;
    vec![product, order]
}

/// The metrics of a process, once all that it must have are there. The lag comes with librdkafka's statistics, after 5 s.
async fn scrape(whole: &WholeStack, process: &str, admin: &str) -> String {
    let scraped = async || {
        let answer = whole.http.get(format!("{admin}/metrics")).send().await.unwrap();
        answer.text().await.unwrap()
    };
    for (name, kind) in expected(process) {
        eventually(&format!("{name} ({kind}) of {process}"), async || {
            scraped()
                .await
                .contains(&format!("# TYPE {name} {kind}\n"))
                .then_some(())
        })
        .await;
    }
    scraped().await
}

fn check_metrics(process: &str, text: &str) {
    let exposition = Exposition::parse(text);
    for (name, _) in expected(process) {
        assert!(exposition.helped.contains(name), "{process}: {name} has no HELP");
    }
    for (name, kind) in &exposition.kinds {
        check_name(name, kind).unwrap_or_else(|reason| panic!("{process}: {name} ({kind}) {reason}"));
        let of_it = exposition.series.iter().filter(|series| series.metric == *name);
        assert!(
            of_it.count() <= MOST_SERIES,
            "{process}: {name} has too many series"
        );
    }
    for Series {
        metric,
        labels,
        value,
    } in &exposition.series
    {
        assert!(
            exposition.kinds.contains_key(metric),
            "{process}: {metric} has no TYPE"
        );
        // An age may be infinite: of what has not happened yet.
        assert!(!value.is_nan(), "{process}: {metric} is no number");
        assert!(
            has_its_labels(metric, labels),
            "{process}: {metric} has the labels {labels:?}"
        );
        for (label, value) in labels {
            assert!(
                is_allowed(label, value),
                "{process}: {metric} has {label}={value:?}"
            );
        }
    }
}

/// Base units in the name, and `_total` on counters alone, as Prometheus asks.
fn check_name(name: &str, kind: &str) -> Result<(), &'static str> {
    if !name
        .bytes()
        .all(|b| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'_')
    {
        return Err("is not lower_case");
    }
    if (kind == "counter") != name.ends_with("_total") {
        return Err("must end in _total exactly if it is a counter");
    }
    if kind == "histogram"
        && !["_seconds", "_bytes", "_records", "_rows"]
            .iter()
            .any(|unit| name.ends_with(unit))
    {
        return Err("does not say its unit");
    }
    if [
        "_ms",
        "_millis",
        "_milliseconds",
        "_minutes",
        "_kb",
        "_mb",
        "_percent",
    ]
    .iter()
    .any(|unit| name.ends_with(unit))
    {
        return Err("is not in a base unit");
    }
    if (name.contains("_age") || name.contains("_duration"))
        && !name.trim_end_matches("_total").ends_with("_seconds")
    {
        return Err("is a time and does not say seconds");
    }
    Ok(())
}

/// A label that is not here is new: add it with what it may hold, if that is a set that no input can enlarge.
fn is_allowed(label: &str, value: &str) -> bool {
    let word = |value: &str| {
        value.len() <= 40
            && value.starts_with(|first: char| first.is_ascii_alphabetic())
            && value
                .bytes()
                .all(|b| b.is_ascii_alphanumeric() || b"-_. ".contains(&b))
    };
    let topics = events::topics::ALL;
    match label {
        "http_request_method" => [
            "GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS", "_OTHER",
        ]
        .contains(&value),
        "http_route" => value == "unmatched" || value.strip_prefix('/').is_some_and(is_template),
        "http_response_status_code" => value
            .parse()
            .is_ok_and(|status: u16| (100..600).contains(&status)),
        "peer_service" => value == "app-service",
        "messaging_destination_name" | "topic" => topics.iter().any(|topic| topic.name == value),
        "partition" => value.parse().is_ok_and(|partition: i32| {
            topics
                .iter()
                .any(|topic| (0..topic.partitions).contains(&partition))
        }),
        "le" | "quantile" => value == "+Inf" || value.parse::<f64>().is_ok(),
        "service" | "state" | "namespace" | "result" | "template" | "reason" | "error_type"
        | "db_system_name" | "db_operation_name" | "sink" | "class" | "job" | "step" | "by" => word(value),
        "version" | "revision" => !value.is_empty(),
        _ => false,
    }
}

/// Segments are words of the API or `{names}`; an id has a digit.
fn is_template(path: &str) -> bool {
    path.split('/').all(|segment| {
        let named = segment.strip_prefix('{').and_then(|rest| rest.strip_suffix('}'));
        let word = named.unwrap_or(segment);
        segment == "v1"
            || word
                .bytes()
                .all(|b| b.is_ascii_lowercase() || b"-_.:*".contains(&b))
    })
}

fn check_log(process: &str, log: &str) {
    let lines: Vec<Value> = log
        .lines()
        .map(|line| serde_json::from_str(line).unwrap_or_else(|_| panic!("{process}: not JSON: {line}")))
        .collect();
    assert!(lines.len() > 3, "{process} hardly says anything");
    for line in &lines {
        for field in [
            "timestamp",
            "level",
            "target",
            "message",
            "service.name",
            "service.version",
        ] {
            assert!(line[field].is_string(), "{process}: no {field} in {line}");
        }
        assert_eq!(line["service.name"], process);
        if line["request_id"].is_string() || line["event_id"].is_string() {
            assert!(
                line["trace_id"].is_string() && line["span_id"].is_string(),
                "{line}"
            );
        }
    }
    let text = log.to_lowercase();
    for personal in ["zelda", "quuxworth", "example.com", "eyj"] {
        let found = text.lines().find(|line| line.contains(personal));
        assert_eq!(found, None, "{process}: {personal} is in its log");
    }
    // What ties the lines of one request, or of one record, together.
    let ties: &[&str] = match process {
        "gateway" | "app-service" => &["request_id"],
        "email-consumer" => &["event_id"],
        _ => &["request_id", "event_id"],
    };
    for tie in ties {
        assert!(
            lines.iter().any(|line| line[tie].is_string()),
            "{process}: no line has {tie}"
        );
    }
    if process == "gateway" {
        let kinds: BTreeSet<&str> = lines
            .iter()
            .filter_map(|line| line["error.type"].as_str())
            .collect();
        assert!(kinds.contains("not-found"), "{kinds:?}");
    }
}

#[test]
fn names_and_labels_that_break_the_rules_are_caught() {
    for (name, kind) in [
        ("requests", "counter"),
        ("queue_total", "gauge"),
        ("latency_ms", "histogram"),
        ("http_duration", "histogram"),
        ("oldest_age", "gauge"),
        ("Requests_total", "counter"),
    ] {
        assert!(check_name(name, kind).is_err(), "{name}");
    }
    for (label, value) in [
        ("http_route", UNKNOWN_PATH),
        ("http_route", "/v1/products/42"),
        ("http_request_method", "BREW"),
        ("http_response_status_code", "not-sent"),
        ("topic", "other"),
        ("partition", "64"),
        ("email", CUSTOMER_EMAIL),
        ("result", "0198a5d2-0000-7000-8000-00000000beef"),
    ] {
        assert!(!is_allowed(label, value), "{label}={value}");
    }
    let labels = |names: &[&str]| -> Vec<(String, String)> {
        names
            .iter()
            .map(|name| ((*name).to_owned(), String::new()))
            .collect()
    };
    let cache = "cache_requests_total";
    assert!(has_its_labels(cache, &labels(&["result", "namespace"])));
    assert!(!has_its_labels(cache, &labels(&["result"])));
    assert!(!has_its_labels(cache, &labels(&["result", "namespace", "state"])));
    assert!(!has_its_labels(HTTP.0, &labels(&["http_route", "le"])));
}
