//! What the outbox has to know of the tables whose versions it carries.

use diesel_async::AsyncPgConnection;
use envelope::Fact;
use uuid::Uuid;

/// The application's aggregates. The application implements it.
pub trait Aggregates: Send + Sync + 'static {
    /// All of them; a restatement goes through them in this order.
    const TABLES: &'static [Table];

    /// Facts that state the aggregates `ids` as they are now, with their present versions; those rows are locked.
    fn restated_in_txn(
        &self,
        conn: &mut AsyncPgConnection,
        table: &Table,
        ids: &[Uuid],
    ) -> impl Future<Output = anyhow::Result<Vec<Fact>>> + Send;
}

/// A table with one row per aggregate and a `version bigint`. The names become SQL: they are the program's own.
#[derive(Debug, PartialEq, Eq)]
pub struct Table {
    /// `aggregate_type` in the outbox.
    pub aggregate: &'static str,
    pub name: &'static str,
    /// The column with the aggregate's id, the primary key.
    pub id: &'static str,
}
