use serde_json::{Map, Value};

/// Names of the fields that differ between two states of an aggregate, sorted; `None` when there is no state to compare with or one
/// of them is no JSON object.
///
/// Only names: values can be personal data. Fields about the change itself (`version`, `cause`, `previous…`) are no part of the state.
pub(super) fn fields(before: Option<&[u8]>, after: Option<&[u8]>) -> Option<Vec<String>> {
    let (before, after) = (state(before?)?, state(after?)?);
    let mut names: Vec<String> = after
        .iter()
        .filter(|(name, value)| before.get(*name) != Some(value))
        .map(|(name, _)| name)
        .chain(before.keys().filter(|name| !after.contains_key(*name)))
        .cloned()
        .collect();
    names.sort();
    Some(names)
}

fn state(payload: &[u8]) -> Option<Map<String, Value>> {
    let mut fields: Map<String, Value> = serde_json::from_slice(payload).ok()?;
    fields.retain(|name, _| name != "version" && name != "cause" && !name.starts_with("previous"));
    Some(fields)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_the_names_of_fields_that_differ_are_told() {
        let check = |before: &str, after: &str, expected: Option<&[&str]>| {
            let names = fields(Some(before.as_bytes()), Some(after.as_bytes()));
            let expected = expected.map(|names| names.iter().map(|n| (*n).to_owned()).collect::<Vec<_>>());
            assert_eq!(names, expected, "{before} {after}");
        };
        check(
            r#"{"a":1,"b":[1],"version":1}"#,
            r#"{"a":1,"b":[2],"version":2}"#,
            Some(&["b"]),
        );
        check(
            r#"{"b":1,"gone":1}"#,
            r#"{"new":1,"b":1}"#,
            Some(&["gone", "new"]),
        );
        check(
            r#"{"q":1}"#,
            r#"{"q":2,"previous_q":1,"cause":"order"}"#,
            Some(&["q"]),
        );
        check(r#"{"a":1}"#, r#"{"a":1}"#, Some(&[]));
        check("[]", "{}", None);
        check("{}", "\u{1}", None);
        assert_eq!(fields(None, Some(b"{}")), None);
    }
}
