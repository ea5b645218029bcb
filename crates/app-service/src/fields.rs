//! What is wrong with a request's fields; all of it is told at once.

use std::fmt::Display;

use chassis::{Kind, Problem};
use serde_json::json;

use crate::problems::{INVALID_FIELDS, INVALID_QUERY};

/// So that a body full of nonsense is not answered with a larger one.
const MOST_ERRORS: usize = 50;

/// Collects refusals, one for each place. What lies below a place that was refused already was never looked at, so
/// nothing more is said about it.
#[derive(Debug)]
pub(crate) struct Fields {
    kind: Kind,
    /// How the problem names a place: `pointer` (RFC 6901) or `parameter`.
    place: &'static str,
    errors: Vec<(String, String)>,
}

impl Fields {
    pub(crate) fn of_body() -> Fields {
        Fields {
            kind: INVALID_FIELDS,
            place: "pointer",
            errors: Vec::new(),
        }
    }

    pub(crate) fn of_query() -> Fields {
        Fields {
            kind: INVALID_QUERY,
            place: "parameter",
            errors: Vec::new(),
        }
    }

    /// How the member `name` of what is at `place` is named: a parameter stands alone, a pointer grows.
    pub(crate) fn place_below(&self, place: &str, name: &str) -> String {
        if self.place == "parameter" {
            return name.to_owned();
        }
        format!("{place}/{}", name.replace('~', "~0").replace('/', "~1"))
    }

    /// The parsed field, or `None` after noting what is wrong with it.
    pub(crate) fn check<T, E: Display>(
        &mut self,
        place: impl Into<String>,
        field: Result<T, E>,
    ) -> Option<T> {
        field.map_err(|error| self.refuse(place, error)).ok()
    }

    pub(crate) fn refuse(&mut self, place: impl Into<String>, why: impl Display) {
        let place = place.into();
        let said = |(earlier, _): &(String, String)| {
            place
                .strip_prefix(earlier.as_str())
                .is_some_and(|rest| rest.is_empty() || rest.starts_with('/'))
        };
        if self.errors.len() < MOST_ERRORS && !self.errors.iter().any(said) {
            self.errors.push((place, why.to_string()));
        }
    }

    /// An error when something was refused.
    pub(crate) fn finish(self) -> Result<(), Problem> {
        if self.errors.is_empty() {
            Ok(())
        } else {
            Err(self.problem())
        }
    }

    /// With what was refused.
    pub(crate) fn problem(self) -> Problem {
        let error = |(place, detail)| json!({ self.place: place, "detail": detail });
        let errors: Vec<_> = self.errors.into_iter().map(error).collect();
        self.kind.problem().with("errors", errors)
    }
}

/// The problem of one field.
pub(crate) fn invalid(pointer: impl Into<String>, why: impl Display) -> Problem {
    let mut fields = Fields::of_body();
    fields.refuse(pointer, why);
    fields.problem()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_place_is_refused_once_and_what_lies_below_it_not_at_all() {
        let mut fields = Fields::of_body();
        for place in ["/lines/1", "/lines/1", "/lines/1/quantity", "/lines/10", "/name"] {
            fields.refuse(place, "wrong");
        }
        let places: Vec<&str> = fields.errors.iter().map(|(place, _)| place.as_str()).collect();
        assert_eq!(places, ["/lines/1", "/lines/10", "/name"]);
    }
}
