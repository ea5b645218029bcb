//! Schemathesis over the API's document, through the gateway of a running stack.

use std::process::{Command, Stdio};
use std::time::Duration;

use anyhow::{Context as _, ensure};
use clap::Args;
use reqwest::Client;
use serde_json::json;
use stack::{Stack, Tools};
use time::OffsetDateTime;

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
    register(&gateway, &token).await?;

    let mut schemathesis = tools.command("schemathesis");
    schemathesis
        .arg("--config-file")
        .arg(root.join("deploy/tools/schemathesis.toml"));
    schemathesis.arg("run").arg(format!("{gateway}/openapi.json"));
    schemathesis.args(["--url", &gateway, "--checks", "all", "--no-color"]);
    schemathesis.arg(format!("--header=Authorization: Bearer {token}"));
    schemathesis.arg(format!("--seed={}", plan.seed));
    schemathesis.arg(format!("--max-examples={}", plan.cases));
    // It writes hypothesis's cache where it runs.
    schemathesis.current_dir(stack::target_dir(&root));
    finish(schemathesis).await
}

/// Orders are placed by customers only.
async fn register(gateway: &str, token: &str) -> anyhow::Result<()> {
    let registered = Client::new()
        .post(format!("{gateway}/v1/customers"))
        .bearer_auth(token)
        .header(
            "idempotency-key",
            format!("fuzz-{}", OffsetDateTime::now_utc().unix_timestamp()),
        )
        .json(&json!({"name": "Fuzz"}))
        .send()
        .await
        .context("cannot register a customer")?;
    let status = registered.status();
    ensure!(
        status.is_success() || status == 409,
        "registering a customer was answered with {status}"
    );
    Ok(())
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
