use diesel::prelude::*;
use diesel_async::{AsyncPgConnection, RunQueryDsl};
use domain::{Customer, CustomerId, EmailAddress, PersonName};
use uuid::Uuid;

use super::{corrupt, version};
use crate::schema::customer;
use crate::trouble::Trouble;

#[derive(Queryable, Selectable)]
#[diesel(table_name = customer, check_for_backend(diesel::pg::Pg))]
struct Row {
    id: Uuid,
    principal: String,
    email: String,
    name: String,
    version: i64,
}

impl TryFrom<Row> for Customer {
    type Error = Trouble;

    fn try_from(row: Row) -> Result<Customer, Trouble> {
        let corrupt = corrupt("customer");
        Ok(Customer {
            id: CustomerId(row.id),
            principal: row.principal,
            email: EmailAddress::parse(&row.email).map_err(|why| corrupt(&why))?,
            name: PersonName::parse(&row.name).map_err(|why| corrupt(&why))?,
            version: version("customer", row.version)?,
        })
    }
}

/// Whose resources a query sees; ownership is a part of the query, so that nothing else is ever loaded.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Reach<'a> {
    /// Those of this principal.
    Own(&'a str),
    Any,
}

impl<'a> Reach<'a> {
    /// The principal, or one that nobody has; and whether it does not matter.
    pub(super) fn parts(self) -> (&'a str, bool) {
        match self {
            Reach::Own(principal) => (principal, false),
            Reach::Any => ("", true),
        }
    }
}

pub(crate) async fn find(
    conn: &mut AsyncPgConnection,
    id: CustomerId,
    reach: Reach<'_>,
) -> Result<Option<Customer>, Trouble> {
    let (principal, any) = reach.parts();
    let row = customer::table
        .find(id.0)
        .filter(
            customer::principal
                .eq(principal)
                .or(any.into_sql::<diesel::sql_types::Bool>()),
        )
        .select(Row::as_select())
        .first(conn)
        .await
        .optional()?;
    row.map(Customer::try_from).transpose()
}

/// Those that exist, in any order.
pub(crate) async fn find_all(conn: &mut AsyncPgConnection, ids: &[Uuid]) -> Result<Vec<Customer>, Trouble> {
    let rows = customer::table
        .filter(customer::id.eq_any(ids))
        .select(Row::as_select())
        .load(conn)
        .await?;
    rows.into_iter().map(Customer::try_from).collect()
}

/// The id of the customer that `principal` has registered.
pub(crate) async fn id_of(
    mut conn: &AsyncPgConnection,
    principal: &str,
) -> Result<Option<CustomerId>, Trouble> {
    let id = customer::table
        .filter(customer::principal.eq(principal))
        .select(customer::id)
        .first(&mut conn)
        .await
        .optional()?;
    Ok(id.map(CustomerId))
}

/// `false`, and nothing inserted, when the principal has a customer already.
pub(crate) async fn insert_in_txn(conn: &mut AsyncPgConnection, new: &Customer) -> Result<bool, Trouble> {
    let inserted = diesel::insert_into(customer::table)
        .values((
            customer::id.eq(new.id.0),
            customer::principal.eq(&new.principal),
            customer::email.eq(new.email.as_str()),
            customer::name.eq(new.name.as_str()),
            customer::version.eq(new.version.get()),
        ))
        .on_conflict(customer::principal)
        .do_nothing()
        .execute(conn)
        .await?;
    Ok(inserted == 1)
}
