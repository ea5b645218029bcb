//! Entity tags and the preconditions that are made of them (RFC 9110, 8.8.3 and 13.1).

use std::fmt;
use std::future::{Ready, ready};

use actix_web::dev::Payload;
use actix_web::http::header::{HeaderMap, IF_MATCH, IF_NONE_MATCH};
use actix_web::{FromRequest, HttpRequest};
use chassis::Problem;
use domain::Version;

use crate::problems::{INVALID_PRECONDITION, PRECONDITION_REQUIRED, STALE_VERSION};

/// The version of all bodies' format; part of every ETag and cache entry, so that a release that answers differently
/// never confirms an old body.
pub(crate) const SCHEMA: u16 = 1;

/// The strong tag of a resource's version: `"<schema>-<version>"`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct ETag {
    version: i64,
}

impl ETag {
    pub(crate) fn of(version: Version) -> ETag {
        ETag {
            version: version.get(),
        }
    }

    /// Of a version that comes from a cache entry.
    pub(crate) fn of_number(version: i64) -> ETag {
        ETag { version }
    }
}

impl fmt::Display for ETag {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(out, "\"{SCHEMA}-{}\"", self.version)
    }
}

/// An If-Match that has not been looked at: a handler first asks whether the caller may.
pub(crate) struct IfMatch(Option<Tags>, bool);

/// What a change depends on.
pub(crate) struct Precondition(Tags);

impl IfMatch {
    /// Refuses requests without one, so that nobody overwrites what they have not seen.
    pub(crate) fn required(self) -> Result<Precondition, Problem> {
        match self {
            IfMatch(Some(tags), _) => Ok(Precondition(tags)),
            IfMatch(None, true) => Err(INVALID_PRECONDITION.problem()),
            IfMatch(None, false) => Err(PRECONDITION_REQUIRED.problem()),
        }
    }
}

impl Precondition {
    /// Refuses when none of the tags is `current`. The comparison is the strong one: `W/"1-2"` does not match `"1-2"`.
    pub(crate) fn check(&self, current: ETag) -> Result<(), Problem> {
        let current = current.to_string();
        let holds = match &self.0 {
            Tags::Any => true,
            Tags::These(tags) => tags.contains(&current),
        };
        if holds {
            Ok(())
        } else {
            Err(STALE_VERSION.problem().with("current_etag", current))
        }
    }
}

impl FromRequest for IfMatch {
    type Error = Problem;
    type Future = Ready<Result<IfMatch, Problem>>;

    fn from_request(request: &HttpRequest, _: &mut Payload) -> Self::Future {
        let sent = request.headers().contains_key(IF_MATCH);
        let values = values(request.headers(), &IF_MATCH);
        ready(Ok(IfMatch(values.as_deref().and_then(Tags::parse), sent)))
    }
}

/// Whether the client has what `current` is the tag of. The comparison is the weak one, and what is not a list of tags
/// counts as absent.
pub(crate) fn client_has(headers: &HeaderMap, current: ETag) -> bool {
    let tags = values(headers, &IF_NONE_MATCH);
    match tags.as_deref().and_then(Tags::parse) {
        None => false,
        Some(Tags::Any) => true,
        Some(Tags::These(tags)) => {
            let current = current.to_string();
            tags.iter()
                .any(|tag| tag.strip_prefix("W/").unwrap_or(tag) == current)
        }
    }
}

/// A header that is sent several times is one list.
fn values(headers: &HeaderMap, name: &actix_web::http::header::HeaderName) -> Option<String> {
    let values: Option<Vec<&str>> = headers.get_all(name).map(|value| value.to_str().ok()).collect();
    Some(values?.join(","))
}

#[derive(Debug, PartialEq, Eq)]
enum Tags {
    /// `*`
    Any,
    /// As they were sent: quotes and `W/` included.
    These(Vec<String>),
}

impl Tags {
    /// `None` for what is neither `*` nor a list of at least one tag. Empty elements are skipped, as for any list.
    fn parse(value: &str) -> Option<Tags> {
        const SPACE: [char; 2] = [' ', '\t'];
        if value.trim_matches(SPACE) == "*" {
            return Some(Tags::Any);
        }
        let mut tags = Vec::new();
        let mut rest = value;
        loop {
            rest = rest.trim_start_matches([' ', '\t', ',']);
            if rest.is_empty() {
                break;
            }
            // A comma may stand inside a tag, so tags are read one by one.
            let prefix = if rest.starts_with("W/") { 2 } else { 0 };
            let opaque = rest[prefix..].strip_prefix('"')?;
            let length = opaque.find('"')?;
            if !opaque[..length]
                .bytes()
                .all(|byte| byte == 0x21 || byte >= 0x23 && byte != 0x7f)
            {
                return None;
            }
            let (tag, after) = rest.split_at(prefix + length + 2);
            tags.push(tag.to_owned());
            rest = after.trim_start_matches(SPACE);
            if !rest.is_empty() && !rest.starts_with(',') {
                return None;
            }
        }
        (!tags.is_empty()).then_some(Tags::These(tags))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_list_of_tags_is_read_as_the_rfc_says() {
        let these = |tags: &[&str]| Some(Tags::These(tags.iter().map(ToString::to_string).collect()));
        let cases = [
            ("*", Some(Tags::Any)),
            (" * ", Some(Tags::Any)),
            ("\"1-2\"", these(&["\"1-2\""])),
            ("W/\"1-2\"", these(&["W/\"1-2\""])),
            ("\"a\" , W/\"b,c\",, \"\"", these(&["\"a\"", "W/\"b,c\"", "\"\""])),
            ("", None),
            (",", None),
            ("1-2", None),
            ("\"1-2", None),
            ("\"1\" \"2\"", None),
            ("\"1\"2", None),
            ("\"1 2\"", None),
            ("w/\"1\"", None),
            ("*, \"1\"", None),
        ];
        for (value, expected) in cases {
            assert_eq!(Tags::parse(value), expected, "{value}");
        }
    }

    #[test]
    fn a_change_needs_a_strong_match_of_the_current_version() {
        let current = ETag { version: 2 };
        for (value, holds) in [
            ("*", true),
            ("\"1-2\"", true),
            ("\"1-1\", \"1-2\"", true),
            ("W/\"1-2\"", false),
            ("\"1-1\"", false),
            ("\"2-2\"", false),
            ("\"1-02\"", false),
        ] {
            let precondition = Precondition(Tags::parse(value).unwrap());
            assert_eq!(precondition.check(current).is_ok(), holds, "{value}");
        }
    }
}
