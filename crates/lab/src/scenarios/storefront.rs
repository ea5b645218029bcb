//! Products behind app-service, asked as the gateway asks.

use std::path::Path;
use std::time::Duration;

use anyhow::{Context as _, ensure};
use identity::Caller;
use reqwest::{Method, RequestBuilder, Response};
use serde_json::{Value, json};
use stack::Stack;
use uuid::Uuid;

use crate::benches::signer::Signer;

/// Longer than app-service's own deadline, so that its answer is seen.
const ANSWER: Duration = Duration::from_secs(15);

pub(crate) struct Storefront {
    http: reqwest::Client,
    url: String,
    signer: Signer,
    pub(crate) products: Vec<Uuid>,
}

impl Storefront {
    /// Makes products that are on sale, at the first replica of the stack in `dir`.
    pub(crate) async fn open(stack: &Stack, dir: &Path, products: usize) -> anyhow::Result<Storefront> {
        let mut storefront = Storefront {
            http: reqwest::Client::builder().timeout(ANSWER).build()?,
            url: stack.http_url("app-service", 1)?,
            signer: Signer::of(dir)?,
            products: Vec::new(),
        };
        for number in 0..products {
            let product = json!({
                "sku": format!("chaos-{number}"), "name": format!("Product {number}"), "description": "sold by the lab",
                "price_minor": 100, "currency": "EUR", "quantity": 1_000, "status": "active",
            });
            let request = storefront
                .request(Method::POST, "/v1/products", &staff())?
                .header("idempotency-key", Uuid::now_v7().to_string())
                .json(&product);
            let made = succeeded(request.send().await?)
                .await
                .context("cannot make a product")?;
            let id = made["id"].as_str().context("a product has no id")?;
            storefront.products.push(id.parse()?);
        }
        Ok(storefront)
    }

    /// Reads a product as anybody.
    pub(crate) async fn look(&self, number: usize) -> anyhow::Result<Response> {
        let id = self.products[number % self.products.len()];
        let request = self.request(Method::GET, &format!("/v1/products/{id}"), &Caller::anonymous())?;
        Ok(request.send().await?)
    }

    /// Changes a product's price; the version that this made.
    pub(crate) async fn reprice(&self, number: usize, price_minor: u64) -> anyhow::Result<i64> {
        let path = format!("/v1/products/{}", self.products[number]);
        let request = self
            .request(Method::PATCH, &path, &staff())?
            .header("if-match", "*")
            .json(&json!({"price_minor": price_minor}));
        let changed = succeeded(request.send().await?).await?;
        changed["version"].as_i64().context("a product has no version")
    }

    fn request(&self, method: Method, path: &str, caller: &Caller) -> anyhow::Result<RequestBuilder> {
        let request = self.http.request(method, format!("{}{path}", self.url));
        Ok(request.header("x-plumbline-identity", self.signer.assertion(caller)?))
    }
}

fn staff() -> Caller {
    Caller {
        principal: "main:lab".to_owned(),
        scopes: vec!["catalogue:write".to_owned()],
        email: None,
        expires_at: i64::MAX,
    }
}

async fn succeeded(answer: Response) -> anyhow::Result<Value> {
    let status = answer.status();
    let body: Value = answer.json().await?;
    ensure!(status.is_success(), "{status}: {body}");
    Ok(body)
}
