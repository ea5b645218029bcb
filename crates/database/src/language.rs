//! Which language the server answers in.
//!
//! diesel keeps a server error's text and drops its code, unless it is one of a few. A lock or statement timeout, which
//! may be tried again, is told from a mistake, which may not, by its text in English. A server that speaks another
//! language must therefore not be served with: it would turn the one into the other without a word.

use diesel::sql_types::Text;
use diesel::{QueryResult, select};
use diesel_async::{AsyncPgConnection, RunQueryDsl as _};

diesel::define_sql_function! {
    fn current_setting(name: Text) -> Text;
}

/// What is wrong with the session's language, if anything, and what to do about it. Setting it here takes a superuser.
pub(crate) async fn fault(conn: &mut AsyncPgConnection) -> QueryResult<Option<String>> {
    let locale: String = select(current_setting("lc_messages")).get_result(conn).await?;
    Ok((!is_english(&locale)).then(|| {
        format!(
            "the server's messages are in {locale}, and errors are told apart by their English text: \
             ALTER ROLE … SET lc_messages = 'C', as a superuser, for this process's role"
        )
    }))
}

/// Whether messages are in English in `locale`. An empty one is that of the server's environment, as managed services
/// have it, and counts as English.
fn is_english(locale: &str) -> bool {
    let language = locale.split(['.', '@', '_']).next().unwrap_or_default();
    matches!(language, "" | "C" | "POSIX" | "en" | "English")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn english_is_known_by_its_locales() {
        for (locale, english) in [
            ("C", true),
            ("C.UTF-8", true),
            ("POSIX", true),
            ("en_US.utf8", true),
            ("en_GB", true),
            ("English_United States.1252", true),
            ("", true),
            ("de_DE.UTF-8", false),
            ("fr_FR@euro", false),
            ("enm", false),
        ] {
            assert_eq!(is_english(locale), english, "{locale}");
        }
    }
}
