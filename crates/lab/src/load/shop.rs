//! The storefront as its clients use it, through the gateway.

use std::time::Duration;

use anyhow::{Context as _, ensure};
use reqwest::StatusCode;
use serde_json::{Value, json};
use stack::Stack;
use uuid::Uuid;

/// Longer than the gateway's own deadline, so that its answer is seen.
const REQUEST: Duration = Duration::from_secs(15);

/// The most that a product may have.
const STOCK: i64 = 1_000_000;

/// A shop with products to sell and customers to buy them.
pub struct Shop {
    http: reqwest::Client,
    gateway: String,
    operator: String,
    /// Their tokens.
    customers: Vec<String>,
    /// Their ids.
    products: Vec<String>,
    /// Of an order.
    lines: usize,
}

/// Of an order, unless [`Shop::lines`] says otherwise.
const LINES: usize = 2;

/// What became of a request, as far as its sender can know.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Outcome {
    /// Answered with success.
    Ok,
    /// Answered that it can't be done (4xx).
    Refused,
    /// Answered that there is too much to do now (429, 503).
    Shed,
    /// No answer, or a failure (other 5xx). It may have had its effect.
    Failed,
}

impl Shop {
    /// Registers customers and makes products, with names that begin with `name`.
    pub async fn open(stack: &Stack, name: &str, customers: usize, products: usize) -> anyhow::Result<Shop> {
        let http = reqwest::Client::builder()
            .timeout(REQUEST)
            .connect_timeout(Duration::from_secs(2))
            // The gateway closes idle connections after 30 s; one that is being closed must not be used.
            .pool_idle_timeout(Duration::from_secs(10))
            .build()?;
        let operator = stack.token("lab", "catalogue:write payments:record", Some("lab@example.com"));
        let gateway = stack.public_url()?;
        let mut shop = Shop {
            http,
            gateway,
            operator,
            customers: Vec::new(),
            products: Vec::new(),
            lines: LINES,
        };
        for number in 0..products {
            let body = json!({
                "sku": format!("{name}-{number}"), "name": format!("Product {number}"), "description": "sold by the lab",
                "price_minor": 100 + number, "currency": "EUR", "quantity": STOCK, "status": "active",
            });
            let product = shop.create("/v1/products", &shop.operator, &body).await?;
            shop.products.push(product);
        }
        for number in 0..customers {
            let email = format!("{name}-{number}@example.com");
            let token = stack.token(
                &format!("{name}-{number}"),
                "customers:write orders:write",
                Some(&email),
            );
            shop.create(
                "/v1/customers",
                &token,
                &json!({"name": format!("Customer {number}")}),
            )
            .await?;
            shop.customers.push(token);
        }
        ensure!(
            !shop.customers.is_empty() && !shop.products.is_empty(),
            "a shop needs customers and products"
        );
        Ok(shop)
    }

    /// Orders are of so many different products, at most as many as there are.
    pub fn lines(self, lines: usize) -> Shop {
        Shop { lines, ..self }
    }

    /// How many customers there are.
    pub fn customers(&self) -> usize {
        self.customers.len()
    }

    /// The address of a product, for reads.
    pub fn product_path(&self, number: usize) -> String {
        format!("/v1/products/{}", self.products[number % self.products.len()])
    }

    /// Reads a product as anybody.
    pub async fn look(&self, number: usize) -> Outcome {
        let url = format!("{}{}", self.gateway, self.product_path(number));
        outcome(self.http.get(url).send().await).await.0
    }

    /// A customer orders one to three units of each of some products; its id when that is known.
    pub async fn place(&self, customer: usize, number: usize) -> (Outcome, Option<String>) {
        let lines: Vec<Value> = (0..self.lines)
            .map(|line| {
                let product = &self.products[(number + line * 7) % self.products.len()];
                json!({"product_id": product, "quantity": 1 + (number + line) % 3})
            })
            .collect();
        let (outcome, body) = self
            .post("/v1/orders", &self.customers[customer], &json!({"lines": lines}))
            .await;
        (outcome, id_of(&body))
    }

    /// The payment provider records a payment.
    pub async fn pay(&self, order: &str) -> Outcome {
        self.post(&format!("/v1/orders/{order}/payment"), &self.operator, &json!({}))
            .await
            .0
    }

    /// The customer cancels.
    pub async fn cancel(&self, customer: usize, order: &str) -> Outcome {
        let path = format!("/v1/orders/{order}/cancellation");
        self.post(&path, &self.customers[customer], &json!({})).await.0
    }

    async fn post(&self, path: &str, token: &str, body: &Value) -> (Outcome, Value) {
        let url = format!("{}{path}", self.gateway);
        let request = self.http.post(url).bearer_auth(token).json(body);
        // Each is an operation of its own, and none is repeated.
        let request = request.header("idempotency-key", Uuid::now_v7().to_string());
        outcome(request.send().await).await
    }

    async fn create(&self, path: &str, token: &str, body: &Value) -> anyhow::Result<String> {
        let (outcome, answer) = self.post(path, token, body).await;
        let id = id_of(&answer).filter(|_| outcome == Outcome::Ok);
        id.with_context(|| format!("POST {path} through the gateway: {outcome:?} {answer}"))
    }
}

fn id_of(body: &Value) -> Option<String> {
    body.get("id")?.as_str().map(str::to_owned)
}

/// The answer is read to its end: until then the request may still fail.
pub(crate) async fn outcome(answer: reqwest::Result<reqwest::Response>) -> (Outcome, Value) {
    let Ok(answer) = answer else {
        return (Outcome::Failed, Value::Null);
    };
    let status = answer.status();
    let Ok(body) = answer.bytes().await else {
        return (Outcome::Failed, Value::Null);
    };
    let body = serde_json::from_slice(&body).unwrap_or(Value::Null);
    let outcome = match status {
        StatusCode::TOO_MANY_REQUESTS | StatusCode::SERVICE_UNAVAILABLE => Outcome::Shed,
        status if status.is_success() => Outcome::Ok,
        status if status.is_client_error() => Outcome::Refused,
        _ => Outcome::Failed,
    };
    (outcome, body)
}
