//! Minor units as people write them.

/// Currencies whose minor unit is not a hundredth (ISO 4217), of those that a price can be in.
const WITHOUT_MINOR: &str = "BIF CLP DJF GNF ISK JPY KMF KRW PYG RWF UGX VND VUV XAF XOF XPF";
const THOUSANDTHS: &str = "BHD IQD JOD KWD LYD OMR TND";

/// `1050`, `EUR` is `10.50 EUR`.
pub(super) fn amount(minor: i64, currency: &str) -> String {
    let listed = |codes: &str| codes.split(' ').any(|code| code == currency);
    let digits: usize = if listed(WITHOUT_MINOR) {
        0
    } else if listed(THOUSANDTHS) {
        3
    } else {
        2
    };
    let sign = if minor < 0 { "-" } else { "" };
    let all = format!("{:0>width$}", minor.unsigned_abs(), width = digits + 1);
    let (whole, fraction) = all.split_at(all.len() - digits);
    let point = if digits == 0 { "" } else { "." };
    format!("{sign}{whole}{point}{fraction} {currency}")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_point_stands_where_the_currency_has_it() {
        for (minor, currency, expected) in [
            (1050, "EUR", "10.50 EUR"),
            (5, "EUR", "0.05 EUR"),
            (0, "EUR", "0.00 EUR"),
            (-105, "EUR", "-1.05 EUR"),
            (1050, "JPY", "1050 JPY"),
            (0, "JPY", "0 JPY"),
            (1050, "KWD", "1.050 KWD"),
        ] {
            assert_eq!(amount(minor, currency), expected);
        }
    }
}
