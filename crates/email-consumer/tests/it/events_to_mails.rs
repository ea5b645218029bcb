//! From records to deliveries, through the broker.

use std::sync::Arc;
use std::time::Duration;

use consumer::{Consumer, ConsumerArgs};
use email_consumer::{Mailings, Sender};
use envelope::{Envelope, Scratch};
use events::{Customer, Order, OrderLine, OrderStatus};
use serde::Serialize;
use testkit::Database;
use time::OffsetDateTime;
use tokio::sync::{Notify, oneshot};
use tokio::task::JoinHandle;
use uuid::Uuid;

use crate::deliveries::{Delivery, database, deliveries, execute, until_all};
use crate::mail_server::MailServer;

const TRACE: &str = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01";

struct Process {
    stop: oneshot::Sender<()>,
    consuming: JoinHandle<anyhow::Result<()>>,
}

impl Process {
    fn start(database: &Database, topic: &str, wake: Arc<Notify>) -> Process {
        let args = ConsumerArgs {
            kafka: testkit::kafka_args(),
            group_id: topic.to_owned(),
            session_timeout: Duration::from_secs(6),
        };
        let (stop, stopped) = oneshot::channel::<()>();
        let consumer = Consumer::new(&args, database.pool(), &[topic], Mailings::new(wake));
        let consuming = tokio::spawn(consumer.run(
            async {
                let _ = stopped.await;
            },
            |_| {},
        ));
        Process { stop, consuming }
    }

    async fn stop(self) {
        self.stop.send(()).unwrap();
        self.consuming.await.unwrap().unwrap();
    }
}

fn customer(n: u128) -> Customer {
    Customer {
        id: Uuid::from_u128(n),
        principal: format!("main:{n}"),
        email: format!("customer-{n}@example.com"),
        name: format!("Customer {n}"),
        version: 1,
    }
}

fn order(n: u128, customer_id: Uuid) -> Order {
    Order {
        id: Uuid::from_u128(n),
        customer_id,
        status: OrderStatus::Placed,
        currency: "EUR".to_owned(),
        total_minor: 2_100,
        lines: vec![OrderLine {
            product_id: Uuid::from_u128(8),
            quantity: 2,
            unit_price_minor: 1_050,
        }],
        placed_at: OffsetDateTime::UNIX_EPOCH,
        paid_at: None,
        shipped_at: None,
        cancelled_at: None,
        reason: None,
        version: 1,
    }
}

async fn publish(topic: &str, event_id: u128, kind: &str, aggregate: (&str, Uuid), state: &impl Serialize) {
    let envelope = Envelope {
        id: Uuid::from_u128(event_id),
        source: "test",
        kind,
        schema_version: 1,
        aggregate_type: aggregate.0,
        aggregate_id: aggregate.1,
        aggregate_version: 1,
        actor: "main:ada",
        time: OffsetDateTime::UNIX_EPOCH,
        traceparent: Some(TRACE),
    };
    let mut headers: Vec<(&str, Vec<u8>)> = Vec::new();
    envelope.write_headers(&mut Scratch::default(), |name, value| {
        headers.push((name, value.as_bytes().to_vec()))
    });
    let headers: Vec<(&str, &[u8])> = headers
        .iter()
        .map(|(name, value)| (*name, value.as_slice()))
        .collect();
    let payload = serde_json::to_vec(state).unwrap();
    testkit::produce(topic, aggregate.1.to_string(), &headers, payload, Some(0)).await;
}

async fn registered(topic: &str, event_id: u128, customer: &Customer) {
    publish(
        topic,
        event_id,
        "plumbline.customer.registered",
        ("customer", customer.id),
        customer,
    )
    .await;
}

async fn placed(topic: &str, event_id: u128, order: &Order) {
    publish(
        topic,
        event_id,
        "plumbline.order.placed",
        ("order", order.id),
        order,
    )
    .await;
}

/// Another state of the order.
async fn became(topic: &str, event_id: u128, kind: &str, order: &Order) {
    publish(topic, event_id, kind, ("order", order.id), order).await;
}

async fn until_count(database: &Database, count: usize) -> Vec<Delivery> {
    testkit::eventually(&format!("there are {count} deliveries"), async || {
        let deliveries = deliveries(database).await;
        (deliveries.len() == count).then_some(deliveries)
    })
    .await
}

#[tokio::test(flavor = "multi_thread")]
async fn an_event_leads_to_one_mail_however_often_the_log_holds_it() {
    let (database, topic) = (database().await, testkit::topic("mails", 1).await);
    let server = MailServer::start(&[]);
    let wake = Arc::new(Notify::new());
    let process = Process::start(&database, &topic, wake.clone());
    let sending =
        tokio::spawn(Sender::new(database.pool(), &server.args(), wake).run(std::future::pending()));

    let (ada, bob) = (customer(1), customer(2));
    registered(&topic, 10, &ada).await;
    placed(&topic, 11, &order(100, ada.id)).await;
    registered(&topic, 10, &ada).await;
    placed(&topic, 11, &order(100, ada.id)).await;
    became(&topic, 12, "plumbline.order.paid", &order(100, ada.id)).await;
    registered(&topic, 13, &bob).await;
    became(&topic, 14, "plumbline.order.shipped", &order(100, ada.id)).await;
    placed(&topic, 15, &order(101, bob.id)).await;
    for _ in 0..2 {
        became(&topic, 16, "plumbline.order.cancelled", &order(101, bob.id)).await;
    }

    until_count(&database, 6).await;
    let sent = until_all(&database, "sent").await;
    process.stop().await;
    sending.abort();

    let rows: Vec<(u128, &str, Option<&str>)> = sent
        .iter()
        .map(|d| (d.event_id.as_u128(), d.template.as_str(), d.recipient.as_deref()))
        .collect();
    assert_eq!(
        rows,
        [
            (10, "welcome", Some("customer-1@example.com")),
            (11, "order_confirmation", Some("customer-1@example.com")),
            (13, "welcome", Some("customer-2@example.com")),
            (14, "order_shipped", Some("customer-1@example.com")),
            (15, "order_confirmation", Some("customer-2@example.com")),
            (16, "order_cancelled", Some("customer-2@example.com")),
        ]
    );
    let received = server.received();
    assert_eq!(received.len(), 6);
    for delivery in &sent {
        assert_eq!(
            delivery.message_id,
            Uuid::new_v5(&delivery.event_id, delivery.template.as_bytes())
        );
        let id = format!("<{}@plumbline.localhost>", delivery.message_id);
        let mail = received
            .iter()
            .find(|mail| mail.header("Message-ID") == id)
            .unwrap();
        assert_eq!(mail.to, [delivery.recipient.clone().unwrap()]);
        assert_eq!(
            mail.text.contains("21.00 EUR"),
            delivery.template == "order_confirmation"
        );
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_mail_to_an_unknown_customer_waits_for_that_customer() {
    let (database, topic) = (database().await, testkit::topic("unknown", 1).await);
    let server = MailServer::start(&[]);
    let wake = Arc::new(Notify::new());
    let process = Process::start(&database, &topic, wake.clone());
    let sending =
        tokio::spawn(Sender::new(database.pool(), &server.args(), wake).run(std::future::pending()));

    let ada = customer(1);
    placed(&topic, 11, &order(100, ada.id)).await;
    let waiting = until_count(&database, 1).await;
    assert_eq!(
        (waiting[0].recipient.as_deref(), waiting[0].state.as_str()),
        (None, "pending")
    );

    registered(&topic, 12, &ada).await;
    until_count(&database, 2).await;
    let sent = until_all(&database, "sent").await;
    assert!(
        sent.iter()
            .all(|delivery| delivery.recipient.as_deref() == Some("customer-1@example.com"))
    );
    assert_eq!(server.received().len(), 2);
    process.stop().await;
    sending.abort();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_mail_whose_customer_never_comes_is_given_up_after_a_day() {
    let (database, topic) = (database().await, testkit::topic("never", 1).await);
    let server = MailServer::start(&[]);
    let process = Process::start(&database, &topic, Arc::default());
    placed(&topic, 11, &order(100, Uuid::from_u128(1))).await;
    until_count(&database, 1).await;
    execute(
        &database,
        "UPDATE email_delivery SET created_at = clock_timestamp() - interval '25 h'",
    )
    .await;

    let sending = tokio::spawn(
        Sender::new(database.pool(), &server.args(), Arc::default()).run(std::future::pending()),
    );
    let failed = until_all(&database, "failed").await;
    assert_eq!(
        failed[0].error.as_deref(),
        Some("the customer never became known")
    );
    process.stop().await;
    sending.abort();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_delivery_remembers_the_trace_of_its_event() {
    use diesel_async::RunQueryDsl as _;
    #[derive(diesel::QueryableByName)]
    struct Row {
        #[diesel(sql_type = diesel::sql_types::Nullable<diesel::sql_types::Text>)]
        traceparent: Option<String>,
    }
    let (database, topic) = (database().await, testkit::topic("trace", 1).await);
    let process = Process::start(&database, &topic, Arc::default());
    registered(&topic, 10, &customer(1)).await;
    until_count(&database, 1).await;
    let row: Row = diesel::sql_query("SELECT traceparent FROM email_delivery")
        .get_result(&mut database.connect().await)
        .await
        .unwrap();
    assert_eq!(row.traceparent.as_deref(), Some(TRACE));
    process.stop().await;
}
