//! Rows and domain values: queries take a connection, and those that lock or write end in `_in_txn`.

pub(crate) mod customer;
pub(crate) mod order;
pub(crate) mod product;
pub(crate) mod stock;

use domain::Version;

use crate::trouble::Trouble;

/// A row that its table's constraints should not have let in.
fn corrupt(table: &'static str) -> impl Fn(&dyn std::fmt::Display) -> Trouble {
    move |why| Trouble::Corrupt {
        table,
        why: why.to_string(),
    }
}

fn version(table: &'static str, value: i64) -> Result<Version, Trouble> {
    Version::new(value).ok_or_else(|| corrupt(table)(&"a version is at least 1"))
}
