//! Money: integer minor units with an ISO 4217 code.

use std::fmt;
use std::str::FromStr;

/// Active ISO 4217 codes that a price can be in (funds and metals left out), sorted.
const CODES: &str = "AED AFN ALL AMD AOA ARS AUD AWG AZN BAM BBD BDT BGN BHD BIF BMD BND BOB BRL \
BSD BTN BWP BYN BZD CAD CDF CHF CLP CNY COP CRC CUP CVE CZK DJF DKK DOP DZD EGP ERN ETB EUR FJD \
FKP GBP GEL GHS GIP GMD GNF GTQ GYD HKD HNL HTG HUF IDR ILS INR IQD IRR ISK JMD JOD JPY KES KGS \
KHR KMF KPW KRW KWD KYD KZT LAK LBP LKR LRD LSL LYD MAD MDL MGA MKD MMK MNT MOP MRU MUR MVR MWK \
MXN MYR MZN NAD NGN NIO NOK NPR NZD OMR PAB PEN PGK PHP PKR PLN PYG QAR RON RSD RUB RWF SAR SBD \
SCR SDG SEK SGD SHP SLE SOS SRD SSP STN SVC SYP SZL THB TJS TMT TND TOP TRY TTD TWD TZS UAH UGX \
USD UYU UZS VED VES VND VUV WST XAF XCD XOF XPF YER ZAR ZMW ZWG";

/// An ISO 4217 currency code.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Currency([u8; 3]);

impl Currency {
    /// Every code that there is, sorted.
    pub fn codes() -> impl Iterator<Item = &'static str> {
        CODES.split_ascii_whitespace()
    }

    pub fn as_str(&self) -> &str {
        // The bytes are ASCII letters by construction.
        std::str::from_utf8(&self.0).unwrap_or_default()
    }
}

impl fmt::Display for Currency {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

impl fmt::Debug for Currency {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

impl FromStr for Currency {
    type Err = MoneyError;

    fn from_str(code: &str) -> Result<Currency, MoneyError> {
        let known = CODES.split_ascii_whitespace().any(|known| known == code);
        match code.as_bytes().try_into() {
            Ok(bytes) if known => Ok(Currency(bytes)),
            _ => Err(MoneyError::UnknownCurrency),
        }
    }
}

/// An amount of at least zero, in minor units (cents for EUR, yen for JPY).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Money {
    minor: i64,
    currency: Currency,
}

/// Why an amount is none.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum MoneyError {
    #[error("an amount is 0 to {} minor units", Money::MAX_MINOR)]
    OutOfRange,
    #[error("not an ISO 4217 currency code in capitals")]
    UnknownCurrency,
    #[error("amounts of two currencies do not add")]
    MixedCurrencies,
}

impl Money {
    /// Also the largest integer that every JSON reader represents exactly (2^53 - 1).
    pub const MAX_MINOR: i64 = 9_007_199_254_740_991;

    pub fn new(minor: i64, currency: Currency) -> Result<Money, MoneyError> {
        let minor = Money::check_minor(minor)?;
        Ok(Money { minor, currency })
    }

    /// `minor`, when it can be an amount: the range is the same in every currency.
    pub fn check_minor(minor: i64) -> Result<i64, MoneyError> {
        let valid = (0..=Self::MAX_MINOR).contains(&minor);
        valid.then_some(minor).ok_or(MoneyError::OutOfRange)
    }

    pub fn zero(currency: Currency) -> Money {
        Money { minor: 0, currency }
    }

    pub fn minor(&self) -> i64 {
        self.minor
    }

    pub fn currency(&self) -> Currency {
        self.currency
    }

    pub fn plus(self, other: Money) -> Result<Money, MoneyError> {
        if self.currency != other.currency {
            return Err(MoneyError::MixedCurrencies);
        }
        let sum = self.minor.checked_add(other.minor);
        Money::new(sum.ok_or(MoneyError::OutOfRange)?, self.currency)
    }

    pub fn times(self, count: i64) -> Result<Money, MoneyError> {
        let product = self.minor.checked_mul(count);
        Money::new(product.ok_or(MoneyError::OutOfRange)?, self.currency)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_active_codes_in_capitals_are_currencies() {
        for (code, known) in [
            ("EUR", true),
            ("JPY", true),
            ("eur", false),
            ("XXX", false),
            ("", false),
            ("EURO", false),
        ] {
            assert_eq!(code.parse::<Currency>().is_ok(), known, "{code}");
        }
    }

    #[test]
    fn amounts_neither_overflow_nor_mix_nor_go_negative() {
        let eur: Currency = "EUR".parse().unwrap();
        let usd: Currency = "USD".parse().unwrap();
        let largest = Money::new(Money::MAX_MINOR, eur).unwrap();
        assert_eq!(
            largest.plus(Money::new(1, eur).unwrap()),
            Err(MoneyError::OutOfRange)
        );
        assert_eq!(largest.times(i64::MAX), Err(MoneyError::OutOfRange));
        assert_eq!(largest.times(-1), Err(MoneyError::OutOfRange));
        assert_eq!(Money::new(-1, eur), Err(MoneyError::OutOfRange));
        assert_eq!(
            Money::zero(eur).plus(Money::zero(usd)),
            Err(MoneyError::MixedCurrencies)
        );
    }
}
