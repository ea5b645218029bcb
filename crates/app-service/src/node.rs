//! JSON as it was sent: with repeated members, and every number that fits.

use std::fmt;

use serde::Deserializer;
use serde::de::{Error, MapAccess, SeqAccess, Visitor};

/// No body of this API is as deep as this.
const MOST_DEPTH: usize = 16;

#[derive(Clone, Debug, PartialEq)]
pub(crate) enum Node {
    Null,
    Bool(bool),
    Integer(i128),
    /// With a fraction, or beyond the integers that every reader keeps.
    Fraction(f64),
    Text(String),
    /// A query parameter: text that stands for whatever is wanted.
    Parameter(String),
    List(Vec<Node>),
    /// In the order in which they were sent.
    Object(Vec<(String, Node)>),
}

impl Node {
    /// # Errors
    /// When `bytes` are not one JSON text in UTF-8, or it is nested too deeply.
    pub(crate) fn parse(bytes: &[u8]) -> Result<Node, serde_json::Error> {
        let mut deserializer = serde_json::Deserializer::from_slice(bytes);
        let node = Reader { depth: 0 }.read(&mut deserializer)?;
        // Nothing may follow.
        deserializer.end()?;
        Ok(node)
    }

    /// For "…, not a list".
    pub(crate) fn describe(&self) -> &'static str {
        match self {
            Node::Null => "null",
            Node::Bool(_) => "a boolean",
            Node::Integer(_) | Node::Fraction(_) => "a number",
            Node::Text(_) | Node::Parameter(_) => "a text",
            Node::List(_) => "a list",
            Node::Object(_) => "an object",
        }
    }
}

#[derive(Clone, Copy)]
struct Reader {
    depth: usize,
}

impl Reader {
    fn read<'de, D: Deserializer<'de>>(self, deserializer: D) -> Result<Node, D::Error> {
        deserializer.deserialize_any(self)
    }

    fn below<E: Error>(self) -> Result<Reader, E> {
        if self.depth == MOST_DEPTH {
            return Err(E::custom(format_args!("nested deeper than {MOST_DEPTH} levels")));
        }
        Ok(Reader {
            depth: self.depth + 1,
        })
    }
}

impl<'de> serde::de::DeserializeSeed<'de> for Reader {
    type Value = Node;

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<Node, D::Error> {
        self.read(deserializer)
    }
}

impl<'de> Visitor<'de> for Reader {
    type Value = Node;

    fn expecting(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.write_str("JSON")
    }

    fn visit_unit<E>(self) -> Result<Node, E> {
        Ok(Node::Null)
    }

    fn visit_bool<E>(self, value: bool) -> Result<Node, E> {
        Ok(Node::Bool(value))
    }

    fn visit_i64<E>(self, value: i64) -> Result<Node, E> {
        Ok(Node::Integer(value.into()))
    }

    fn visit_u64<E>(self, value: u64) -> Result<Node, E> {
        Ok(Node::Integer(value.into()))
    }

    /// `1.0` and `1e2` are integers, as JSON Schema says, as long as a double holds them exactly.
    fn visit_f64<E>(self, value: f64) -> Result<Node, E> {
        const EXACT: f64 = 9_007_199_254_740_991.0;
        Ok(if value.fract() == 0.0 && value.abs() <= EXACT {
            Node::Integer(value as i128)
        } else {
            Node::Fraction(value)
        })
    }

    fn visit_str<E>(self, value: &str) -> Result<Node, E> {
        Ok(Node::Text(value.to_owned()))
    }

    fn visit_string<E>(self, value: String) -> Result<Node, E> {
        Ok(Node::Text(value))
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut items: A) -> Result<Node, A::Error> {
        let below = self.below()?;
        let mut list = Vec::new();
        while let Some(item) = items.next_element_seed(below)? {
            list.push(item);
        }
        Ok(Node::List(list))
    }

    fn visit_map<A: MapAccess<'de>>(self, mut members: A) -> Result<Node, A::Error> {
        let below = self.below()?;
        let mut object = Vec::new();
        while let Some(name) = members.next_key::<String>()? {
            object.push((name, members.next_value_seed(below)?));
        }
        Ok(Node::Object(object))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn repeated_members_and_exact_numbers_are_kept() {
        let node = Node::parse(br#"{"a": 1.0, "a": 18446744073709551615, "b": [1.5, 1e300, null]}"#).unwrap();
        let expected = Node::Object(vec![
            ("a".to_owned(), Node::Integer(1)),
            ("a".to_owned(), Node::Integer(u64::MAX.into())),
            (
                "b".to_owned(),
                Node::List(vec![Node::Fraction(1.5), Node::Fraction(1e300), Node::Null]),
            ),
        ]);
        assert_eq!(node, expected);
    }

    #[test]
    fn what_is_no_json_is_refused() {
        let deep = format!("{}{}", "[".repeat(17), "]".repeat(17));
        let refused: [&[u8]; 8] = [
            b"",
            b"{",
            b"{}{}",
            b"{'a': 1}",
            b"\"\xff\"",
            br#""\ud800""#,
            b"1e999",
            deep.as_bytes(),
        ];
        for bytes in refused {
            assert!(Node::parse(bytes).is_err(), "{}", String::from_utf8_lossy(bytes));
        }
    }
}
