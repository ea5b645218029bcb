//! A running app-service and the people who call it.

mod contract;
mod database;
mod process;

use std::process::{Child, ExitStatus};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use diesel_migrations::{EmbeddedMigrations, embed_migrations};
use identity::{Caller, Minter};
use reqwest::{Method, StatusCode};
use serde_json::{Value, json};
use tempfile::TempDir;
use testkit::Database;
use uuid::Uuid;

pub(crate) use self::contract::remedy;
pub(crate) use self::database::number;
pub(crate) use self::process::Replica;
use self::process::{address, ended, start, terminate};

const MIGRATIONS: EmbeddedMigrations = embed_migrations!("../../migrations/app");

/// The gateway's key here: the example of RFC 8037, which everybody knows.
pub(crate) const PRIVATE: &str = "-----BEGIN PRIVATE KEY-----
MC4CAQAwBQYDK2VwBCIEIJ1hsZ3v/VpguoRK9JLsLMREScVpezJpGXA7rAMcrn9g
-----END PRIVATE KEY-----
";
const PUBLIC: &str = r#"{"keys":[{"kty":"OKP","crv":"Ed25519","kid":"test","x":"11qYAYKxCrfVS_7TyWQHOg7hcvPapiMlrwIaaPcHURo"}]}"#;

/// A running process; killed and its database dropped with this value.
pub(crate) struct Shop {
    process: Child,
    base: String,
    client: reqwest::Client,
    minter: Minter,
    pub(crate) database: Database,
    settings: Vec<(String, String)>,
    keys: TempDir,
}

/// What a request was answered with.
#[derive(Debug)]
pub(crate) struct Reply {
    pub(crate) status: StatusCode,
    pub(crate) headers: reqwest::header::HeaderMap,
    pub(crate) body: Value,
}

impl Shop {
    pub(crate) async fn open() -> Shop {
        Shop::open_with(&[]).await
    }

    /// With other settings than usual.
    pub(crate) async fn open_with(settings: &[(&str, &str)]) -> Shop {
        let database = Database::create("app", MIGRATIONS).await;
        let keys = TempDir::new().unwrap();
        std::fs::write(keys.path().join("jwks.json"), PUBLIC).unwrap();
        let settings = settings
            .iter()
            .map(|(name, value)| (name.to_string(), value.to_string()));
        let settings: Vec<_> = settings.collect();
        let mut process = start(&database, &keys, &settings);
        Shop {
            base: address(&mut process),
            process,
            client: reqwest::Client::new(),
            minter: Minter::from_pem(PRIVATE.as_bytes(), "test").unwrap(),
            database,
            settings,
            keys,
        }
    }

    /// Kills the process as a power cut would, and starts another one on the same database.
    pub(crate) fn kill_and_start_again(&mut self) {
        self.process.kill().unwrap();
        self.process.wait().unwrap();
        self.process = start(&self.database, &self.keys, &self.settings);
        self.base = address(&mut self.process);
    }

    /// Another process with the same settings on the same database.
    pub(crate) fn replica(&self) -> Replica {
        let mut process = start(&self.database, &self.keys, &self.settings);
        let base = address(&mut process);
        Replica { process, base }
    }

    /// Kills the process as a power cut would; from now on the other one is the shop's.
    pub(crate) fn kill_and_go_on_with(&mut self, mut other: Replica) {
        std::mem::swap(&mut self.process, &mut other.process);
        std::mem::swap(&mut self.base, &mut other.base);
        // What is killed with `other` is now the first process.
        drop(other);
    }

    /// `host:port` of the API.
    pub(crate) fn address(&self) -> &str {
        self.base.trim_start_matches("http://")
    }

    /// As [`plain`](Shop::plain), with what a client has to say: a new idempotency key, or that any version will do.
    pub(crate) fn request(&self, caller: &Caller, method: Method, path: &str) -> reqwest::RequestBuilder {
        let request = self.plain(caller, method.clone(), path);
        match method {
            Method::POST => request.header("idempotency-key", Uuid::now_v7().to_string()),
            Method::PATCH => request.header("if-match", "*"),
            _ => request,
        }
    }

    /// A request with the gateway's assertion about `caller`.
    pub(crate) fn plain(&self, caller: &Caller, method: Method, path: &str) -> reqwest::RequestBuilder {
        let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap().as_secs();
        let assertion = self.minter.mint(caller, i64::try_from(now).unwrap()).unwrap();
        self.bare(method, path).header("x-plumbline-identity", assertion)
    }

    /// A request that did not come through the gateway.
    pub(crate) fn bare(&self, method: Method, path: &str) -> reqwest::RequestBuilder {
        self.client
            .request(method, format!("{}{path}", self.base))
            .timeout(Duration::from_secs(30))
    }

    pub(crate) async fn get(&self, caller: &Caller, path: &str) -> Reply {
        patiently(|| self.request(caller, Method::GET, path)).await
    }

    pub(crate) async fn post(&self, caller: &Caller, path: &str, body: Value) -> Reply {
        patiently(|| self.request(caller, Method::POST, path).json(&body)).await
    }

    pub(crate) async fn patch(&self, caller: &Caller, path: &str, body: Value) -> Reply {
        patiently(|| self.request(caller, Method::PATCH, path).json(&body)).await
    }

    /// A product at 12.50 EUR; `more` is merged into it. Its id.
    pub(crate) async fn product(&self, quantity: i64, more: Value) -> String {
        let mut body = json!({
            "sku": format!("SKU-{}", Uuid::now_v7().simple()),
            "name": "Mug",
            "price_minor": 1250,
            "currency": "EUR",
            "quantity": quantity,
        });
        body.as_object_mut()
            .unwrap()
            .extend(more.as_object().cloned().unwrap_or_default());
        let reply = self.post(&merchandiser(), "/v1/products", body).await;
        reply.expect(StatusCode::CREATED).id()
    }

    /// Registers `caller`. Their id.
    pub(crate) async fn register(&self, caller: &Caller) -> String {
        let reply = self.post(caller, "/v1/customers", json!({"name": "Ada"})).await;
        reply.expect(StatusCode::CREATED).id()
    }

    /// An order of `caller` for each (product, quantity).
    pub(crate) async fn order(&self, caller: &Caller, lines: &[(&str, i64)]) -> Reply {
        let line = |(id, quantity): &(&str, i64)| json!({"product_id": id, "quantity": quantity});
        let lines: Vec<Value> = lines.iter().map(line).collect();
        self.post(caller, "/v1/orders", json!({"lines": lines})).await
    }

    /// Sends SIGTERM.
    pub(crate) fn terminate(&self) {
        terminate(&self.process);
    }

    /// How the process ended.
    pub(crate) async fn ended(&mut self) -> ExitStatus {
        ended(&mut self.process).await
    }
}

impl Drop for Shop {
    fn drop(&mut self) {
        // It may have ended already.
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}

impl Reply {
    #[track_caller]
    pub(crate) fn expect(self, status: StatusCode) -> Reply {
        assert_eq!(self.status, status, "{}", self.body);
        self
    }

    /// Panics unless it is this problem.
    #[track_caller]
    pub(crate) fn expect_problem(self, status: u16, slug: &str) -> Reply {
        let reply = self.expect(StatusCode::from_u16(status).unwrap());
        assert_eq!(
            reply.body["type"],
            format!("urn:plumbline:problem:{slug}"),
            "{}",
            reply.body
        );
        assert_eq!(reply.header("content-type"), "application/problem+json");
        assert!(reply.body["request_id"].is_string(), "{}", reply.body);
        reply
    }

    pub(crate) fn id(&self) -> String {
        self.body["id"].as_str().unwrap().to_owned()
    }

    pub(crate) fn header(&self, name: &str) -> &str {
        self.headers.get(name).map_or("", |value| value.to_str().unwrap())
    }
}

/// As a client should: a 503 changed nothing and asks to come back. On a busy machine, everybody gets one now and then.
async fn patiently(request: impl Fn() -> reqwest::RequestBuilder) -> Reply {
    testkit::eventually("the process is no longer overloaded", async || {
        let reply = answer(request()).await;
        (reply.status != StatusCode::SERVICE_UNAVAILABLE).then_some(reply)
    })
    .await
}

/// Sends it once. The answer is one that the API's description has.
pub(crate) async fn answer(request: reqwest::RequestBuilder) -> Reply {
    let (client, request) = request.build_split();
    let request = request.unwrap();
    let (method, path) = (request.method().clone(), request.url().path().to_owned());
    let response = client.execute(request).await.unwrap();
    let (status, headers) = (response.status(), response.headers().clone());
    let text = response.text().await.unwrap();
    let body = serde_json::from_str(&text).unwrap_or(Value::String(text));
    let reply = Reply {
        status,
        headers,
        body,
    };
    contract::check(&method, &path, &reply);
    reply
}

/// Somebody with these scopes and a verified address.
pub(crate) fn caller(id: &str, scopes: &[&str]) -> Caller {
    Caller {
        principal: format!("main:{id}"),
        scopes: scopes.iter().map(ToString::to_string).collect(),
        email: Some(format!("{id}@example.com")),
        expires_at: i64::MAX,
    }
}

/// A customer's usual token.
pub(crate) fn shopper(id: &str) -> Caller {
    caller(id, &["customers:write", "orders:write"])
}

pub(crate) fn merchandiser() -> Caller {
    caller("merchandiser", &["catalogue:write"])
}

pub(crate) fn cashier() -> Caller {
    caller("cashier", &["payments:record"])
}

pub(crate) fn fulfilment() -> Caller {
    caller("fulfilment", &["orders:fulfil"])
}
