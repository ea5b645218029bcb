//! The states of a delivery, one function per transition; `migrations/email` says what each state means.
//!
//! Every transition after the claim names the claim's epoch and reports whether it still held. Time is the database's.

use diesel::prelude::*;
use diesel::sql_types::{Array, BigInt, Double, Int4, Jsonb, Nullable, Text, Uuid as SqlUuid};
use diesel_async::{AsyncPgConnection, RunQueryDsl};
use serde_json::Value;
use uuid::Uuid;

use crate::schema::email_delivery;

#[derive(Insertable)]
#[diesel(table_name = email_delivery)]
pub(crate) struct NewDelivery {
    pub(crate) event_id: Uuid,
    pub(crate) template: &'static str,
    pub(crate) params: Value,
    pub(crate) customer_id: Uuid,
    pub(crate) recipient: Option<String>,
    pub(crate) recipient_name: Option<String>,
    pub(crate) message_id: Uuid,
    pub(crate) traceparent: Option<String>,
}

/// A delivery in the hands of this sender, until its lease ends.
#[derive(Debug, QueryableByName)]
pub(crate) struct Claim {
    #[diesel(sql_type = BigInt)]
    pub(crate) id: i64,
    #[diesel(sql_type = BigInt)]
    pub(crate) epoch: i64,
    /// This attempt included.
    #[diesel(sql_type = Int4)]
    pub(crate) attempts: i32,
    #[diesel(sql_type = SqlUuid)]
    pub(crate) event_id: Uuid,
    #[diesel(sql_type = Text)]
    pub(crate) template: String,
    #[diesel(sql_type = Jsonb)]
    pub(crate) params: Value,
    #[diesel(sql_type = Text)]
    pub(crate) recipient: String,
    #[diesel(sql_type = Text)]
    pub(crate) recipient_name: String,
    #[diesel(sql_type = SqlUuid)]
    pub(crate) message_id: Uuid,
    #[diesel(sql_type = Nullable<Text>)]
    pub(crate) traceparent: Option<String>,
}

/// A state that nothing follows.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Final {
    Sent,
    Failed,
    Ambiguous,
}

impl Final {
    pub(crate) fn as_str(self) -> &'static str {
        match self {
            Final::Sent => "sent",
            Final::Failed => "failed",
            Final::Ambiguous => "ambiguous",
        }
    }
}

/// Nothing happens when the event's mail is there already.
pub(crate) async fn insert_in_txn(conn: &mut AsyncPgConnection, delivery: &NewDelivery) -> QueryResult<()> {
    diesel::insert_into(email_delivery::table)
        .values(delivery)
        .on_conflict((email_delivery::event_id, email_delivery::template))
        .do_nothing()
        .execute(conn)
        .await?;
    Ok(())
}

/// Takes up to `count` due deliveries that no other sender holds.
pub(crate) async fn claim(
    conn: &mut AsyncPgConnection,
    count: i64,
    lease_seconds: f64,
) -> QueryResult<Vec<Claim>> {
    // ARRAY(…) is evaluated once; with IN, the planner may run the locking query again for each row.
    diesel::sql_query(
        "UPDATE email_delivery
         SET state = 'claimed', epoch = epoch + 1, attempts = attempts + 1,
             lease_until = clock_timestamp() + make_interval(secs => $2)
         WHERE id = ANY (ARRAY(
             SELECT id FROM email_delivery
             WHERE state = 'pending' AND recipient IS NOT NULL AND next_attempt_at <= clock_timestamp()
             ORDER BY next_attempt_at
             LIMIT $1
             FOR UPDATE SKIP LOCKED))
         RETURNING id, epoch, attempts, event_id, template, params, recipient, recipient_name, message_id, traceparent",
    )
    .bind::<BigInt, _>(count)
    .bind::<Double, _>(lease_seconds)
    .load(conn)
    .await
}

/// From here on the message may reach the server. False when the claim is no longer held: nothing may be sent then.
pub(crate) async fn begin_transmitting(
    conn: &mut AsyncPgConnection,
    claim: &Claim,
    lease_seconds: f64,
) -> QueryResult<bool> {
    one(diesel::sql_query(
        "UPDATE email_delivery
         SET state = 'transmitting', lease_until = clock_timestamp() + make_interval(secs => $3)
         WHERE id = $1 AND epoch = $2 AND state = 'claimed' AND lease_until > clock_timestamp()",
    )
    .bind::<BigInt, _>(claim.id)
    .bind::<BigInt, _>(claim.epoch)
    .bind::<Double, _>(lease_seconds)
    .execute(conn)
    .await)
}

/// False when the lease had ended and the delivery was declared ambiguous.
pub(crate) async fn renew(
    conn: &mut AsyncPgConnection,
    claim: &Claim,
    lease_seconds: f64,
) -> QueryResult<bool> {
    one(diesel::sql_query(
        "UPDATE email_delivery
         SET lease_until = clock_timestamp() + make_interval(secs => $3)
         WHERE id = $1 AND epoch = $2 AND state = 'transmitting'",
    )
    .bind::<BigInt, _>(claim.id)
    .bind::<BigInt, _>(claim.epoch)
    .bind::<Double, _>(lease_seconds)
    .execute(conn)
    .await)
}

/// Not accepted for certain: goes back to the queue.
pub(crate) async fn retry(
    conn: &mut AsyncPgConnection,
    claim: &Claim,
    pause_seconds: f64,
    error: &str,
) -> QueryResult<bool> {
    one(diesel::sql_query(
        "UPDATE email_delivery
         SET state = 'pending', lease_until = NULL, error = $4,
             next_attempt_at = clock_timestamp() + make_interval(secs => $3)
         WHERE id = $1 AND epoch = $2 AND state IN ('claimed', 'transmitting')",
    )
    .bind::<BigInt, _>(claim.id)
    .bind::<BigInt, _>(claim.epoch)
    .bind::<Double, _>(pause_seconds)
    .bind::<Text, _>(error)
    .execute(conn)
    .await)
}

pub(crate) async fn finish(
    conn: &mut AsyncPgConnection,
    claim: &Claim,
    state: Final,
    error: Option<&str>,
) -> QueryResult<bool> {
    one(diesel::sql_query(
        "UPDATE email_delivery
         SET state = $3, lease_until = NULL, error = $4, finished_at = clock_timestamp()
         WHERE id = $1 AND epoch = $2 AND state IN ('claimed', 'transmitting')",
    )
    .bind::<BigInt, _>(claim.id)
    .bind::<BigInt, _>(claim.epoch)
    .bind::<Text, _>(state.as_str())
    .bind::<Nullable<Text>, _>(error)
    .execute(conn)
    .await)
}

fn one(updated: QueryResult<usize>) -> QueryResult<bool> {
    updated.map(|rows| rows == 1)
}

/// What senders that died left behind. Returns the ids of deliveries that are ambiguous now.
pub(crate) async fn end_lapsed_leases(conn: &mut AsyncPgConnection) -> QueryResult<Vec<i64>> {
    #[derive(QueryableByName)]
    struct Lapsed {
        #[diesel(sql_type = BigInt)]
        id: i64,
        #[diesel(sql_type = Text)]
        state: String,
    }
    let lapsed: Vec<Lapsed> = diesel::sql_query(
        "UPDATE email_delivery
         SET state = CASE state WHEN 'claimed' THEN 'pending' ELSE 'ambiguous' END,
             finished_at = CASE state WHEN 'transmitting' THEN clock_timestamp() END,
             error = 'its sender was lost while the delivery was ' || state,
             lease_until = NULL
         WHERE lease_until < clock_timestamp()
         RETURNING id, state",
    )
    .load(conn)
    .await?;
    Ok(lapsed
        .into_iter()
        .filter(|lapsed| lapsed.state == Final::Ambiguous.as_str())
        .map(|lapsed| lapsed.id)
        .collect())
}

/// Gives waiting mails the address of a customer who has become known since.
///
/// Not done where the customer's event is applied: the order's transaction, on another partition, may be uncommitted at that moment,
/// and then neither would see the other.
pub(crate) async fn address_waiting(conn: &mut AsyncPgConnection) -> QueryResult<usize> {
    diesel::sql_query(
        "UPDATE email_delivery AS delivery
         SET recipient = customer.email, recipient_name = customer.name
         FROM customer
         WHERE customer.id = delivery.customer_id AND delivery.state = 'pending' AND delivery.recipient IS NULL",
    )
    .execute(conn)
    .await
}

/// Gives up on mails whose customer has not become known for `max_age_seconds`; returns their ids.
pub(crate) async fn fail_waiting(
    conn: &mut AsyncPgConnection,
    max_age_seconds: f64,
) -> QueryResult<Vec<i64>> {
    #[derive(QueryableByName)]
    struct Failed {
        #[diesel(sql_type = Array<BigInt>)]
        ids: Vec<i64>,
    }
    let failed: Failed = diesel::sql_query(
        "WITH failed AS (
             UPDATE email_delivery
             SET state = 'failed', finished_at = clock_timestamp(), error = 'the customer never became known'
             WHERE state = 'pending' AND recipient IS NULL
               AND created_at < clock_timestamp() - make_interval(secs => $1)
             RETURNING id)
         SELECT coalesce(array_agg(id), '{}') AS ids FROM failed",
    )
    .bind::<Double, _>(max_age_seconds)
    .get_result(conn)
    .await?;
    Ok(failed.ids)
}

/// Mails that wait for their customer.
pub(crate) async fn count_waiting(conn: &mut AsyncPgConnection) -> QueryResult<i64> {
    email_delivery::table
        .filter(email_delivery::state.eq("pending"))
        .filter(email_delivery::recipient.is_null())
        .count()
        .get_result(conn)
        .await
}
