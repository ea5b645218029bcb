use actix_web::App;
use actix_web::http::StatusCode;
use actix_web::http::header::AUTHORIZATION;
use actix_web::test::{TestRequest, call_service, init_service, read_body};
use audit_consumer::{NAME, api};
use serde_json::{Value, json};
use testkit::Database;
use uuid::Uuid;

use crate::records::{Process, TRACE_ID, count, database, publish, until_count};
use crate::tokens::Issuer;

struct Api {
    database: Database,
    issuer: Issuer,
}

const PRODUCT: Uuid = Uuid::from_u128(5);

impl Api {
    async fn new() -> Api {
        Api {
            database: database().await,
            issuer: Issuer::new(),
        }
    }

    async fn with_history() -> Api {
        let (api, topic) = (Api::new().await, testkit::topic("history", 1).await);
        let process = Process::start(&api.database, &topic);
        publish(
            &topic,
            PRODUCT,
            1,
            &json!({"name": "lamp", "price_minor": 100, "version": 1}),
        )
        .await;
        publish(
            &topic,
            PRODUCT,
            2,
            &json!({"name": "lamp", "price_minor": 200, "version": 2, "previous": {"price_minor": 100}}),
        )
        .await;
        publish(&topic, Uuid::from_u128(6), 1, &json!({"name": "other"})).await;
        publish(
            &topic,
            PRODUCT,
            3,
            &json!({"name": "big lamp", "price_minor": 300, "version": 3}),
        )
        .await;
        until_count(&api.database, "audit_event", 4).await;
        process.stop().await;
        api
    }

    async fn get(&self, query: &str, authorization: &str) -> (StatusCode, Value) {
        let routes = api::routes(self.database.pool(), self.issuer.verifier(NAME));
        let app = init_service(App::new().configure(routes)).await;
        let request = TestRequest::get()
            .uri(&format!("/v1/events?{query}"))
            .insert_header((AUTHORIZATION, authorization))
            .to_request();
        let response = call_service(&app, request).await;
        let status = response.status();
        let body = read_body(response).await;
        (status, serde_json::from_slice(&body).unwrap_or_default())
    }
}

fn of_product() -> String {
    format!("aggregate_type=product&aggregate_id={PRODUCT}")
}

#[actix_web::test]
async fn only_a_token_for_this_process_with_the_scope_may_read_and_each_reading_is_recorded() {
    let api = Api::new().await;
    for (authorization, expected) in [
        (String::new(), 401),
        ("Bearer nonsense".to_owned(), 401),
        (api.issuer.bearer("analytics-consumer", "audit:read"), 401),
        (api.issuer.bearer(NAME, "analytics:read audit:raw"), 403),
    ] {
        let (status, body) = api.get(&of_product(), &authorization).await;
        assert_eq!(status.as_u16(), expected, "{authorization} {body}");
    }
    assert_eq!(count(&api.database, "audit_read").await, 0);

    let (status, body) = api
        .get(&of_product(), &api.issuer.bearer(NAME, "audit:read"))
        .await;
    assert_eq!(
        (status.as_u16(), body),
        (200, json!({"events": [], "next": null}))
    );
    let recorded = format!(
        "audit_read WHERE principal = 'main:ops' AND query LIKE '%aggregate_id={PRODUCT}%' AND query LIKE '%raw=false'"
    );
    assert_eq!(count(&api.database, &recorded).await, 1);
}

#[actix_web::test]
async fn a_history_names_what_changed_and_shows_payloads_only_to_those_who_may_see_them() {
    let api = Api::with_history().await;
    let (_, body) = api
        .get(&of_product(), &api.issuer.bearer(NAME, "audit:read"))
        .await;
    let events = body["events"].as_array().unwrap();
    let told: Vec<(i64, &Value)> = events
        .iter()
        .map(|event| (event["aggregate_version"].as_i64().unwrap(), &event["changed"]))
        .collect();
    assert_eq!(
        told,
        [
            (1, &Value::Null),
            (2, &json!(["price_minor"])),
            (3, &json!(["name", "price_minor"])),
        ]
    );
    let second = &events[1];
    assert_eq!(second["type"], "plumbline.product.changed");
    assert_eq!(second["actor"], "main:ada");
    assert_eq!(second["trace_id"], TRACE_ID);
    assert_eq!(second["occurred_at"], "1970-01-01T00:00:00Z");
    assert!(!body.to_string().contains("lamp"), "{body}");

    let (_, body) = api
        .get(&of_product(), &api.issuer.bearer(NAME, "audit:read audit:raw"))
        .await;
    assert_eq!(body["events"][2]["payload"]["name"], "big lamp");
    assert_eq!(
        count(&api.database, "audit_read WHERE query LIKE '%raw=true'").await,
        1
    );
}

#[actix_web::test]
async fn pages_follow_each_other_without_gap_or_repetition() {
    let api = Api::with_history().await;
    let bearer = api.issuer.bearer(NAME, "audit:read");
    let mut versions = Vec::new();
    let mut query = format!("{}&limit=1", of_product());
    loop {
        let (status, page) = api.get(&query, &bearer).await;
        assert_eq!(status, 200, "{page}");
        versions.extend(
            page["events"]
                .as_array()
                .unwrap()
                .iter()
                .map(|event| event["aggregate_version"].as_i64().unwrap()),
        );
        assert!(
            versions.len() == 1 || page["events"][0]["changed"].is_array(),
            "the version before is on another page: {page}"
        );
        match page["next"].as_str() {
            Some(next) => query = format!("{}&limit=1&after={next}", of_product()),
            None => break,
        }
    }
    assert_eq!(versions, [1, 2, 3]);
}

#[actix_web::test]
async fn a_query_that_makes_no_sense_is_a_400_that_says_why() {
    let api = Api::new().await;
    let bearer = api.issuer.bearer(NAME, "audit:read");
    for (query, reason) in [
        (
            format!("{}&limit=0", of_product()),
            "`limit` is not between 1 and 200",
        ),
        (
            format!("{}&after=there", of_product()),
            "`after` is not the `next`",
        ),
        (
            format!("aggregate_type=%00&aggregate_id={PRODUCT}"),
            "`aggregate_type` is not a name",
        ),
        (
            format!("{}&after=1_t%00_0_0", of_product()),
            "`after` is not the `next`",
        ),
    ] {
        let (status, body) = api.get(&query, &bearer).await;
        assert_eq!(status, 400, "{query}");
        assert!(
            body["detail"].as_str().unwrap().contains(reason),
            "{query}: {body}"
        );
    }
    // Refused by the framework; in the process their bodies are problems too.
    for query in ["", "aggregate_type=order", "aggregate_type=order&aggregate_id=7"] {
        assert_eq!(api.get(query, &bearer).await.0, 400, "{query}");
    }
    assert_eq!(count(&api.database, "audit_read").await, 0);
}
