//! What is cached, and which fact makes a cached entry old.

use bytes::Bytes;
use cache::{LoadError, Loaded, Namespace, Source, Unavailable};
use chassis::Problem;
use database::Pool;
use domain::{ProductId, ProductStatus};
use envelope::Fact;
use futures_util::future::join_all;

use crate::answer;
use crate::api::products::ProductBody;
use crate::checkout::Checkout;
use crate::etag;
use crate::models::product;
use crate::read::observed;
use crate::trouble::{self, Trouble};

/// Products by id, as the API answers with them.
pub(crate) struct Products {
    pool: Pool,
}

/// Marks of a product's entry.
const HIDDEN: u8 = 0;
const PUBLIC: u8 = 1;

impl Products {
    pub(crate) fn new(pool: Pool) -> Products {
        Products { pool }
    }
}

impl Source for Products {
    const NAMESPACE: &'static str = "product";
    const SCHEMA: u16 = etag::SCHEMA;
    type Key = ProductId;

    async fn load(&self, id: &ProductId) -> Result<Option<Loaded>, LoadError> {
        let loading = async {
            // Only now: whoever waits for Redis holds no connection.
            let mut conn = Checkout::of(&self.pool).await?;
            let found = product::find(&mut conn, *id).await;
            conn.give_back();
            found
        };
        let product = observed("load", loading).await?;
        Ok(product.map(|product| Loaded {
            version: product.version.get(),
            mark: if product.status == ProductStatus::Active {
                PUBLIC
            } else {
                HIDDEN
            },
            body: Bytes::from(answer::json(&ProductBody::of(&product))),
        }))
    }
}

/// Whether everybody may see the product behind this entry.
pub(crate) fn is_public(entry: &cache::Entry) -> bool {
    entry.mark == PUBLIC
}

/// Makes the cache forget what `facts` made old.
pub(crate) async fn invalidate(products: Namespace<Products>, facts: Vec<Fact>) {
    let products = &products;
    let old = facts.iter().filter(|fact| fact.aggregate_type == "product");
    join_all(old.map(async |fact| {
        products
            .invalidate(&ProductId(fact.aggregate_id), fact.aggregate_version)
            .await;
    }))
    .await;
}

/// What a client may know of a load that failed.
pub(crate) fn problem(unavailable: Unavailable) -> Problem {
    match unavailable {
        Unavailable::Failed(cause) => match cause.downcast::<Trouble>() {
            Ok(trouble) => trouble.into(),
            Err(cause) => Problem::internal(cause),
        },
        late @ Unavailable::TooSlow => trouble::overloaded().caused_by(late),
    }
}
