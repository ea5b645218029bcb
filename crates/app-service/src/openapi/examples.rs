//! Every body and parameter of the document has an example, and each example is what its schema says.

use serde_json::Value;

use super::document;

struct Checked {
    document: Value,
    faults: Vec<String>,
}

impl Checked {
    fn of(document: Value) -> Checked {
        let mut checked = Checked {
            faults: Vec::new(),
            document,
        };
        let document = checked.document.clone();
        for (path, item) in members(&document["paths"]) {
            for (method, operation) in members(item) {
                checked.operation(&format!("{method} {path}"), operation);
            }
        }
        checked
    }

    fn operation(&mut self, name: &str, operation: &Value) {
        for parameter in operation["parameters"].as_array().into_iter().flatten() {
            let place = format!("{name}: {}", parameter["name"]);
            self.examples(&place, parameter);
        }
        for (media_type, content) in members(&operation["requestBody"]["content"]) {
            self.examples(&format!("{name}: body as {media_type}"), content);
        }
        for (status, response) in members(&operation["responses"]) {
            let response = self.resolved(response);
            for (media_type, content) in members(&response["content"]) {
                self.examples(&format!("{name}: {status} as {media_type}"), content);
            }
        }
    }

    /// Of a parameter or a body: its own, otherwise its schema's.
    fn examples(&mut self, place: &str, described: &Value) {
        let schema = self.resolved(&described["schema"]);
        let own = described.get("example").or_else(|| schema.get("example"));
        let own = own.or_else(|| schema["examples"].get(0));
        let named = members(&described["examples"]).map(|(_, example)| &example["value"]);
        let examples: Vec<Value> = own.into_iter().chain(named).cloned().collect();
        if examples.is_empty() {
            self.faults.push(format!("{place}: no example"));
        }
        for example in examples {
            self.value(place, &schema, &example);
        }
    }

    /// What of JSON Schema the document uses, patterns and formats aside; unlike it, members that are not described are faults.
    fn value(&mut self, place: &str, schema: &Value, value: &Value) {
        let schema = self.resolved(schema);
        if let Some(types) = schema.get("type") {
            let one = std::slice::from_ref(types);
            let types = types.as_array().map_or(one, Vec::as_slice);
            if !types.iter().any(|name| is_of(name, value)) {
                return self.faults.push(format!("{place}: {value} is not of {types:?}"));
            }
        }
        if schema["enum"]
            .as_array()
            .is_some_and(|values| !values.contains(value))
        {
            self.faults
                .push(format!("{place}: {value} is none of {}", schema["enum"]));
        }
        if let Some(number) = value.as_i64() {
            let below = schema["minimum"].as_i64().is_some_and(|least| number < least);
            let above = schema["maximum"].as_i64().is_some_and(|most| number > most);
            if below || above {
                self.faults.push(format!("{place}: {number} is out of range"));
            }
        }
        for required in schema["required"].as_array().into_iter().flatten() {
            if value.get(required.as_str().unwrap_or_default()).is_none() {
                self.faults.push(format!("{place}: {required} is missing"));
            }
        }
        for (name, member) in members(value) {
            match schema["properties"].get(name) {
                Some(schema) => self.value(&format!("{place}/{name}"), schema, member),
                None => self.faults.push(format!("{place}/{name}: it is in no schema")),
            }
        }
        for (index, item) in value.as_array().into_iter().flatten().enumerate() {
            self.value(&format!("{place}/{index}"), &schema["items"], item);
        }
    }

    fn resolved(&self, described: &Value) -> Value {
        match described["$ref"]
            .as_str()
            .and_then(|reference| reference.strip_prefix('#'))
        {
            Some(pointer) => self.document.pointer(pointer).cloned().unwrap_or_default(),
            None => described.clone(),
        }
    }
}

fn members(object: &Value) -> impl Iterator<Item = (&String, &Value)> {
    object.as_object().into_iter().flatten()
}

fn is_of(name: &Value, value: &Value) -> bool {
    match name.as_str() {
        Some("object") => value.is_object(),
        Some("array") => value.is_array(),
        Some("string") => value.is_string(),
        Some("integer") => value.is_i64() || value.is_u64(),
        Some("null") => value.is_null(),
        _ => false,
    }
}

#[test]
fn every_body_and_parameter_has_an_example_that_is_what_its_schema_says() {
    let checked = Checked::of(serde_json::to_value(document()).unwrap());
    assert!(checked.faults.is_empty(), "{:#?}", checked.faults);
}

#[test]
fn an_example_that_is_missing_or_wrong_is_reported() {
    let good = serde_json::to_value(document()).unwrap();
    let check = |pointer: &str, value: Value, expected: &str| {
        let mut document = good.clone();
        *document.pointer_mut(pointer).unwrap() = value;
        let faults = Checked::of(document).faults;
        assert!(
            faults.iter().any(|fault| fault.contains(expected)),
            "{expected}: {faults:#?}"
        );
    };
    let schemas = "/components/schemas";
    check(
        &format!("{schemas}/Stock/example"),
        serde_json::json!({}),
        "\"version\" is missing",
    );
    check(
        &format!("{schemas}/Stock/example/quantity"),
        (-1).into(),
        "-1 is out of range",
    );
    check(
        &format!("{schemas}/Product/example/status"),
        "gone".into(),
        "is none of",
    );
    check(
        &format!("{schemas}/Orders/example/items/0/lines"),
        1.into(),
        "/items/0/lines: 1 is not of",
    );
    check(
        &format!("{schemas}/Problem/properties"),
        serde_json::json!({}),
        "/errors: it is in no schema",
    );
    check(
        "/paths/~1v1~1orders/post/requestBody/content",
        serde_json::json!({"a/b": {}}),
        "no example",
    );
}
