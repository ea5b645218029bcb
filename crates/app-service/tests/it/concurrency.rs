//! Many at once: nothing is sold twice or gets lost, and nobody waits for each other.

use std::collections::BTreeMap;
use std::sync::Mutex;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Instant;

use diesel::QueryableByName;
use diesel::sql_types::{BigInt, Uuid as SqlUuid};
use diesel_async::{AsyncPgConnection, RunQueryDsl as _, SimpleAsyncConnection as _};
use futures_util::future::join_all;
use identity::Caller;
use reqwest::StatusCode;
use serde_json::{Value, json};
use tokio::sync::Barrier;
use uuid::Uuid;

use crate::shop::{Reply, Shop, cashier, fulfilment, merchandiser, number, shopper};
use crate::wrong::read_then_write;

#[derive(QueryableByName)]
struct Goods {
    #[diesel(sql_type = SqlUuid)]
    product: Uuid,
    #[diesel(sql_type = BigInt)]
    in_stock: i64,
    #[diesel(sql_type = BigInt)]
    sold: i64,
}

/// The products of which there are now more or fewer than ever came in: what is in stock, and what orders hold that
/// are not cancelled.
async fn unbalanced(conn: &mut AsyncPgConnection, came_in: &BTreeMap<Uuid, i64>) -> Vec<String> {
    let goods: Vec<Goods> = diesel::sql_query(
        "SELECT stock.product_id AS product, stock.quantity AS in_stock, coalesce(sum(sold.quantity), 0)::bigint AS sold
         FROM stock LEFT JOIN (
             SELECT product_id, quantity FROM order_line JOIN orders ON orders.id = order_id WHERE status <> 'cancelled'
         ) AS sold USING (product_id)
         GROUP BY 1, 2",
    )
    .load(conn)
    .await
    .unwrap();
    assert_eq!(goods.len(), came_in.len());
    let wrong = goods
        .iter()
        .filter(|goods| goods.in_stock < 0 || goods.in_stock + goods.sold != came_in[&goods.product]);
    wrong
        .map(|goods| {
            format!(
                "{}: {} came in, {} are in stock and {} sold",
                goods.product, came_in[&goods.product], goods.in_stock, goods.sold
            )
        })
        .collect()
}

/// Deadlocks that the server had to resolve in the shop's database. Sessions report theirs when they end at the latest.
async fn deadlocks(shop: &Shop) -> i64 {
    let mut conn = shop.superuser().await;
    let counted = "SELECT deadlocks AS value FROM pg_stat_database WHERE datname = current_database()";
    number(&mut conn, counted).await
}

/// Orders that the mixed load asks for at least; whether there is stock for one is a part of the mix.
const ORDERS: u64 = 10_000;
/// How many requests it sends, of which 22 in 32 ask for an order, and how many of them at once.
const STEPS: u64 = 15_000;
const AT_ONCE: usize = 16;
const PRODUCTS: usize = 6;

/// Well mixed bits of `n` (SplitMix64, Steele, Lea and Flood 2014), so that a run is the same each time as far as its
/// requests go.
fn mixed(n: u64) -> u64 {
    let mut z = n.wrapping_add(1).wrapping_mul(0x9e37_79b9_7f4a_7c15);
    z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    z ^ (z >> 31)
}

/// Customers, operators and what they did.
struct Mixed<'s> {
    shop: &'s Shop,
    customers: Vec<Caller>,
    products: Vec<String>,
    came_in: Mutex<BTreeMap<Uuid, i64>>,
    orders: Mutex<Vec<(usize, String)>>,
    next: AtomicU64,
    answers: Mutex<BTreeMap<String, u64>>,
}

impl Mixed<'_> {
    async fn work(&self) {
        loop {
            let n = self.next.fetch_add(1, Ordering::Relaxed);
            if n >= STEPS {
                return;
            }
            let bits = mixed(n);
            let (what, reply) = match bits % 32 {
                0..=21 => ("place", self.place(bits >> 8).await),
                22..=25 => ("pay", self.step("payment", cashier(), bits >> 8).await),
                26 => ("ship", self.step("shipment", fulfilment(), bits >> 8).await),
                27 | 28 => ("cancel", self.step("cancellation", fulfilment(), bits >> 8).await),
                29 => ("adjust", self.adjust(bits >> 8).await),
                _ => ("edit", self.edit(bits >> 8).await),
            };
            // Refused because of the state of things, which others change all the time.
            let fine = reply.status.is_success() || reply.status == StatusCode::CONFLICT;
            assert!(fine, "{what}: {} {}", reply.status, reply.body);
            let answer = format!("{what} {}", reply.status.as_u16());
            *self.answers.lock().unwrap().entry(answer).or_default() += 1;
        }
    }

    /// One to three products, in any order.
    async fn place(&self, bits: u64) -> Reply {
        let customer = bits as usize % self.customers.len();
        let (first, step) = ((bits >> 8) as usize, (bits >> 16) as usize);
        let lines: Vec<(&str, i64)> = (0..1 + step % 3)
            .map(|line| {
                let product = (first + line * (1 + step % 2) * 5) % PRODUCTS;
                (self.products[product].as_str(), 1 + (first % 3) as i64)
            })
            .collect();
        let reply = self.shop.order(&self.customers[customer], &lines).await;
        if reply.status == StatusCode::CREATED {
            self.orders.lock().unwrap().push((customer, reply.id()));
        }
        reply
    }

    /// Of one of the latest orders.
    async fn step(&self, step: &str, by: Caller, bits: u64) -> Reply {
        let order = {
            let orders = self.orders.lock().unwrap();
            let latest = &orders[orders.len().saturating_sub(64)..];
            latest.get(bits as usize % latest.len().max(1)).cloned()
        };
        let Some((customer, order)) = order else {
            return self.place(bits).await;
        };
        // Half of the cancellations are the customer's.
        let by = if step == "cancellation" && bits & (1 << 20) == 0 {
            self.customers[customer].clone()
        } else {
            by
        };
        let path = format!("/v1/orders/{order}/{step}");
        self.shop.post(&by, &path, json!({})).await
    }

    async fn adjust(&self, bits: u64) -> Reply {
        let product = &self.products[bits as usize % PRODUCTS];
        let delta = [-3, 5, 20][(bits >> 8) as usize % 3];
        let path = format!("/v1/products/{product}/stock-adjustments");
        let reply = self
            .shop
            .post(&merchandiser(), &path, json!({"delta": delta}))
            .await;
        if reply.status == StatusCode::OK {
            let id = product.parse().unwrap();
            *self.came_in.lock().unwrap().entry(id).or_default() += delta;
        }
        reply
    }

    async fn edit(&self, bits: u64) -> Reply {
        let path = format!("/v1/products/{}", self.products[bits as usize % PRODUCTS]);
        let body = json!({"price_minor": 1_000 + bits % 100});
        self.shop.patch(&merchandiser(), &path, body).await
    }
}

fn with_status(answers: &BTreeMap<String, u64>, status: &str) -> impl Iterator<Item = u64> {
    let answers = answers.iter().filter(move |(answer, _)| answer.ends_with(status));
    answers.map(|(_, count)| *count)
}

#[tokio::test(flavor = "multi_thread")]
async fn ten_thousand_mixed_orders_neither_oversell_nor_lose_goods_nor_deadlock() {
    let mut shop = Shop::open_with(&[("ORDER_EXPIRY", "1s"), ("RUST_LOG", "warn,chassis=info")]).await;
    let began = Instant::now();
    let mut customers = Vec::new();
    for index in 0..8 {
        let customer = shopper(&format!("customer-{index}"));
        shop.register(&customer).await;
        customers.push(customer);
    }
    let mut products = Vec::new();
    for index in 0..PRODUCTS {
        // Some are always scarce, so that they sell out and come back.
        let quantity = if index % 2 == 0 { 5 } else { 2_000 };
        products.push((shop.product(quantity, json!({})).await, quantity));
    }
    let came_in = products
        .iter()
        .map(|(id, quantity)| (id.parse().unwrap(), *quantity));
    let mixed = Mixed {
        shop: &shop,
        customers,
        came_in: Mutex::new(came_in.collect()),
        products: products.into_iter().map(|(id, _)| id).collect(),
        orders: Mutex::default(),
        next: AtomicU64::new(0),
        answers: Mutex::default(),
    };
    join_all((0..AT_ONCE).map(|_| mixed.work())).await;
    let answers = mixed.answers.into_inner().unwrap();
    println!("{STEPS} requests in {:?}: {answers:?}", began.elapsed());
    let placed: u64 = with_status(&answers, "201").sum();
    let changed: u64 = with_status(&answers, "200").sum();
    let refused: u64 = with_status(&answers, "409").sum();
    assert_eq!(placed + changed + refused, STEPS);
    let asked_for = answers.iter().filter(|(answer, _)| answer.starts_with("place"));
    assert!(asked_for.map(|(_, count)| *count).sum::<u64>() >= ORDERS);
    assert!(
        placed > STEPS / 5 && changed > STEPS / 10,
        "{placed} orders were placed, {changed} other changes made"
    );

    let came_in = mixed.came_in.into_inner().unwrap();
    shop.terminate();
    assert_eq!(shop.ended().await.code(), Some(0));
    let mut conn = shop.superuser().await;
    assert_eq!(unbalanced(&mut conn, &came_in).await, Vec::<String>::new());
    assert_eq!(deadlocks(&shop).await, 0);
    let expired = "SELECT count(*) AS value FROM orders WHERE reason = 'expired'";
    assert!(number(&mut conn, expired).await > 0, "the job took part");
    shop.check_facts().await;
}

#[tokio::test]
async fn the_last_item_is_sold_once() {
    let shop = Shop::open().await;
    let ada = shopper("ada");
    shop.register(&ada).await;
    let mut came_in = BTreeMap::new();
    for _ in 0..8 {
        let mug = shop.product(1, json!({})).await;
        came_in.insert(mug.parse().unwrap(), 1);
        let replies = join_all((0..16).map(async |_| shop.order(&ada, &[(&mug, 1)]).await)).await;
        let with = |status| replies.iter().filter(|reply| reply.status == status).count();
        let (sold, refused) = (with(StatusCode::CREATED), with(StatusCode::CONFLICT));
        assert_eq!((sold, refused), (1, 15), "{replies:?}");
    }
    let mut conn = shop.superuser().await;
    assert_eq!(unbalanced(&mut conn, &came_in).await, Vec::<String>::new());
    shop.check_facts().await;
}

#[tokio::test]
async fn goods_that_are_taken_by_reading_and_then_writing_are_found_oversold() {
    let shop = Shop::open().await;
    let ada = shopper("ada");
    let customer = shop.register(&ada).await;
    let mug = shop.product(1, json!({})).await;
    let came_in = BTreeMap::from([(mug.parse().unwrap(), 1)]);
    let mut conn = shop.superuser().await;
    assert_eq!(unbalanced(&mut conn, &came_in).await, Vec::<String>::new());

    let orders: Vec<String> = (0..2).map(|_| Uuid::now_v7().to_string()).collect();
    for order in &orders {
        let row = format!(
            "INSERT INTO orders VALUES ('{order}', '{customer}', 'placed', 'EUR', 100, now(), NULL, NULL, NULL, 1)"
        );
        conn.batch_execute(&row).await.unwrap();
    }
    let everybody = Barrier::new(orders.len());
    let sell = async |order: &String| {
        let conn = shop.superuser().await;
        read_then_write::sell(conn, &mug, order, &everybody).await;
    };
    join_all(orders.iter().map(sell)).await;
    assert_eq!(
        unbalanced(&mut conn, &came_in).await,
        [format!("{mug}: 1 came in, 0 are in stock and 2 sold")]
    );
}

#[tokio::test]
async fn a_deadlock_would_be_counted() {
    let shop = Shop::open().await;
    let products = [shop.product(1, json!({})).await, shop.product(1, json!({})).await];
    let both = Barrier::new(2);
    // Each has what the other one wants.
    let lock = async |first: &Value, second: &Value| {
        let mut conn = shop.superuser().await;
        let lock = |id: &Value| {
            format!(
                "SELECT FROM stock WHERE product_id = '{}' FOR UPDATE",
                id.as_str().unwrap()
            )
        };
        conn.batch_execute(&format!("BEGIN; {}", lock(first)))
            .await
            .unwrap();
        both.wait().await;
        // One of the two is refused.
        let _ = conn.batch_execute(&lock(second)).await;
    };
    let [a, b] = products.map(Value::from);
    tokio::join!(lock(&a, &b), lock(&b, &a));
    let counted = testkit::eventually("the deadlock is counted", async || {
        Some(deadlocks(&shop).await).filter(|counted| *counted > 0)
    });
    assert_eq!(counted.await, 1);
}
