//! Which failures no retry will ever mend, and where those records go.

use diesel::prelude::*;
use diesel::result::{DatabaseErrorInformation, DatabaseErrorKind, Error};
use diesel_async::{AsyncPgConnection, RunQueryDsl};

use crate::record::{ApplyError, Raw};
use crate::schema::dead_letter;

/// Why the record can never be applied, or `None` for everything that may heal: a missing grant, a full disk, a lost connection, and
/// whatever is not known to be permanent.
pub(crate) fn permanent(error: &ApplyError) -> Option<String> {
    match error {
        ApplyError::Permanent(reason) => Some(reason.clone()),
        ApplyError::Database(Error::DatabaseError(kind, info)) => {
            is_about_the_data(kind, info.as_ref()).then(|| info.message().to_owned())
        }
        ApplyError::Database(_) | ApplyError::Other(_) => None,
    }
}

/// SQLSTATE classes 22 (data exception) and 23 (integrity constraint violation).
fn is_about_the_data(kind: &DatabaseErrorKind, info: &dyn DatabaseErrorInformation) -> bool {
    match kind {
        DatabaseErrorKind::UniqueViolation
        | DatabaseErrorKind::ForeignKeyViolation
        | DatabaseErrorKind::NotNullViolation
        | DatabaseErrorKind::ExclusionViolation
        | DatabaseErrorKind::RestrictViolation => true,
        // Without a constraint's name it is a row for which a partitioned table has no partition yet.
        DatabaseErrorKind::CheckViolation => info.constraint_name().is_some(),
        DatabaseErrorKind::Unknown => is_data_exception(info.message()),
        _ => false,
    }
}

/// diesel drops the SQLSTATE of class 22, so these are known by their text. A server that speaks another language, or a message that
/// is not listed, pauses the partition, which is the safe side.
fn is_data_exception(message: &str) -> bool {
    const BEGINNINGS: [&str; 8] = [
        "value too long for type",
        "numeric field overflow",
        "division by zero",
        "invalid byte sequence for encoding",
        "unsupported Unicode escape sequence",
        "invalid input syntax for type",
        "invalid input value for enum",
        "malformed array literal",
    ];
    BEGINNINGS.iter().any(|text| message.starts_with(text)) || message.contains("out of range")
}

/// Keeps the record, whole, with the reason.
pub(crate) async fn park_in_txn(conn: &mut AsyncPgConnection, raw: &Raw, reason: &str) -> QueryResult<()> {
    // PostgreSQL's text can't hold NUL, and a reason can quote the record.
    let reason: String = reason
        .chars()
        .filter(|c| *c != '\0')
        .take(MAX_REASON_CHARS)
        .collect();
    let (names, values): (Vec<&str>, Vec<Option<&[u8]>>) = raw
        .headers
        .iter()
        .map(|(name, value)| (name.as_str(), value.as_deref()))
        .unzip();
    diesel::insert_into(dead_letter::table)
        .values((
            dead_letter::topic.eq(&raw.topic),
            dead_letter::partition.eq(raw.partition),
            dead_letter::offset.eq(raw.offset),
            dead_letter::key.eq(&raw.key),
            dead_letter::header_names.eq(names),
            dead_letter::header_values.eq(values),
            dead_letter::payload.eq(&raw.payload),
            dead_letter::error.eq(reason),
        ))
        // A position that was set back meets what it parked before.
        .on_conflict_do_nothing()
        .execute(conn)
        .await?;
    Ok(())
}

const MAX_REASON_CHARS: usize = 2000;

/// How many records are parked.
pub(crate) async fn count(conn: &mut AsyncPgConnection) -> QueryResult<i64> {
    dead_letter::table.count().get_result(conn).await
}

#[cfg(test)]
mod tests {
    use super::*;

    struct Info {
        message: &'static str,
        constraint: Option<&'static str>,
    }

    impl DatabaseErrorInformation for Info {
        fn message(&self) -> &str {
            self.message
        }
        fn details(&self) -> Option<&str> {
            None
        }
        fn hint(&self) -> Option<&str> {
            None
        }
        fn table_name(&self) -> Option<&str> {
            None
        }
        fn column_name(&self) -> Option<&str> {
            None
        }
        fn constraint_name(&self) -> Option<&str> {
            self.constraint
        }
        fn statement_position(&self) -> Option<i32> {
            None
        }
    }

    #[test]
    fn only_what_is_about_the_data_is_poison() {
        use DatabaseErrorKind as Kind;
        for (kind, message, constraint, expected) in [
            (Kind::UniqueViolation, "duplicate key value", Some("t_pkey"), true),
            (
                Kind::CheckViolation,
                "violates check constraint",
                Some("t_positive"),
                true,
            ),
            (
                Kind::CheckViolation,
                "no partition of relation found for row",
                None,
                false,
            ),
            (
                Kind::Unknown,
                "value too long for type character varying(3)",
                None,
                true,
            ),
            (Kind::Unknown, "bigint out of range", None, true),
            (
                Kind::Unknown,
                "permission denied for table order_seen",
                None,
                false,
            ),
            (
                Kind::Unknown,
                "could not extend file: No space left on device",
                None,
                false,
            ),
            (
                Kind::Unknown,
                "canceling statement due to lock timeout",
                None,
                false,
            ),
            (
                Kind::SerializationFailure,
                "could not serialize access",
                None,
                false,
            ),
            (
                Kind::ReadOnlyTransaction,
                "cannot execute INSERT in a read-only transaction",
                None,
                false,
            ),
            (Kind::UnableToSendCommand, "connection closed", None, false),
        ] {
            let error = Error::DatabaseError(kind, Box::new(Info { message, constraint }));
            let verdict = permanent(&ApplyError::Database(error));
            assert_eq!(verdict.is_some(), expected, "{message}");
        }
        assert!(permanent(&ApplyError::Other(anyhow::anyhow!("bug"))).is_none());
        assert!(permanent(&ApplyError::Permanent("no".into())).is_some());
    }
}
