//! What the five processes tell about a run: metrics with the names that dashboards and alerts use, labels that stay few, and log lines
//! without personal data.

mod exposition;
mod rules;

use std::collections::BTreeSet;

use reqwest::{Method, StatusCode};
use serde_json::{Value, json};
use testkit::eventually;

use crate::shop::{CUSTOMER, Shop};
use crate::telemetry::exposition::{Exposition, Series};
use crate::telemetry::rules::{HTTP, check_name, expected, has_its_labels, is_allowed};
use crate::whole::{self, WholeStack};

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
