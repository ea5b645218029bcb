//! The storefront as its clients see it, through the gateway.

use reqwest::{Method, StatusCode};
use serde_json::{Value, json};
use uuid::Uuid;

use crate::whole::WholeStack;

/// What a shop's operator may do; customers get [`CUSTOMER`].
pub(crate) const OPERATOR: &str = "catalogue:write payments:record orders:fulfil analytics:read audit:read";
pub(crate) const CUSTOMER: &str = "customers:write orders:write";

pub(crate) struct Shop<'a> {
    pub(crate) whole: &'a WholeStack,
    pub(crate) operator: String,
}

pub(crate) struct Answer {
    pub(crate) status: StatusCode,
    pub(crate) cache_status: String,
    pub(crate) body: Value,
}

impl Answer {
    pub(crate) fn id(&self) -> String {
        self.body["id"]
            .as_str()
            .unwrap_or_else(|| panic!("no id in {} {}", self.status, self.body))
            .to_owned()
    }
}

impl<'a> Shop<'a> {
    pub(crate) fn open(whole: &'a WholeStack) -> Shop<'a> {
        let operator = whole
            .stack
            .token("operator", OPERATOR, Some("operator@example.com"));
        Shop { whole, operator }
    }

    pub(crate) async fn send(&self, method: Method, url: &str, token: &str, body: Option<Value>) -> Answer {
        let mut request = self.whole.http.request(method.clone(), url).bearer_auth(token);
        request = match method {
            Method::POST => request.header("idempotency-key", Uuid::now_v7().to_string()),
            // Nobody else edits here.
            Method::PATCH => request.header("if-match", "*"),
            _ => request,
        };
        if let Some(body) = body {
            request = request.json(&body);
        }
        let response = request.send().await.unwrap();
        let status = response.status();
        let cache_status = response
            .headers()
            .get("cache-status")
            .map(|v| v.to_str().unwrap().to_owned());
        let body = response.json().await.unwrap_or(Value::Null);
        Answer {
            status,
            cache_status: cache_status.unwrap_or_default(),
            body,
        }
    }

    fn url(&self, path: &str) -> String {
        format!("{}{path}", self.whole.gateway())
    }

    pub(crate) async fn get(&self, path: &str, token: &str) -> Answer {
        self.send(Method::GET, &self.url(path), token, None).await
    }

    /// POSTs and expects success.
    pub(crate) async fn post(&self, path: &str, token: &str, body: Value) -> Answer {
        let answer = self.send(Method::POST, &self.url(path), token, Some(body)).await;
        assert!(
            answer.status.is_success(),
            "POST {path}: {} {}",
            answer.status,
            answer.body
        );
        answer
    }

    pub(crate) async fn patch(&self, path: &str, body: Value) -> Answer {
        let answer = self
            .send(Method::PATCH, &self.url(path), &self.operator, Some(body))
            .await;
        assert!(
            answer.status.is_success(),
            "PATCH {path}: {} {}",
            answer.status,
            answer.body
        );
        answer
    }

    pub(crate) async fn product(&self, sku: &str, price_minor: i64, quantity: i64) -> String {
        let body = json!({"sku": sku, "name": format!("Product {sku}"), "description": "for a test",
            "price_minor": price_minor, "currency": "EUR", "quantity": quantity, "status": "active"});
        self.post("/v1/products", &self.operator, body).await.id()
    }

    /// Registers `name` and returns the customer's token.
    pub(crate) async fn customer(&self, name: &str) -> String {
        let token = self
            .whole
            .stack
            .token(name, CUSTOMER, Some(&format!("{name}@example.com")));
        self.post("/v1/customers", &token, json!({"name": name})).await;
        token
    }

    pub(crate) async fn order(&self, customer: &str, lines: &[(&str, i64)]) -> String {
        let lines: Vec<Value> = lines
            .iter()
            .map(|(product, quantity)| json!({"product_id": product, "quantity": quantity}))
            .collect();
        self.post("/v1/orders", customer, json!({"lines": lines}))
            .await
            .id()
    }

    pub(crate) async fn pay(&self, order: &str) {
        self.post(&format!("/v1/orders/{order}/payment"), &self.operator, json!({}))
            .await;
    }

    pub(crate) async fn cancel(&self, order: &str, customer: &str) {
        self.post(&format!("/v1/orders/{order}/cancellation"), customer, json!({}))
            .await;
    }

    /// The audit rows of one aggregate as `(version, kind, actor)`, by version.
    pub(crate) async fn timeline(&self, aggregate_type: &str, id: &str) -> Vec<(i64, String, String)> {
        let url = format!(
            "{}/v1/events?aggregate_type={aggregate_type}&aggregate_id={id}&limit=100",
            self.whole.http_of("audit-consumer")
        );
        let answer = self.send(Method::GET, &url, &self.operator, None).await;
        assert_eq!(answer.status, StatusCode::OK, "{}", answer.body);
        let text = |item: &Value, field: &str| item[field].as_str().unwrap_or_default().to_owned();
        let items = answer.body["events"].as_array().cloned().unwrap_or_default();
        items
            .iter()
            .map(|item| {
                (
                    item["aggregate_version"].as_i64().unwrap_or_default(),
                    text(item, "type"),
                    text(item, "actor"),
                )
            })
            .collect()
    }

    /// The rows of one of the analytics' lists.
    pub(crate) async fn analytics(&self, list: &str) -> Vec<Value> {
        let url = format!("{}/v1/{list}", self.whole.http_of("analytics-consumer"));
        let answer = self.send(Method::GET, &url, &self.operator, None).await;
        assert_eq!(answer.status, StatusCode::OK, "{}", answer.body);
        answer.body["rows"].as_array().cloned().unwrap_or_default()
    }

    /// `(recipient, subject)` of every mail that the SMTP server has accepted, sorted.
    pub(crate) async fn mails(&self) -> Vec<(String, String)> {
        let url = format!("{}/api/v1/messages?limit=1000", self.whole.mail_api());
        let answer = self.send(Method::GET, &url, "", None).await;
        let mails = answer.body["messages"].as_array().cloned().unwrap_or_default();
        let mut mails: Vec<_> = mails
            .iter()
            .map(|mail| {
                let to = mail["To"][0]["Address"].as_str().unwrap_or_default();
                (
                    to.to_owned(),
                    mail["Subject"].as_str().unwrap_or_default().to_owned(),
                )
            })
            .collect();
        mails.sort();
        mails
    }
}
