//! Cancels the orders that nobody has paid in time.
//!
//! Every replica does it, and none owns it. A replica looks for orders that are due, takes them one by one, and decides
//! again once it holds an order's row: an order that was paid meanwhile, or that another replica has expired, stays as
//! it is, and one whose row somebody holds is left to them. Rows are locked in the order of a cancellation by hand:
//! the order, its stock by product id, products.

use std::time::Duration;

use chassis::{Problem, Shutdown};
use domain::OrderId;
use tokio::time::sleep;
use tracing::Instrument as _;

use crate::app::App;
use crate::call::Call;
use crate::cancellation;
use crate::models::order::{self, Due};
use crate::read::read;
use crate::write::{Decided, write};

/// The most orders that are looked for at once.
const BATCH: i64 = 100;
/// How long one order may take, its wait for a connection included.
const LIMIT: Duration = Duration::from_secs(5);

/// Expires orders that are unpaid for longer than `expiry`, until the process begins to stop. An order that is begun is
/// brought to its end.
pub(crate) async fn run(app: App, expiry: Duration, shutdown: Shutdown) {
    describe_metrics();
    let pause = pause(expiry);
    loop {
        if let Err(problem) = sweep(&app, expiry, &shutdown).await {
            metrics::counter!("order_expiry_failures_total").increment(1);
            let cause = cause(&problem);
            tracing::warn!(error.type = problem.slug(), %problem, cause, "could not look for orders to expire; trying again later");
        }
        tokio::select! {
            () = shutdown.lame_duck() => return,
            () = sleep(pause) => {}
        }
    }
}

/// Often enough that an order is a tenth of its time late at most, and that those of a long time don't come in heaps.
fn pause(expiry: Duration) -> Duration {
    (expiry / 10).clamp(Duration::from_millis(100), Duration::from_secs(10))
}

/// All that is due now, the longest unpaid first.
async fn sweep(app: &App, expiry: Duration, shutdown: &Shutdown) -> Result<(), Problem> {
    let mut last: Option<Due> = None;
    loop {
        let call = Call::by_job(ACTOR, LIMIT);
        let placed_until = call.at - expiry;
        let due = read(app, &call, async |conn| {
            order::due(conn, placed_until, last, BATCH).await
        })
        .await?;
        if last.is_none() {
            let overdue = due
                .first()
                .map_or(0.0, |first| (placed_until - first.placed_at).as_seconds_f64());
            metrics::gauge!("order_expiry_overdue_seconds").set(overdue);
        }
        for Due { id, .. } in &due {
            if shutdown.is_lame_duck() {
                return Ok(());
            }
            expire(app, expiry, *id).await;
        }
        let more = i64::try_from(due.len()).is_ok_and(|found| found == BATCH);
        last = due.last().copied();
        if !more {
            return Ok(());
        }
    }
}

/// One that fails does not keep the others waiting; the next sweep finds it again.
async fn expire(app: &App, expiry: Duration, id: OrderId) {
    let span = tracing::info_span!("expire order", otel.kind = "internal", order_id = %id);
    match try_expire(app, expiry, id).instrument(span).await {
        Ok(false) => {}
        Ok(true) => {
            metrics::counter!("orders_expired_total").increment(1);
            tracing::info!(order_id = %id, "expired an order that nobody has paid");
        }
        Err(problem) => {
            metrics::counter!("order_expiry_failures_total").increment(1);
            let cause = cause(&problem);
            tracing::warn!(order_id = %id, error.type = problem.slug(), %problem, cause, "could not expire an order; trying again later");
        }
    }
}

/// `false` when somebody else was faster.
async fn try_expire(app: &App, expiry: Duration, id: OrderId) -> Result<bool, Problem> {
    let call = Call::by_job(ACTOR, LIMIT);
    write(app, &call, async |conn| {
        let Some(order) = order::lock_if_free_in_txn(conn, id).await? else {
            return Ok(Decided::unchanged(false));
        };
        match order.expire(expiry, call.at) {
            Ok(expired) => {
                let facts = cancellation::write_in_txn(conn, &expired).await?;
                Ok(Decided::new(true, facts))
            }
            Err(_) => Ok(Decided::unchanged(false)),
        }
    })
    .await
}

fn cause(problem: &Problem) -> Option<String> {
    problem.cause().map(|cause| format!("{cause:#}"))
}

/// As the facts name it.
const ACTOR: &str = "system:expire-orders";

fn describe_metrics() {
    metrics::describe_counter!(
        "orders_expired_total",
        "Orders that this process cancelled because nobody paid them in time."
    );
    metrics::describe_counter!(
        "order_expiry_failures_total",
        "Attempts to find or to expire orders that failed and will be made again."
    );
    metrics::describe_gauge!(
        "order_expiry_overdue_seconds",
        metrics::Unit::Seconds,
        "How long ago the oldest unpaid order should have expired, when this process last looked."
    );
}
