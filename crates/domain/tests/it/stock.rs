use domain::{MAX_QUANTITY, ProductId, Stock, StockRefusal, Version};
use proptest::prelude::*;
use uuid::Uuid;

fn delta() -> impl Strategy<Value = i64> {
    prop_oneof![-20..=20i64, -MAX_QUANTITY..=MAX_QUANTITY, any::<i64>()]
}

proptest! {
    #[test]
    fn a_stock_stays_in_its_bounds_and_each_adjustment_is_made_whole_or_refused(
        first in 0..=MAX_QUANTITY,
        deltas in prop::collection::vec(delta(), 0..20),
    ) {
        let mut stock = Stock { product_id: ProductId(Uuid::from_u128(1)), quantity: first, version: Version::FIRST };
        for delta in deltas {
            let exact = i128::from(stock.quantity) + i128::from(delta);
            match stock.adjust(delta) {
                Ok(next) => {
                    prop_assert_eq!(i128::from(next.quantity), exact);
                    prop_assert!((0..=MAX_QUANTITY).contains(&next.quantity));
                    prop_assert_eq!((next.product_id, next.version), (stock.product_id, stock.version.next()));
                    stock = next;
                }
                Err(StockRefusal::Insufficient { product_id, available }) => {
                    prop_assert!(exact < 0);
                    prop_assert_eq!((product_id, available), (stock.product_id, stock.quantity));
                }
                Err(StockRefusal::TooLarge) => prop_assert!(exact > i128::from(MAX_QUANTITY)),
            }
        }
    }
}
