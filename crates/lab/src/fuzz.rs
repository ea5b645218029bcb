//! Schemathesis over the API's document, through the gateway of a running stack.

use std::process::{Command, Stdio};
use std::time::Duration;

use anyhow::{Context as _, ensure};
use clap::Args;
use reqwest::{Client, Response};
use serde_json::{Value, json};
use stack::{Stack, Tools};
use uuid::Uuid;

/// How long and from where.
#[derive(Args, Clone, Copy, Debug)]
pub struct Plan {
    /// Generated cases of each operation, at most
    #[arg(long, value_name = "COUNT", default_value_t = 200)]
    pub cases: u32,
    /// The same seed makes the same cases, as far as the answers are the same
    #[arg(long, value_name = "NUMBER", default_value_t = 1)]
    pub seed: u64,
}

/// Everything that an operation of the document may ask for.
const SCOPES: &str = "catalogue:write customers:write customers:read:any orders:write orders:read:any orders:fulfil payments:record";

/// A run may not take longer.
const LIMIT: Duration = Duration::from_secs(3600);

/// What schemathesis printed; an error when it found something.
pub async fn run(stack: &Stack, plan: Plan) -> anyhow::Result<String> {
    let root = stack::find_root()?;
    let tools = Tools::install(&root, &stack::target_dir(&root))?;
    let gateway = stack.public_url()?;
    let token = stack.token("fuzz", SCOPES, Some("fuzz@example.com"));
    let shop = Shop::open(&gateway, &token).await?;

    let mut schemathesis = tools.command("schemathesis");
    schemathesis
        .arg("--config-file")
        .arg(root.join("deploy/tools/schemathesis.toml"));
    schemathesis.arg("run").arg(format!("{gateway}/openapi.json"));
    schemathesis.args(["--url", &gateway, "--checks", "all", "--no-color"]);
    schemathesis.arg(format!("--seed={}", plan.seed));
    schemathesis.arg(format!("--max-examples={}", plan.cases));
    schemathesis.env("PYTHONPATH", root.join("deploy/tools"));
    schemathesis.env("PYTHONDONTWRITEBYTECODE", "1");
    schemathesis.env("FUZZ_TOKEN", token);
    schemathesis.env("FUZZ_PRODUCT", shop.product);
    schemathesis.env("FUZZ_CUSTOMER", shop.customer);
    // It writes hypothesis's cache where it runs.
    schemathesis.current_dir(stack::target_dir(&root));
    finish(schemathesis).await
}

/// Ids of what generated requests may refer to.
struct Shop {
    product: String,
    /// The caller: orders are placed by customers only.
    customer: String,
}

impl Shop {
    async fn open(gateway: &str, token: &str) -> anyhow::Result<Shop> {
        let product = json!({
            "sku": "FUZZ", "name": "Fuzz", "price_minor": 1, "currency": "EUR", "quantity": 1_000_000,
        });
        Ok(Shop {
            product: create(&format!("{gateway}/v1/products"), token, &product).await?,
            customer: create(
                &format!("{gateway}/v1/customers"),
                token,
                &json!({"name": "Fuzz"}),
            )
            .await?,
        })
    }
}

/// Creates something and returns its id.
async fn create(url: &str, token: &str, body: &Value) -> anyhow::Result<String> {
    let request = Client::new().post(url).bearer_auth(token).json(body);
    let answer = request
        .header("idempotency-key", Uuid::now_v7().to_string())
        .send()
        .await;
    let answer = answer.and_then(Response::error_for_status);
    let created: Value = answer
        .with_context(|| format!("cannot create anything at {url}"))?
        .json()
        .await?;
    let id = created["id"].as_str();
    Ok(id
        .with_context(|| format!("{url} answered without an id"))?
        .to_owned())
}

async fn finish(mut command: Command) -> anyhow::Result<String> {
    command
        .stdin(Stdio::null())
        .stderr(Stdio::piped())
        .stdout(Stdio::piped());
    let running = tokio::task::spawn_blocking(move || command.output());
    let output = tokio::time::timeout(LIMIT, running).await;
    let output = output.context("schemathesis did not end in an hour")??;
    let output = output.context("cannot start schemathesis")?;
    let said = [output.stdout.as_slice(), &output.stderr].concat();
    let said = String::from_utf8_lossy(&said).into_owned();
    ensure!(
        output.status.success(),
        "schemathesis ended with {}:\n{said}",
        output.status
    );
    Ok(said)
}
