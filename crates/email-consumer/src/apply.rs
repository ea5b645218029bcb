//! From an event to the mail that it asks for.

use std::sync::Arc;

use consumer::{ApplyError, Handler, Record};
use diesel::prelude::*;
use diesel::upsert::excluded;
use diesel_async::{AsyncPgConnection, RunQueryDsl};
use events::{Customer, Event, Order};
use tokio::sync::Notify;
use uuid::Uuid;

use crate::delivery::{self, NewDelivery};
use crate::event::Fact;
use crate::schema::customer;
use crate::templates::Template;

/// Keeps the addresses of customers and writes a delivery for every event that asks for a mail.
pub struct Mailings {
    wake: Arc<Notify>,
}

impl Mailings {
    /// `wake` is notified when there may be something to send.
    pub fn new(wake: Arc<Notify>) -> Mailings {
        Mailings { wake }
    }
}

impl Handler for Mailings {
    type Event = Fact;

    async fn apply_in_txn(
        &self,
        conn: &mut AsyncPgConnection,
        batch: &[Record<Fact>],
    ) -> Result<(), ApplyError> {
        for Record { event: fact, .. } in batch {
            match &fact.event {
                Event::CustomerRegistered(customer) => {
                    keep_in_txn(conn, customer).await?;
                    let to = Some((customer.email.clone(), customer.name.clone()));
                    write_in_txn(conn, fact, customer.id, to, &Template::Welcome).await?;
                }
                Event::CustomerRestated(customer) => keep_in_txn(conn, customer).await?,
                Event::OrderPlaced(order) => {
                    write_about_in_txn(conn, fact, order, &Template::order_confirmation(order)).await?;
                }
                Event::OrderShipped(order) => {
                    write_about_in_txn(conn, fact, order, &Template::order_shipped(order)).await?;
                }
                Event::OrderCancelled(order) => {
                    write_about_in_txn(conn, fact, order, &Template::order_cancelled(order)).await?;
                }
                // A state that is restated is nobody's news.
                Event::OrderRestated(_)
                | Event::ProductRestated(_)
                | Event::StockRestated(_)
                | Event::ProductCreated(_)
                | Event::ProductChanged { .. }
                | Event::ProductDiscontinued { .. }
                | Event::StockAdjusted { .. }
                | Event::OrderPaid(_) => {}
            }
        }
        Ok(())
    }

    fn committed(&self) {
        self.wake.notify_one();
    }
}

async fn keep_in_txn(conn: &mut AsyncPgConnection, known: &Customer) -> QueryResult<()> {
    // For `DO UPDATE … WHERE`; elsewhere its name collides with the one of queries.
    use diesel::query_dsl::methods::FilterDsl as _;

    diesel::insert_into(customer::table)
        .values((
            customer::id.eq(known.id),
            customer::email.eq(&known.email),
            customer::name.eq(&known.name),
            customer::version.eq(known.version),
        ))
        .on_conflict(customer::id)
        .do_update()
        .set((
            customer::email.eq(excluded(customer::email)),
            customer::name.eq(excluded(customer::name)),
            customer::version.eq(excluded(customer::version)),
        ))
        .filter(customer::version.lt(excluded(customer::version)))
        .execute(conn)
        .await?;
    Ok(())
}

/// Address and name, if the customer's event has been here. If not, the mail waits: customers and orders are different topics, so
/// an order can arrive first.
async fn known_in_txn(conn: &mut AsyncPgConnection, id: Uuid) -> QueryResult<Option<(String, String)>> {
    customer::table
        .find(id)
        .select((customer::email, customer::name))
        .first(conn)
        .await
        .optional()
}

/// To the customer whose order it is.
async fn write_about_in_txn(
    conn: &mut AsyncPgConnection,
    fact: &Fact,
    order: &Order,
    template: &Template,
) -> Result<(), ApplyError> {
    let to = known_in_txn(conn, order.customer_id).await?;
    write_in_txn(conn, fact, order.customer_id, to, template).await
}

async fn write_in_txn(
    conn: &mut AsyncPgConnection,
    fact: &Fact,
    customer_id: Uuid,
    to: Option<(String, String)>,
    template: &Template,
) -> Result<(), ApplyError> {
    let (recipient, recipient_name) = to.unzip();
    delivery::insert_in_txn(
        conn,
        &NewDelivery {
            event_id: fact.id,
            template: template.name(),
            params: template.params()?,
            customer_id,
            recipient,
            recipient_name,
            // The same for every attempt, so that a reader's mail program can tell a repetition.
            message_id: Uuid::new_v5(&fact.id, template.name().as_bytes()),
            traceparent: fact.traceparent.clone(),
        },
    )
    .await?;
    Ok(())
}
