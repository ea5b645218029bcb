//! What is cached, and which fact makes a cached entry old.

use std::fmt;

use bytes::Bytes;
use cache::{
    Cache, CacheArgs, Collection, Entry, Known, LoadError, Loaded, Namespace, Pages, Policy, Source, Tail,
    TailError, Unavailable,
};
use chassis::{Misconfigured, Problem};
use diesel_async::AsyncPgConnection;
use domain::{ProductId, ProductStatus};
use envelope::Fact;
use events::ProductBefore;
use futures_util::future::{join, join_all};
use serde::Deserialize;
use uuid::Uuid;

use crate::answer;
use crate::api::products::ProductBody;
use crate::checkout::Pool;
use crate::etag;
use crate::models::product;
use crate::path;
use crate::trouble::{self, Trouble};

/// All that is cached; cheap to clone.
#[derive(Clone)]
pub(crate) struct Cached {
    pub(crate) products: Namespace<Products>,
    pub(crate) listing: Collection<FirstPages>,
    cache: Cache,
}

impl Cached {
    pub(crate) async fn start(args: &CacheArgs, pool: &Pool, loads: usize) -> anyhow::Result<Cached> {
        let cache = Cache::start(args, loads)
            .await
            .map_err(|error| Misconfigured(format!("REDIS_URL: {error}")))?;
        let products = Products { pool: pool.clone() };
        let pages = FirstPages { pool: pool.clone() };
        Ok(Cached {
            products: cache.namespace(products, Policy::default())?,
            listing: cache.collection(pages, Policy::pages())?,
            cache,
        })
    }

    /// For the invalidator: a connection of its own.
    pub(crate) fn tail(&self) -> Tail {
        self.cache.tail()
    }

    /// Forgets what `changes` made old, and returns whether Redis acknowledged all of it; the invalidator does it again.
    pub(crate) async fn invalidate(&self, old: &Old) -> bool {
        let products = join_all(
            old.products
                .iter()
                .map(|(id, version)| self.products.invalidate(id, *version)),
        );
        let listing = async { !old.listing || self.listing.invalidate().await };
        let (products, listing) = join(products, listing).await;
        listing && products.into_iter().all(|acknowledged| acknowledged)
    }

    /// The same, until Redis has acknowledged it; the listing once, however many changes there are.
    pub(crate) async fn reapply<'a>(
        &self,
        tail: &mut Tail,
        changes: impl IntoIterator<Item = Change<'a>>,
    ) -> Result<(), TailError> {
        let Some(old) = Old::of(changes) else {
            return Ok(());
        };
        self.products.reapply(tail, &old.products).await?;
        if old.listing {
            self.listing.reapply(tail).await?;
        }
        Ok(())
    }
}

/// What an operator may ask for by name.
pub(crate) fn known() -> [Known; 2] {
    [
        Known::entries::<Products>("a UUID in lower case with hyphens", |text| {
            path::parse::<ProductId>(text).is_some()
        }),
        Known::list::<FirstPages>(),
    ]
}

/// A new version of an aggregate, as its fact states it.
pub(crate) struct Change<'a> {
    pub(crate) aggregate_type: &'a str,
    pub(crate) aggregate_id: Uuid,
    pub(crate) aggregate_version: i64,
    pub(crate) payload: &'a [u8],
}

impl Change<'_> {
    pub(crate) fn of(fact: &Fact) -> Change<'_> {
        Change {
            aggregate_type: fact.aggregate_type,
            aggregate_id: fact.aggregate_id,
            aggregate_version: fact.aggregate_version,
            payload: &fact.payload,
        }
    }
}

/// What changes make old: the only place that knows which fact touches which entry.
pub(crate) struct Old {
    products: Vec<(ProductId, cache::Version)>,
    listing: bool,
}

#[derive(Deserialize)]
struct Before {
    previous: ProductBefore,
}

impl Old {
    /// `None` when nothing cached is older than `changes`.
    pub(crate) fn of<'a>(changes: impl IntoIterator<Item = Change<'a>>) -> Option<Old> {
        let mut old = Old {
            products: Vec::new(),
            listing: false,
        };
        for change in changes {
            if change.aggregate_type != "product" {
                continue;
            }
            // A listing changes with what is in it and in which order, which is by id: not with names and prices. What does not
            // say what was before is new, or may be anything.
            let before = serde_json::from_slice::<Before>(change.payload);
            old.listing |= before.map_or(true, |before| before.previous.status.is_some());
            match change.aggregate_version.try_into() {
                Ok(version) => old.products.push((ProductId(change.aggregate_id), version)),
                Err(error) => {
                    tracing::error!(id = %change.aggregate_id, %error, error.type = "corrupt", "a product has a version that is none");
                }
            }
        }
        (old.listing || !old.products.is_empty()).then_some(old)
    }
}

/// Products by id, as the API answers with them. An entry's mark is the product's status.
pub(crate) struct Products {
    pool: Pool,
}

impl Source for Products {
    const NAMESPACE: &'static str = "product";
    const SCHEMA: u16 = etag::SCHEMA;
    type Key = ProductId;

    async fn load(&self, id: &ProductId) -> Result<Option<Loaded>, LoadError> {
        // A connection only now: whoever waits for Redis holds none.
        let loading = self.pool.with(async |conn| product::find(conn, *id).await);
        let Some(product) = database::observed("load", Trouble::kind, loading).await? else {
            return Ok(None);
        };
        Ok(Some(Loaded {
            version: product.version.get().try_into()?,
            mark: mark(product.status),
            body: Bytes::from(answer::json(&ProductBody::of(&product))),
        }))
    }
}

const fn mark(status: ProductStatus) -> u8 {
    match status {
        ProductStatus::Draft => 0,
        ProductStatus::Active => 1,
        ProductStatus::Discontinued => 2,
    }
}

/// Whether the product behind this entry has this status.
pub(crate) fn has_status(entry: &Entry, status: ProductStatus) -> bool {
    entry.mark == mark(status)
}

/// Whether everybody may see the product behind this entry.
pub(crate) fn is_public(entry: &Entry) -> bool {
    has_status(entry, ProductStatus::Active)
}

/// The first pages of the listing of products, as ids: the products come from their own entries, so that a change of one is
/// seen in every page at once.
pub(crate) struct FirstPages {
    pool: Pool,
}

/// What a first page is asked for: products of one status or of all, and how many.
#[derive(Clone, Copy)]
pub(crate) struct FirstPage {
    pub(crate) status: Option<ProductStatus>,
    pub(crate) wanted: i64,
}

impl fmt::Display for FirstPage {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        let status = self.status.map_or("all", ProductStatus::as_str);
        write!(out, "{status}:{}", self.wanted)
    }
}

impl Pages for FirstPages {
    const NAMESPACE: &'static str = "products";
    const SCHEMA: u16 = 1;
    type Page = FirstPage;

    async fn load(&self, page: &FirstPage) -> Result<Bytes, LoadError> {
        let first =
            async |conn: &mut AsyncPgConnection| product::first_ids(conn, page.status, page.wanted).await;
        let ids = database::observed("load", Trouble::kind, self.pool.with(first)).await?;
        Ok(ids.iter().flat_map(|id| *id.0.as_bytes()).collect())
    }
}

/// The ids that a page's entry holds.
pub(crate) fn ids(page: &Entry) -> Vec<ProductId> {
    let (ids, _) = page.body.as_chunks::<16>();
    ids.iter().map(|id| ProductId(Uuid::from_bytes(*id))).collect()
}

/// What a client may know of a load that failed.
pub(crate) fn problem(unavailable: Unavailable) -> Problem {
    let passes = match &unavailable {
        Unavailable::Failed(cause) => cause.downcast_ref().is_some_and(trouble::passes),
        Unavailable::TooSlow | Unavailable::Shed => true,
    };
    if passes {
        trouble::overloaded().caused_by(unavailable)
    } else {
        Problem::internal(unavailable)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_listing_changes_with_what_is_in_it_only() {
        let check = |aggregate_type, payload: &str, products, listing| {
            let old = Old::of([Change {
                aggregate_type,
                aggregate_id: Uuid::from_u128(1),
                aggregate_version: 2,
                payload: payload.as_bytes(),
            }]);
            assert_eq!(
                old.map_or((0, false), |old| (old.products.len(), old.listing)),
                (products, listing),
                "{payload}"
            );
        };
        check("product", r#"{"id":"…"}"#, 1, true);
        check("product", r#"{"previous":{"status":"draft"}}"#, 1, true);
        check("product", r#"{"previous":{"price_minor":1}}"#, 1, false);
        check("product", "not even JSON", 1, true);
        check("stock", r#"{"previous_quantity":1}"#, 0, false);
    }
}
