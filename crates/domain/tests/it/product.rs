use domain::{
    Availability, Money, Product, ProductEdit, ProductId, ProductRefusal, ProductStatus, Sku, Version,
};
use proptest::prelude::*;
use uuid::Uuid;

pub(crate) fn product(id: u128, price: i64, currency: &str) -> Product {
    Product {
        id: ProductId(Uuid::from_u128(id)),
        sku: Sku::parse("SKU-1").unwrap(),
        name: "Mug".into(),
        description: String::new(),
        price: Money::new(price, currency.parse().unwrap()).unwrap(),
        status: ProductStatus::Active,
        availability: Availability::InStock,
        version: Version::FIRST,
    }
}

pub(crate) fn status() -> impl Strategy<Value = ProductStatus> {
    prop::sample::select(vec![
        ProductStatus::Draft,
        ProductStatus::Active,
        ProductStatus::Discontinued,
    ])
}

fn edit() -> impl Strategy<Value = ProductEdit> {
    let name = prop::option::of(prop::sample::select(vec!["Mug".to_owned(), "Cup".to_owned()]));
    let price = prop::option::of(prop_oneof![0..3i64, any::<i64>()]);
    (name, price, prop::option::of(status())).prop_map(|(name, price_minor, status)| ProductEdit {
        name,
        description: None,
        price_minor,
        status,
    })
}

/// A draft becomes active or is discontinued, an active product is discontinued, and that is final.
fn may_become(from: ProductStatus, to: ProductStatus) -> bool {
    match from {
        ProductStatus::Draft => true,
        ProductStatus::Active => to != ProductStatus::Draft,
        ProductStatus::Discontinued => false,
    }
}

proptest! {
    #[test]
    fn a_life_follows_the_table_and_each_change_is_one_version(
        first in status(),
        edits in prop::collection::vec(edit(), 0..12),
    ) {
        let mut product = Product { status: first, ..product(1, 1, "EUR") };
        for edit in edits {
            let wanted = edit.status.unwrap_or(product.status);
            match product.edit(edit) {
                Ok(None) => prop_assert_eq!(wanted, product.status),
                Ok(Some(next)) => {
                    prop_assert!(may_become(product.status, wanted));
                    prop_assert_eq!(next.status, wanted);
                    prop_assert_eq!(next.version, product.version.next());
                    prop_assert_eq!(next.price.currency(), product.price.currency());
                    prop_assert_eq!((&next.sku, next.availability), (&product.sku, product.availability));
                    product = next;
                }
                Err(ProductRefusal::Price(_)) => {}
                Err(_) => prop_assert!(!may_become(product.status, wanted)),
            }
        }
    }

    #[test]
    fn availability_follows_the_stock_and_only_then_is_there_a_version(quantities in prop::collection::vec(0..3i64, 0..12)) {
        let mut product = product(1, 1, "EUR");
        for quantity in quantities {
            match product.with_stock(quantity) {
                Some(next) => {
                    prop_assert_ne!(next.availability, product.availability);
                    prop_assert_eq!(next.version, product.version.next());
                    product = next;
                }
                None => prop_assert_eq!(Availability::of(quantity), product.availability),
            }
            prop_assert_eq!(product.availability == Availability::InStock, quantity > 0);
        }
    }
}
