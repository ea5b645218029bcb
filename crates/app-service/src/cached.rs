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
use crate::models::product;
use crate::read::observed;
use crate::trouble;

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
    const SCHEMA: u16 = answer::SCHEMA;
    type Key = ProductId;

    async fn load(&self, id: &ProductId) -> Result<Option<Loaded>, LoadError> {
        let loading = async {
            // Only now: whoever waits for Redis holds no connection.
            let mut conn = Checkout::of(&self.pool).await?;
            let found = product::find(&mut conn, *id).await;
            conn.give_back();
            found
        };
        let Some(product) = observed("load", loading).await? else {
            return Ok(None);
        };
        Ok(Some(Loaded {
            version: product.version.get().try_into()?,
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
    join_all(old.map(async |fact| match fact.aggregate_version.try_into() {
        Ok(version) => {
            products.invalidate(&ProductId(fact.aggregate_id), version).await;
        }
        Err(error) => {
            tracing::error!(id = %fact.aggregate_id, %error, "a product has a version that is none")
        }
    }))
    .await;
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
