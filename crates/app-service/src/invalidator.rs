//! The tail that makes the cache forget what is old, whatever happened to the process that committed it.

use cache::Namespace;
use outbox::{Page, Sink, SinkError};

use crate::cached::{self, Products};

pub(crate) struct Invalidator {
    products: Namespace<Products>,
}

impl Invalidator {
    pub(crate) fn new(products: Namespace<Products>) -> Invalidator {
        Invalidator { products }
    }
}

impl Sink for Invalidator {
    const NAME: &'static str = "cache";

    async fn deliver(&mut self, page: &Page) -> Result<(), SinkError> {
        let rows: Vec<_> = page.rows().collect();
        let versions = rows
            .iter()
            .map(|row| (row.aggregate_type(), row.aggregate_id(), row.aggregate_version()));
        cached::invalidate(&self.products, versions).await;
        Ok(())
    }
}
