//! A running app-service and the people who call it.

use std::io::{BufRead as _, BufReader};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::sync::mpsc;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use diesel::QueryableByName;
use diesel::sql_types::{BigInt, Binary, Text, Uuid as SqlUuid};
use diesel_async::{AsyncPgConnection, RunQueryDsl};
use diesel_migrations::{EmbeddedMigrations, embed_migrations};
use identity::{Caller, Minter};
use reqwest::{Method, StatusCode};
use serde_json::{Value, json};
use tempfile::TempDir;
use testkit::Database;
use uuid::Uuid;

const MIGRATIONS: EmbeddedMigrations = embed_migrations!("../../migrations/app");

/// The gateway's key here: the example of RFC 8037, which everybody knows.
const PRIVATE: &str = "-----BEGIN PRIVATE KEY-----
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

    pub(crate) async fn quantity(&self, product: &str) -> i64 {
        let id: Uuid = product.parse().unwrap();
        let mut conn = self.superuser().await;
        diesel::sql_query("SELECT quantity AS value FROM stock WHERE product_id = $1")
            .bind::<SqlUuid, _>(id)
            .get_result::<Number>(&mut conn)
            .await
            .unwrap()
            .value
    }

    pub(crate) async fn superuser(&self) -> AsyncPgConnection {
        database::dedicated(&self.database.superuser_url(), "test")
            .await
            .unwrap()
    }

    /// Everything that was stated, in the order in which it was.
    pub(crate) async fn facts(&self) -> Vec<Fact> {
        let mut conn = self.superuser().await;
        diesel::sql_query(
            "SELECT type AS kind, aggregate_id, aggregate_version, actor, payload FROM outbox ORDER BY id",
        )
        .load(&mut conn)
        .await
        .unwrap()
    }

    /// What was stated of one aggregate, as `kind@version`.
    pub(crate) async fn history(&self, id: &str) -> Vec<String> {
        let id: Uuid = id.parse().unwrap();
        let facts = self.facts().await;
        let of_it = facts.iter().filter(|fact| fact.aggregate_id == id);
        of_it
            .map(|fact| {
                format!(
                    "{}@{}",
                    fact.kind.trim_start_matches("plumbline."),
                    fact.aggregate_version
                )
            })
            .collect()
    }

    /// Panics unless each aggregate has one fact for each of its versions, in their order, and there are no others.
    pub(crate) async fn check_facts(&self) {
        let mut conn = self.superuser().await;
        let wrong: Vec<Wrong> = diesel::sql_query(
            "WITH row AS (
                 SELECT 'product' AS kind, id, version FROM product
                 UNION ALL SELECT 'stock', product_id, version FROM stock
                 UNION ALL SELECT 'customer', id, version FROM customer
                 UNION ALL SELECT 'order', id, version FROM orders
             ), fact AS (
                 SELECT aggregate_type AS kind, aggregate_id AS id,
                        array_agg(aggregate_version ORDER BY id) AS versions
                 FROM outbox GROUP BY 1, 2
             )
             SELECT concat_ws(' ', kind, id, version, versions::text) AS what
             FROM row FULL JOIN fact USING (kind, id)
             WHERE versions IS DISTINCT FROM ARRAY(SELECT generate_series(1, version))",
        )
        .load(&mut conn)
        .await
        .unwrap();
        assert!(wrong.is_empty(), "{wrong:?}");
    }

    /// Returns once a statement of the process waits for a lock.
    pub(crate) async fn wait_for_a_blocked_statement(&self) {
        self.wait_for_blocked_statements(1).await;
    }

    /// Returns once so many statements of the process wait for locks.
    pub(crate) async fn wait_for_blocked_statements(&self, count: i64) {
        let mut conn = self.superuser().await;
        testkit::eventually("statements wait for locks", async || {
            let waiting = "SELECT count(*) AS value FROM pg_stat_activity
                           WHERE datname = current_database() AND wait_event_type = 'Lock'";
            let waiting = diesel::sql_query(waiting)
                .get_result::<Number>(&mut conn)
                .await
                .unwrap();
            (waiting.value >= count).then_some(())
        })
        .await;
    }

    /// Sends SIGTERM.
    pub(crate) fn terminate(&self) {
        let pid = self.process.id().to_string();
        let sent = Command::new("kill").args(["-TERM", &pid]).status().unwrap();
        assert!(sent.success());
    }

    /// How the process ended.
    pub(crate) async fn ended(&mut self) -> ExitStatus {
        testkit::eventually("the process has ended", async || self.process.try_wait().unwrap()).await
    }
}

impl Drop for Shop {
    fn drop(&mut self) {
        // It may have ended already.
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}

#[derive(Debug, QueryableByName)]
pub(crate) struct Fact {
    #[diesel(sql_type = Text)]
    pub(crate) kind: String,
    #[diesel(sql_type = SqlUuid)]
    pub(crate) aggregate_id: Uuid,
    #[diesel(sql_type = BigInt)]
    pub(crate) aggregate_version: i64,
    #[diesel(sql_type = Text)]
    pub(crate) actor: String,
    #[diesel(sql_type = Binary)]
    payload: Vec<u8>,
}

impl Fact {
    pub(crate) fn payload(&self) -> Value {
        serde_json::from_slice(&self.payload).unwrap()
    }
}

#[derive(Debug, QueryableByName)]
struct Number {
    #[diesel(sql_type = BigInt)]
    value: i64,
}

#[derive(Debug, QueryableByName)]
struct Wrong {
    #[diesel(sql_type = Text)]
    #[expect(dead_code, reason = "shown by Debug")]
    what: String,
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

/// Sends it once.
pub(crate) async fn answer(request: reqwest::RequestBuilder) -> Reply {
    let response = request.send().await.unwrap();
    let (status, headers) = (response.status(), response.headers().clone());
    let text = response.text().await.unwrap();
    let body = serde_json::from_str(&text).unwrap_or(Value::String(text));
    Reply {
        status,
        headers,
        body,
    }
}

fn start(database: &Database, keys: &TempDir, settings: &[(String, String)]) -> Child {
    let redis = std::env::var("PLUMBLINE_TEST_REDIS").expect("run `cargo stack test`");
    Command::new(env!("CARGO_BIN_EXE_app-service"))
        .arg("serve")
        .env("HTTP_ADDR", "127.0.0.1:0")
        .env("ADMIN_ADDR", "127.0.0.1:0")
        .env("DATABASE_URL", database.runtime_url())
        .env("REDIS_URL", redis)
        // A busy machine must not make a miss of a hit.
        .env("REDIS_COMMAND_TIMEOUT", "20s")
        .env("KAFKA_BOOTSTRAP_SERVERS", "127.0.0.1:1")
        .env("ASSERTION_JWKS_FILE", keys.path().join("jwks.json"))
        .env("LOG_FORMAT", "json")
        .env("RUST_LOG", "info")
        .env("DRAIN_DELAY", "0s")
        .envs(settings.iter().map(|(name, value)| (name, value)))
        .stdout(Stdio::piped())
        .spawn()
        .unwrap()
}

/// Reads the log until the process says where it listens, and goes on reading, so that it never waits for a full pipe.
fn address(process: &mut Child) -> String {
    let output = BufReader::new(process.stdout.take().unwrap());
    let (sender, receiver) = mpsc::channel();
    std::thread::spawn(move || {
        for line in output.lines().map_while(Result::ok) {
            let event: Value = serde_json::from_str(&line).unwrap_or_default();
            if event["message"] == "serving HTTP" {
                let _ = sender.send(format!(
                    "http://{}",
                    event["address"].as_str().unwrap_or_default()
                ));
            }
            // Shown only when the test fails.
            println!("{line}");
        }
    });
    receiver
        .recv_timeout(Duration::from_secs(60))
        .expect("the process did not start")
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
