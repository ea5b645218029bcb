//! `cargo stack seed`: a believable shop, made through the API like any other client would.

use std::future::Future;
use std::process::ExitCode;
use std::time::Duration;

use anyhow::{Context as _, bail, ensure};
use futures_util::{StreamExt as _, TryStreamExt as _, stream};
use reqwest::{Client, Response, StatusCode};
use serde_json::{Value, json};
use stack::{Architecture, Grant, Keys};

use super::project::Project;
use super::shop::{CustomerPlan, Fate, OrderPlan, ProductPlan, plan};

/// Requests under way at once.
const CONCURRENCY: usize = 16;

/// How often a request is tried that was shed or limited.
const TRIES: u32 = 20;

/// One request.
const LIMIT: Duration = Duration::from_secs(10);

pub(crate) async fn run(force: bool) -> anyhow::Result<ExitCode> {
    let project = Project::find()?;
    let report = project
        .state()
        .running()?
        .context("nothing is running; `cargo stack up` starts it")?;
    let keys = Keys::open(&project.state().keys())?;
    let shop = Shop::new(
        report.public_url(project.architecture.public()?)?,
        keys,
        &project.architecture,
    )?;
    if !force && !shop.is_empty().await? {
        eprintln!("there are products already; `--force` adds another shop's worth");
        return Ok(ExitCode::SUCCESS);
    }
    fill(&shop).await?;
    Ok(ExitCode::SUCCESS)
}

/// The gateway, and the keys that its tokens are signed with.
pub(crate) struct Shop {
    url: String,
    client: Client,
    keys: Keys,
    audiences: Vec<String>,
}

impl Shop {
    pub(crate) fn new(url: String, keys: Keys, architecture: &Architecture) -> anyhow::Result<Shop> {
        let client = Client::builder()
            .timeout(LIMIT)
            .build()
            .context("cannot make an HTTP client")?;
        let audiences = architecture.audiences().into_iter().map(str::to_owned).collect();
        Ok(Shop {
            url,
            client,
            keys,
            audiences,
        })
    }

    pub(crate) async fn is_empty(&self) -> anyhow::Result<bool> {
        let token = self.token("seed-operator", "catalogue:write", None);
        let request = || {
            self.client
                .get(format!("{}/v1/products?limit=1", self.url))
                .bearer_auth(&token)
        };
        let answer = patiently(|| request().send()).await?;
        ensure!(
            answer.status().is_success(),
            "GET /v1/products answered {}",
            answer.status()
        );
        let page: Value = answer.json().await.context("the list of products is not JSON")?;
        let items = page
            .as_object()
            .and_then(|page| page.values().find_map(Value::as_array));
        Ok(items.context("the list of products holds no list")?.is_empty())
    }

    /// Posts and returns the created resource's id. A repetition has the same idempotency key, so that a lost
    /// answer makes nothing twice.
    async fn post(&self, token: &str, path: &str, body: &Value) -> anyhow::Result<String> {
        let key = uuid::Uuid::now_v7().to_string();
        let url = format!("{}{path}", self.url);
        let request = || {
            self.client
                .post(&url)
                .bearer_auth(token)
                .header("idempotency-key", &key)
                .json(body)
        };
        let answer = patiently(|| request().send())
            .await
            .with_context(|| format!("POST {path}"))?;
        let status = answer.status();
        let text = answer.text().await.with_context(|| format!("POST {path}"))?;
        ensure!(status.is_success(), "POST {path} answered {status}: {text}");
        let created: Value = serde_json::from_str(&text).unwrap_or_default();
        Ok(created["id"].as_str().unwrap_or_default().to_owned())
    }

    fn token(&self, sub: &str, scopes: &str, email: Option<&str>) -> String {
        let audiences: Vec<&str> = self.audiences.iter().map(String::as_str).collect();
        self.keys.token(Grant { sub, scopes, email }, &audiences)
    }
}

/// Makes everything of the plan. `run` is unique, so that a second shop's worth has SKUs and customers of its
/// own.
pub(crate) async fn fill(shop: &Shop) -> anyhow::Result<()> {
    let run = if shop.is_empty().await? {
        String::new()
    } else {
        format!("-{:06}", rand::random_range(0..1_000_000))
    };
    let plan = plan();
    eprintln!(
        "seeding {} products, {} customers and {} orders",
        plan.products.len(),
        plan.customers.len(),
        plan.orders.len()
    );
    let operator = shop.token("seed-operator", "catalogue:write payments:record", None);

    let products = each(&plan.products, |product| {
        make_product(shop, &operator, &run, product)
    })
    .await?;
    let customers = each(&plan.customers, |customer| register(shop, &run, customer)).await?;
    each(&plan.orders, |order| {
        make_order(shop, &operator, &customers, &products, order)
    })
    .await?;
    Ok(())
}

/// Makes one thing for each plan, some at once; the results are in the plans' order.
async fn each<'p, P, T, F>(plans: &'p [P], make: impl FnMut(&'p P) -> F) -> anyhow::Result<Vec<T>>
where
    F: Future<Output = anyhow::Result<T>>,
{
    stream::iter(plans)
        .map(make)
        .buffered(CONCURRENCY)
        .try_collect()
        .await
}

async fn make_product(
    shop: &Shop,
    operator: &str,
    run: &str,
    product: &ProductPlan,
) -> anyhow::Result<String> {
    let body = json!({
        "sku": format!("{}{run}", product.sku),
        "name": product.name,
        "description": product.description,
        "price_minor": product.price_minor,
        "currency": "EUR",
        "quantity": product.quantity,
        "status": if product.draft { "draft" } else { "active" },
    });
    shop.post(operator, "/v1/products", &body).await
}

/// Registers a customer and returns its token.
async fn register(shop: &Shop, run: &str, customer: &CustomerPlan) -> anyhow::Result<String> {
    let sub = format!("{}{run}", customer.sub);
    let token = shop.token(&sub, "customers:write orders:write", Some(&customer.email));
    shop.post(&token, "/v1/customers", &json!({ "name": customer.name }))
        .await?;
    Ok(token)
}

async fn make_order(
    shop: &Shop,
    operator: &str,
    customers: &[String],
    products: &[String],
    order: &OrderPlan,
) -> anyhow::Result<()> {
    let customer = &customers[order.customer];
    let line = |(product, quantity): &(usize, u32)| json!({ "product_id": products[*product], "quantity": quantity });
    let lines: Vec<Value> = order.lines.iter().map(line).collect();
    let id = shop
        .post(customer, "/v1/orders", &json!({ "lines": lines }))
        .await?;
    if matches!(order.fate, Fate::Paid | Fate::PaidAndCancelled) {
        shop.post(operator, &format!("/v1/orders/{id}/payment"), &json!({}))
            .await?;
    }
    if matches!(order.fate, Fate::Cancelled | Fate::PaidAndCancelled) {
        shop.post(customer, &format!("/v1/orders/{id}/cancellation"), &json!({}))
            .await?;
    }
    Ok(())
}

/// Sends until the answer is neither 429 nor 503, and waits as long as the answer asks for.
async fn patiently<F>(send: impl Fn() -> F) -> anyhow::Result<Response>
where
    F: Future<Output = reqwest::Result<Response>>,
{
    let mut last = None;
    for attempt in 0..TRIES {
        let pause = match send().await {
            Ok(answer)
                if !matches!(
                    answer.status(),
                    StatusCode::TOO_MANY_REQUESTS | StatusCode::SERVICE_UNAVAILABLE
                ) =>
            {
                return Ok(answer);
            }
            Ok(answer) => {
                let asked = answer
                    .headers()
                    .get("retry-after")
                    .and_then(|value| value.to_str().ok()?.parse().ok());
                last = Some(anyhow::anyhow!("answered {}", answer.status()));
                Duration::from_secs(asked.unwrap_or(1).min(30))
            }
            Err(error) => {
                last = Some(error.into());
                Duration::from_millis(100 << attempt.min(5))
            }
        };
        tokio::time::sleep(pause).await;
    }
    match last {
        Some(error) => Err(error).with_context(|| format!("tried {TRIES} times")),
        None => bail!("never tried"),
    }
}
