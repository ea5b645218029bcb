use actix_web::web::Data;
use chassis::Problem;
use diesel_async::AsyncPgConnection;
use domain::{MAX_QUANTITY, Order, OrderId, OrderRefusal, Quantity, Selection, StockRefusal};
use events::{StockCause, fact};
use futures_util::future::{try_join, try_join_all};
use serde::Deserialize;
use utoipa::ToSchema;
use uuid::Uuid;

use super::OrderBody;
use crate::answer::Answer;
use crate::api::scopes::ORDERS_WRITE;
use crate::app::App;
use crate::availability::{self, Moved};
use crate::call::Call;
use crate::fields::{Fields, invalid};
use crate::models::{customer, order, product, stock};
use crate::path;
use crate::post::Post;
use crate::problems::NOT_REGISTERED;
use crate::refusal;
use crate::shape;
use crate::write::{Decided, write_once};

#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
#[schema(example = json!({"lines": [{"product_id": "0198c5b7-5c00-7d2f-9a4c-0e2b6f8d1c3a", "quantity": 2}]}))]
struct NewOrder {
    #[schema(min_items = 1, max_items = 20)]
    lines: Vec<NewLine>,
}

#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
struct NewLine {
    #[schema(schema_with = shape::id)]
    product_id: String,
    #[schema(schema_with = shape::wanted)]
    quantity: i64,
}

/// `POST /v1/orders`: takes the goods out of stock, all or none.
#[utoipa::path(
    post,
    path = "/v1/orders",
    tag = "orders",
    summary = "Place an order",
    description = "Takes the goods out of stock, all or none. All prices are in one currency. An order that is not paid within 30 minutes expires, and its goods go back.",
    request_body = NewOrder,
    responses((status = 201, description = "The order.", body = OrderBody, headers(("ETag" = String, description = "Its version."), ("Location" = String, description = "Where it is.")))),
    security(("bearer" = ["orders:write"])),
    extensions(("x-problems" = json!(["not-registered", "insufficient-stock"]))),
)]
pub(crate) async fn place(app: Data<App>, call: Call, post: Post) -> Result<Answer, Problem> {
    let caller = call.with_scope(ORDERS_WRITE)?;
    let (new, fields) = post.read::<NewOrder>()?;
    let selections = new.selections(fields)?;
    let id = OrderId(Uuid::now_v7());
    write_once(&app, &call, &post, async |conn| {
        let (customer_id, products) = try_join(
            customer::id_of(conn, &caller.principal),
            product::find_all(conn, selections.iter().map(|wanted| wanted.product_id)),
        )
        .await?;
        let customer_id = customer_id.ok_or_else(|| NOT_REGISTERED.problem())?;
        let order =
            Order::place(id, customer_id, &selections, &products, call.at).map_err(|why| new.refused(why))?;
        let moved = take_in_txn(conn, &order).await?;
        order::insert_in_txn(conn, &order).await?;

        let mut facts = vec![fact::order_placed(&order)];
        let adjusted = moved.iter();
        facts.extend(
            adjusted
                .map(|moved| fact::stock_adjusted(moved.previous_quantity, &moved.stock, StockCause::Order)),
        );
        facts.extend(availability::follow_in_txn(conn, &moved).await?);
        let answer = Answer::created(format!("/v1/orders/{}", order.id), &OrderBody::of(&order))
            .version(order.version);
        Ok(Decided::new(answer, facts))
    })
    .await
}

/// In the order of the lines, which is by product id: everyone locks stock in that order. The statements are sent one
/// behind the other, and PostgreSQL runs them so.
async fn take_in_txn(conn: &mut AsyncPgConnection, order: &Order) -> Result<Vec<Moved>, Problem> {
    let shared = &*conn;
    let takes = order
        .lines
        .iter()
        .map(|line| stock::take_in_txn(shared, line.product_id, line.quantity));
    let left = try_join_all(takes).await?;
    let mut moved = Vec::with_capacity(order.lines.len());
    for (line, stock) in order.lines.iter().zip(left) {
        let Some(stock) = stock else {
            let left = stock::find(conn, line.product_id).await?;
            return Err(refusal::stock(StockRefusal::Insufficient {
                product_id: line.product_id,
                available: left.map_or(0, |stock| stock.quantity),
            }));
        };
        moved.push(Moved {
            previous_quantity: stock.quantity + line.quantity.get(),
            stock,
        });
    }
    Ok(moved)
}

impl NewOrder {
    /// What is wanted, by product id.
    fn selections(&self, mut fields: Fields) -> Result<Vec<Selection>, Problem> {
        let mut selections = Vec::with_capacity(self.lines.len());
        for (index, line) in self.lines.iter().enumerate() {
            let product_id = path::parse(&line.product_id);
            let product_id = product_id.ok_or("it is a product's id, a UUID in lower case with hyphens");
            let quantity = Quantity::new(line.quantity);
            let quantity = quantity.ok_or_else(|| format!("a quantity is 1 to {MAX_QUANTITY}"));
            let product_id = fields.check(format!("/lines/{index}/product_id"), product_id);
            let quantity = fields.check(format!("/lines/{index}/quantity"), quantity);
            if let (Some(product_id), Some(quantity)) = (product_id, quantity) {
                selections.push(Selection { product_id, quantity });
            }
        }
        fields.finish()?;
        Order::sort_selections(selections).map_err(|why| self.refused(why))
    }

    /// Points at the line that the domain refused.
    fn refused(&self, why: OrderRefusal) -> Problem {
        let line = match why {
            OrderRefusal::DuplicateProduct(id)
            | OrderRefusal::UnknownProduct(id)
            | OrderRefusal::MixedCurrencies(id) => {
                let id = id.to_string();
                self.lines.iter().rposition(|line| line.product_id == id)
            }
            _ => None,
        };
        match line {
            Some(index) => invalid(format!("/lines/{index}/product_id"), why),
            None => invalid("/lines", why),
        }
    }
}
