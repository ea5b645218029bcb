//! Every endpoint of app-service under load, asked as the gateway asks, and an order against its floor: pgbench running the same SQL on
//! the same server. Sender, app-service and servers share one machine, so only ratios mean something elsewhere.

mod order_path;
pub(crate) mod people;
mod report;
mod round;

use std::sync::Arc;

use anyhow::Context as _;
use serde_json::json;

use crate::Arena;
use crate::benches::signer::Signer;
pub(crate) use order_path::OrderPath;
use people::Person;
pub(crate) use report::OrderSample;
use report::Sample;
pub use report::{Endpoint, Report};
use round::{Request, Round, Target};

/// How much is sent.
#[derive(Clone, Copy, Debug, clap::Args)]
pub struct Plan {
    /// Connections, each with one request at a time
    #[arg(long, value_name = "N", default_value_t = 64, value_parser = clap::value_parser!(u16).range(1..=1_000))]
    pub connections: u16,
    /// Requests of each reading endpoint in a round
    #[arg(long, value_name = "N", default_value_t = 10_000, value_parser = clap::value_parser!(u32).range(100..=1_000_000))]
    pub reads: u32,
    /// Requests of each writing endpoint in a round
    #[arg(long, value_name = "N", default_value_t = 2_000, value_parser = clap::value_parser!(u32).range(100..=100_000))]
    pub writes: u32,
    /// Rounds; the result is their median
    #[arg(long, value_name = "N", default_value_t = 5, value_parser = clap::value_parser!(u32).range(1..=100))]
    pub rounds: u32,
    /// How long pgbench runs in a round, in seconds
    #[arg(long, value_name = "SECONDS", default_value_t = 5, value_parser = clap::value_parser!(u32).range(1..=600))]
    pub floor_seconds: u32,
}

/// Products on sale, and those that are read.
const PRODUCTS: usize = 100;
const HOT: usize = 20;
const CUSTOMERS: usize = 64;

/// What the processes must be told for this benchmark: with more connections than may wait for the database, it would measure how
/// fast requests are refused.
pub fn environment() -> Vec<(String, String)> {
    vec![("DB_MAX_WAITING".to_owned(), "1000".to_owned())]
}

/// Measures on a stack whose app-service is up and was told [`environment`].
///
/// # Errors
/// With the figures, when an endpoint had answers that were not success.
pub async fn run(arena: &Arena, plan: Plan) -> anyhow::Result<Report> {
    let bench = Bench::open(arena, plan).await?;
    let path = OrderPath::prepare(&bench, arena).await?;
    let mut report = Report::new(plan);
    // The first round warms connections, caches and plans up.
    for number in 0..=plan.rounds {
        tracing::info!("round {number} of {}", plan.rounds);
        let samples = bench.round(number).await?;
        let order = path.measure(&bench, number).await?;
        if number > 0 {
            report.add(samples, order);
        }
    }
    report.judged()
}

pub(crate) struct Bench {
    plan: Plan,
    target: Arc<Target>,
    signer: Signer,
    shop: Shop,
}

fn target(arena: &Arena) -> anyhow::Result<Arc<Target>> {
    let (url, pid) = (
        arena.stack.http_url("app-service", 1)?,
        arena.stack.pid("app-service", 1)?,
    );
    Ok(Arc::new(Target::new(url, pid)?))
}

/// What is there before the first round.
struct Shop {
    products: Vec<String>,
    customers: Vec<Buyer>,
}

struct Buyer {
    name: String,
    id: String,
}

impl Shop {
    async fn open(target: &Arc<Target>, signer: &Signer) -> anyhow::Result<Shop> {
        let staff = Person::staff(signer)?;
        let products = (0..PRODUCTS)
            .map(|number| {
                staff.post(
                    "/v1/products".to_owned(),
                    &people::product(&format!("lab-{number}")),
                )
            })
            .collect();
        let products = target.round(products, 1).await?.ids()?;
        let names: Vec<String> = (0..CUSTOMERS)
            .map(|number| format!("lab-buyer-{number}"))
            .collect();
        let customers = registrations(signer, &names)?;
        let customers = target.round(customers, 1).await?.ids()?;
        Ok(Shop {
            products,
            customers: names
                .into_iter()
                .zip(customers)
                .map(|(name, id)| Buyer { name, id })
                .collect(),
        })
    }
}

fn registrations(signer: &Signer, names: &[String]) -> anyhow::Result<Vec<Request>> {
    let registration = |name: &String| {
        Ok(Person::customer(signer, name)?.post("/v1/customers".to_owned(), &json!({"name": "Ada"})))
    };
    names.iter().map(registration).collect()
}

impl Bench {
    /// Opens a shop at app-service.
    pub(crate) async fn open(arena: &Arena, plan: Plan) -> anyhow::Result<Bench> {
        let (target, signer) = (target(arena)?, Signer::of(arena.folder.path())?);
        let shop = Shop::open(&target, &signer)
            .await
            .context("cannot open the shop")?;
        Ok(Bench {
            plan,
            target,
            signer,
            shop,
        })
    }

    /// app-service was started again.
    pub(crate) fn follow(&mut self, arena: &Arena) -> anyhow::Result<()> {
        self.target = target(arena)?;
        Ok(())
    }

    /// Every endpoint once. Later ones use what earlier ones made, so that each request succeeds.
    async fn round(&self, number: u32) -> anyhow::Result<Vec<Sample>> {
        let mut samples = Samples {
            bench: self,
            taken: Vec::new(),
        };
        samples.customers(number).await?;
        samples.products(number).await?;
        samples.orders().await?;
        Ok(samples.taken)
    }

    /// Those who buy. Their assertions hold for a minute.
    fn buyers(&self) -> anyhow::Result<Vec<Person>> {
        let buyers = self.shop.customers.iter();
        buyers
            .map(|buyer| Person::customer(&self.signer, &buyer.name))
            .collect()
    }

    /// Orders of all customers in turn.
    fn orders(&self, buyers: &[Person], count: u32) -> Vec<Request> {
        (0..count as usize)
            .map(|number| {
                buyers[number % buyers.len()].post(
                    "/v1/orders".to_owned(),
                    &people::order(&self.shop.products, number),
                )
            })
            .collect()
    }
}

struct Samples<'a> {
    bench: &'a Bench,
    taken: Vec<Sample>,
}

impl Samples<'_> {
    async fn customers(&mut self, round: u32) -> anyhow::Result<()> {
        let bench = self.bench;
        let names: Vec<String> = (0..bench.plan.writes)
            .map(|number| format!("lab-{round}-{number}"))
            .collect();
        self.take("POST /v1/customers", registrations(&bench.signer, &names)?)
            .await?;
        let (buyers, customers) = (bench.buyers()?, &bench.shop.customers);
        let read = |path: &dyn Fn(&Buyer) -> String| {
            (0..bench.plan.reads as usize)
                .map(|number| number % customers.len())
                .map(|number| buyers[number].get(path(&customers[number])))
                .collect()
        };
        self.take(
            "GET /v1/customers/{id}",
            read(&|buyer| format!("/v1/customers/{}", buyer.id)),
        )
        .await?;
        self.take(
            "GET /v1/customers/{id}/orders",
            read(&|buyer| format!("/v1/customers/{}/orders", buyer.id)),
        )
        .await?;
        Ok(())
    }

    async fn products(&mut self, round: u32) -> anyhow::Result<()> {
        let bench = self.bench;
        let staff = Person::staff(&bench.signer)?;
        let made = (0..bench.plan.writes)
            .map(|number| {
                staff.post(
                    "/v1/products".to_owned(),
                    &people::product(&format!("lab-{round}-{number}")),
                )
            })
            .collect();
        let made = self.take("POST /v1/products", made).await?.ids()?;
        let each = |request: &dyn Fn(&str) -> Request| made.iter().map(|id| request(id)).collect();
        let edit = json!({"price_minor": 990});
        self.take(
            "PATCH /v1/products/{id}",
            each(&|id| staff.patch_first(format!("/v1/products/{id}"), &edit)),
        )
        .await?;
        let adjustment = json!({"delta": 5});
        self.take(
            "POST /v1/products/{id}/stock-adjustments",
            each(&|id| staff.post(format!("/v1/products/{id}/stock-adjustments"), &adjustment)),
        )
        .await?;
        let hot = &bench.shop.products[..HOT];
        let read = |path: &dyn Fn(&str) -> String| {
            (0..bench.plan.reads as usize)
                .map(|number| staff.get(path(&hot[number % hot.len()])))
                .collect()
        };
        self.take("GET /v1/products", read(&|_| "/v1/products?limit=20".to_owned()))
            .await?;
        self.take("GET /v1/products/{id}", read(&|id| format!("/v1/products/{id}")))
            .await?;
        self.take(
            "GET /v1/products/{id}/stock",
            read(&|id| format!("/v1/products/{id}/stock")),
        )
        .await?;
        Ok(())
    }

    async fn orders(&mut self) -> anyhow::Result<()> {
        let bench = self.bench;
        let (buyers, staff) = (bench.buyers()?, Person::staff(&bench.signer)?);
        let placed = bench.orders(&buyers, bench.plan.writes);
        let placed = self.take("POST /v1/orders", placed).await?.ids()?;
        let reads = (0..bench.plan.reads as usize)
            .map(|number| staff.get(format!("/v1/orders/{}", placed[number % placed.len()])))
            .collect();
        self.take("GET /v1/orders/{id}", reads).await?;
        let act = |ids: &[String], what: &str| {
            ids.iter()
                .map(|id| staff.post(format!("/v1/orders/{id}/{what}"), &json!({})))
                .collect()
        };
        self.take("POST /v1/orders/{id}/payment", act(&placed, "payment"))
            .await?;
        let (shipped, cancelled) = placed.split_at(placed.len() / 2);
        self.take("POST /v1/orders/{id}/shipment", act(shipped, "shipment"))
            .await?;
        self.take(
            "POST /v1/orders/{id}/cancellation",
            act(cancelled, "cancellation"),
        )
        .await?;
        Ok(())
    }

    /// Sends the requests and keeps what they took.
    async fn take(&mut self, name: &'static str, requests: Vec<Request>) -> anyhow::Result<Round> {
        let connections = usize::from(self.bench.plan.connections);
        let round = self
            .bench
            .target
            .round(requests, connections)
            .await
            .with_context(|| name)?;
        self.taken.push(Sample::of(name, &round));
        Ok(round)
    }
}
