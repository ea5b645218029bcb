use chassis::Problem;
use serde::{Deserialize, Serialize};
use time::OffsetDateTime;
use time::format_description::well_known::Rfc3339;
use time::macros::datetime;

/// Rows of one answer, at most.
const MAX_ROWS: i64 = 1000;

/// `?from=&to=&after=&limit=`, all optional.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Query {
    from: Option<String>,
    to: Option<String>,
    after: Option<String>,
    limit: Option<i64>,
}

/// Buckets that start in `from..to`, beginning after `after`.
pub(super) struct Range<K> {
    pub(super) from: OffsetDateTime,
    pub(super) to: OffsetDateTime,
    /// The last row of the page before: its bucket and what orders rows within one.
    pub(super) after: Option<(OffsetDateTime, K)>,
    pub(super) limit: i64,
}

impl<K: std::str::FromStr> Range<K> {
    pub(super) fn of(query: &Query) -> Result<Range<K>, Problem> {
        let from = instant("from", query.from.as_deref())?;
        let to = instant("to", query.to.as_deref())?;
        let range = Range {
            from: from.unwrap_or(datetime!(0001-01-01 00:00 UTC)),
            to: to.unwrap_or(datetime!(9999-12-31 00:00 UTC)),
            after: query.after.as_deref().map(cursor).transpose()?,
            limit: query.limit.unwrap_or(MAX_ROWS),
        };
        if range.from >= range.to {
            return Err(invalid("`from` is not before `to`"));
        }
        if !(1..=MAX_ROWS).contains(&range.limit) {
            return Err(invalid(format!("`limit` is not between 1 and {MAX_ROWS}")));
        }
        Ok(range)
    }
}

/// One answer: rows in order, and where the next page begins.
#[derive(Serialize)]
pub(super) struct Page<R> {
    rows: Vec<R>,
    /// `after` of the next page; null on the last one.
    next: Option<String>,
}

impl<R> Page<R> {
    /// `rows` holds one more than `limit` when there is another page.
    pub(super) fn of(
        mut rows: Vec<R>,
        limit: i64,
        cursor: impl Fn(&R) -> (OffsetDateTime, String),
    ) -> Page<R> {
        let limit = usize::try_from(limit).unwrap_or(usize::MAX);
        let more = rows.len() > limit;
        rows.truncate(limit);
        let last = rows.last().filter(|_| more).map(cursor);
        let next = last.and_then(|(bucket, key)| Some(format!("{}_{key}", bucket.format(&Rfc3339).ok()?)));
        Page { rows, next }
    }
}

fn cursor<K: std::str::FromStr>(text: &str) -> Result<(OffsetDateTime, K), Problem> {
    text.split_once('_')
        .and_then(|(bucket, key)| Some((OffsetDateTime::parse(bucket, &Rfc3339).ok()?, key.parse().ok()?)))
        .ok_or_else(|| invalid("`after` is not the `next` of an answer"))
}

fn instant(name: &str, text: Option<&str>) -> Result<Option<OffsetDateTime>, Problem> {
    text.map(|text| {
        OffsetDateTime::parse(text, &Rfc3339).map_err(|_| {
            invalid(format!(
                "`{name}` is not an RFC 3339 time such as 2026-01-31T00:00:00Z"
            ))
        })
    })
    .transpose()
}

fn invalid(detail: impl Into<String>) -> Problem {
    Problem::new(400u16, "invalid-query", "the query is not valid").detail(detail)
}
