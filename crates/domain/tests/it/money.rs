use domain::{Currency, Money, MoneyError};
use proptest::prelude::*;

fn currency() -> impl Strategy<Value = Currency> {
    prop::sample::select(vec!["EUR", "JPY", "KWD", "USD"]).prop_map(|code| code.parse().unwrap())
}

/// Small and large amounts, and those at the limit.
fn minor() -> impl Strategy<Value = i64> {
    prop_oneof![
        0..=10_000i64,
        0..=Money::MAX_MINOR,
        Money::MAX_MINOR - 10..=Money::MAX_MINOR
    ]
}

/// What arithmetic without bounds says, if it is an amount.
fn expected(exact: i128, currency: Currency) -> Result<Money, MoneyError> {
    let minor = i64::try_from(exact).map_err(|_| MoneyError::OutOfRange)?;
    Money::new(minor, currency)
}

proptest! {
    #[test]
    fn an_amount_is_what_it_was_made_of_or_out_of_range(minor in any::<i64>(), currency in currency()) {
        match Money::new(minor, currency) {
            Ok(money) => {
                prop_assert!((0..=Money::MAX_MINOR).contains(&minor));
                prop_assert_eq!((money.minor(), money.currency()), (minor, currency));
            }
            Err(error) => {
                prop_assert!(!(0..=Money::MAX_MINOR).contains(&minor));
                prop_assert_eq!(error, MoneyError::OutOfRange);
            }
        }
    }

    #[test]
    fn a_sum_is_exact_or_refused(a in minor(), b in minor(), currency in currency()) {
        let (x, y) = (Money::new(a, currency).unwrap(), Money::new(b, currency).unwrap());
        prop_assert_eq!(x.plus(y), expected(i128::from(a) + i128::from(b), currency));
        prop_assert_eq!(x.plus(y), y.plus(x));
    }

    #[test]
    fn a_product_is_exact_or_refused(a in minor(), count in any::<i64>(), currency in currency()) {
        let product = Money::new(a, currency).unwrap().times(count);
        prop_assert_eq!(product, expected(i128::from(a) * i128::from(count), currency));
    }

    #[test]
    fn amounts_of_two_currencies_never_add(a in minor(), b in minor(), one in currency(), other in currency()) {
        let (x, y) = (Money::new(a, one).unwrap(), Money::new(b, other).unwrap());
        prop_assert_eq!(x.plus(y) == Err(MoneyError::MixedCurrencies), one != other);
    }

    #[test]
    fn a_currency_is_read_back_as_it_is_written(currency in currency()) {
        prop_assert_eq!(currency.to_string().parse::<Currency>(), Ok(currency));
    }
}
