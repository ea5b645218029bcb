//! Statements that a tail repeats for as long as its session lasts.

use diesel::QueryResult;
use diesel::pg::Pg;
use diesel::query_builder::{AstPass, Query, QueryFragment, QueryId};
use diesel::sql_types::{BigInt, Text, Untyped};

/// SQL with `$1`, `$2`, … that each session prepares once. Diesel's `sql_query` is prepared anew each time, which costs a
/// round trip and the parsing.
#[derive(Debug)]
pub(crate) struct Prepared<'a> {
    sql: &'a str,
    values: Vec<Value<'a>>,
}

#[derive(Debug)]
enum Value<'a> {
    Text(&'a str),
    Number(i64),
}

impl<'a> Prepared<'a> {
    pub(crate) fn new(sql: &'a str) -> Prepared<'a> {
        Prepared {
            sql,
            values: Vec::new(),
        }
    }

    pub(crate) fn text(mut self, value: &'a str) -> Prepared<'a> {
        self.values.push(Value::Text(value));
        self
    }

    pub(crate) fn number(mut self, value: i64) -> Prepared<'a> {
        self.values.push(Value::Number(value));
        self
    }
}

impl QueryFragment<Pg> for Prepared<'_> {
    /// Diesel numbers values itself, so that one that is named twice is sent twice.
    fn walk_ast<'b>(&'b self, mut out: AstPass<'_, 'b, Pg>) -> QueryResult<()> {
        let mut parts = self.sql.split('$');
        out.push_sql(parts.next().unwrap_or_default());
        for part in parts {
            let end = part.find(|next: char| !next.is_ascii_digit());
            let (number, rest) = part.split_at(end.unwrap_or(part.len()));
            let index = number
                .parse::<usize>()
                .ok()
                .and_then(|number| number.checked_sub(1));
            match index.and_then(|index| self.values.get(index)) {
                Some(Value::Text(value)) => out.push_bind_param::<Text, str>(value)?,
                Some(Value::Number(value)) => out.push_bind_param::<BigInt, i64>(value)?,
                None => {
                    let wrong = format!("there is no value for ${number}");
                    return Err(diesel::result::Error::QueryBuilderError(wrong.into()));
                }
            }
            out.push_sql(rest);
        }
        Ok(())
    }
}

/// By its text, which is what sessions look a statement up by.
impl QueryId for Prepared<'_> {
    type QueryId = ();
    const HAS_STATIC_QUERY_ID: bool = false;
}

/// What it selects is known by name, as with `sql_query`.
impl Query for Prepared<'_> {
    type SqlType = Untyped;
}
