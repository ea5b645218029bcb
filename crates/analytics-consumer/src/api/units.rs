use actix_web::web::{self, Data, Json};
use chassis::Problem;
use diesel::prelude::*;
use diesel_async::RunQueryDsl;
use serde::Serialize;
use time::OffsetDateTime;
use uuid::Uuid;

use super::page::{Page, Query, Range};
use super::reader::Reader;
use super::{Api, unavailable};
use crate::schema::units;

#[derive(Queryable, Serialize)]
struct Row {
    #[serde(with = "time::serde::rfc3339")]
    bucket_start: OffsetDateTime,
    product_id: Uuid,
    /// Pieces; negative when more were reversed in this bucket than paid.
    units: i64,
}

/// `GET /v1/units?from&to&after&limit`: one row per bucket and product, by both.
#[actix_web::get("/v1/units")]
pub(super) async fn get(
    _: Reader,
    api: Data<Api>,
    query: web::Query<Query>,
) -> Result<Json<Page<Row>>, Problem> {
    let range: Range<Uuid> = Range::of(&query)?;
    let mut rows = units::table
        .filter(units::bucket_start.ge(range.from))
        .filter(units::bucket_start.lt(range.to))
        .order((units::bucket_start, units::product_id))
        .limit(range.limit + 1)
        .into_boxed();
    if let Some((bucket, product)) = range.after {
        rows = rows.filter(
            units::bucket_start
                .gt(bucket)
                .or(units::bucket_start.eq(bucket).and(units::product_id.gt(product))),
        );
    }
    let rows: Vec<Row> = api
        .read(async |conn| rows.load(conn).await.map_err(unavailable))
        .await?;
    Ok(Json(Page::of(rows, range.limit, |row| {
        (row.bucket_start, row.product_id.to_string())
    })))
}
