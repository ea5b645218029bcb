use actix_web::web::{self, Data, Json};
use chassis::Problem;
use diesel::prelude::*;
use diesel_async::RunQueryDsl;
use serde::Serialize;
use time::OffsetDateTime;

use super::page::{Page, Query, Range};
use super::reader::Reader;
use super::{Api, unavailable};
use crate::schema::revenue;

#[derive(Queryable, Serialize)]
struct Row {
    #[serde(with = "time::serde::rfc3339")]
    bucket_start: OffsetDateTime,
    currency: String,
    /// Minor units; negative when more was reversed in this bucket than paid.
    revenue_minor: i64,
}

/// `GET /v1/revenue?from&to&after&limit`: one row per bucket and currency, by both.
#[actix_web::get("/v1/revenue")]
pub(super) async fn get(
    _: Reader,
    api: Data<Api>,
    query: web::Query<Query>,
) -> Result<Json<Page<Row>>, Problem> {
    let range: Range<String> = Range::of(&query)?;
    let mut rows = revenue::table
        .filter(revenue::bucket_start.ge(range.from))
        .filter(revenue::bucket_start.lt(range.to))
        .order((revenue::bucket_start, revenue::currency))
        .limit(range.limit + 1)
        .into_boxed();
    if let Some((bucket, currency)) = range.after {
        rows = rows.filter(
            revenue::bucket_start.gt(bucket).or(revenue::bucket_start
                .eq(bucket)
                .and(revenue::currency.gt(currency))),
        );
    }
    let rows: Vec<Row> = api
        .read(async |conn| rows.load(conn).await.map_err(unavailable))
        .await?;
    Ok(Json(Page::of(rows, range.limit, |row| {
        (row.bucket_start, row.currency.clone())
    })))
}
