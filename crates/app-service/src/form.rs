//! Filling a struct from what was sent, without stopping at the first thing that is wrong.
//!
//! serde's derived code ends at its first error. This deserializer has none: it notes what is wrong and goes on with a
//! placeholder, so that one answer can name every field. The struct has the types of JSON only (integers, `bool`,
//! `String`, `Option`, `Vec` and such structs); what a text means is parsed from it afterwards, with the same [`Fields`].

use std::cell::RefCell;

use serde::de::value::{Error, StrDeserializer};
use serde::de::{DeserializeOwned, DeserializeSeed, IntoDeserializer, MapAccess, SeqAccess, Visitor};
use serde::{Deserializer, forward_to_deserialize_any};

use crate::fields::Fields;
use crate::node::Node;

/// The struct, with placeholders for what `fields` has notes about.
pub(crate) fn fill<T: DeserializeOwned>(node: &Node, fields: &mut Fields) -> Result<T, Error> {
    let notes = RefCell::new(fields);
    T::deserialize(Place {
        path: String::new(),
        node: Some(node),
        notes: &notes,
    })
}

/// A place in the body, or among the parameters, and what was sent there, if anything.
struct Place<'a, 'f> {
    path: String,
    node: Option<&'a Node>,
    notes: &'a RefCell<&'f mut Fields>,
}

impl<'a, 'f> Place<'a, 'f> {
    fn refuse(&self, why: impl std::fmt::Display) {
        self.notes.borrow_mut().refuse(&*self.path, why);
    }

    /// Notes that something else is here than what is wanted, or nothing.
    fn refuse_kind(&self, wanted: &str) {
        match self.node {
            None => self.refuse("it is required"),
            Some(Node::Null) => self.refuse(format_args!(
                "it is {wanted}; null is not the same as leaving it out"
            )),
            Some(node) => self.refuse(format_args!("it is {wanted}, not {}", node.describe())),
        }
    }

    fn below(&self, name: &str, node: Option<&'a Node>) -> Place<'a, 'f> {
        Place {
            path: self.notes.borrow().place_below(&self.path, name),
            node,
            notes: self.notes,
        }
    }

    fn text(&self) -> String {
        match self.node {
            Some(Node::Text(text) | Node::Parameter(text)) if text.contains('\0') => {
                self.refuse("it holds the character U+0000");
                String::new()
            }
            Some(Node::Text(text) | Node::Parameter(text)) => text.clone(),
            _ => {
                self.refuse_kind("a text");
                String::new()
            }
        }
    }

    fn integer<N: TryFrom<i128> + Default>(&self, from: i128, to: i128) -> N {
        const WANTED: &str = "a whole number";
        let number = match self.node {
            Some(Node::Integer(number)) => Some(*number),
            Some(Node::Fraction(number)) if number.fract() != 0.0 => {
                self.refuse(format_args!("it is {WANTED}, without a fraction"));
                return N::default();
            }
            // Beyond 2^53, and so beyond every limit here.
            Some(Node::Fraction(_)) => None,
            Some(Node::Parameter(text)) => match text.parse() {
                Ok(number) if !text.starts_with('+') => Some(number),
                _ => {
                    self.refuse(format_args!("it is {WANTED} in decimal digits"));
                    return N::default();
                }
            },
            _ => {
                self.refuse_kind(WANTED);
                return N::default();
            }
        };
        number
            .and_then(|number| N::try_from(number).ok())
            .unwrap_or_else(|| {
                self.refuse(format_args!("it is {WANTED} from {from} to {to}"));
                N::default()
            })
    }
}

impl<'de> Deserializer<'de> for Place<'_, '_> {
    type Error = Error;

    fn deserialize_any<V: Visitor<'de>>(self, _: V) -> Result<V::Value, Error> {
        // A struct with a field of another type: a mistake here, not the client's.
        Err(serde::de::Error::custom(format_args!(
            "{} is of a type that forms don't have",
            self.path
        )))
    }

    fn deserialize_bool<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Error> {
        let value = match self.node {
            Some(Node::Bool(value)) => *value,
            Some(Node::Parameter(text)) if text == "true" => true,
            Some(Node::Parameter(text)) if text == "false" => false,
            _ => {
                self.refuse_kind("true or false");
                false
            }
        };
        visitor.visit_bool(value)
    }

    fn deserialize_i64<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Error> {
        visitor.visit_i64(self.integer(i64::MIN.into(), i64::MAX.into()))
    }

    fn deserialize_string<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Error> {
        visitor.visit_string(self.text())
    }

    fn deserialize_option<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Error> {
        match self.node {
            None => visitor.visit_none(),
            Some(_) => visitor.visit_some(self),
        }
    }

    fn deserialize_seq<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Error> {
        let items: &[Node] = match self.node {
            Some(Node::List(items)) => items,
            _ => {
                self.refuse_kind("a list");
                &[]
            }
        };
        visitor.visit_seq(Items {
            list: &self,
            items: items.iter().enumerate(),
        })
    }

    fn deserialize_struct<V: Visitor<'de>>(
        self,
        _: &'static str,
        known: &'static [&'static str],
        visitor: V,
    ) -> Result<V::Value, Error> {
        let members: &[(String, Node)] = match self.node {
            Some(Node::Object(members)) => members,
            _ => {
                self.refuse_kind("an object");
                &[]
            }
        };
        for (index, (name, node)) in members.iter().enumerate() {
            let member = self.below(name, Some(node));
            if known.is_empty() {
                member.refuse("it is not known here; nothing is");
            } else if !known.contains(&name.as_str()) {
                member.refuse(format_args!(
                    "it is not known here; known are {}",
                    known.join(", ")
                ));
            } else if members[..index].iter().any(|(earlier, _)| earlier == name) {
                member.refuse("it is given more than once");
            }
        }
        visitor.visit_map(Members {
            object: &self,
            members,
            known: known.iter(),
            next: None,
        })
    }

    forward_to_deserialize_any! {
        i8 i16 i32 i128 u8 u16 u32 u64 u128 f32 f64 char str bytes byte_buf unit unit_struct newtype_struct tuple
        tuple_struct map enum identifier ignored_any
    }
}

struct Items<'a, 'p, 'f> {
    list: &'p Place<'a, 'f>,
    items: std::iter::Enumerate<std::slice::Iter<'a, Node>>,
}

impl<'de> SeqAccess<'de> for Items<'_, '_, '_> {
    type Error = Error;

    fn next_element_seed<T: DeserializeSeed<'de>>(&mut self, seed: T) -> Result<Option<T::Value>, Error> {
        let Some((index, item)) = self.items.next() else {
            return Ok(None);
        };
        seed.deserialize(self.list.below(&index.to_string(), Some(item)))
            .map(Some)
    }
}

/// Every known member in turn, sent or not.
struct Members<'a, 'p, 'f> {
    object: &'p Place<'a, 'f>,
    members: &'a [(String, Node)],
    known: std::slice::Iter<'static, &'static str>,
    next: Option<&'static str>,
}

impl<'de> MapAccess<'de> for Members<'_, '_, '_> {
    type Error = Error;

    fn next_key_seed<K: DeserializeSeed<'de>>(&mut self, seed: K) -> Result<Option<K::Value>, Error> {
        self.next = self.known.next().copied();
        let Some(name) = self.next else {
            return Ok(None);
        };
        let name: StrDeserializer<'_, Error> = name.into_deserializer();
        seed.deserialize(name).map(Some)
    }

    fn next_value_seed<V: DeserializeSeed<'de>>(&mut self, seed: V) -> Result<V::Value, Error> {
        let name = self.next.take().unwrap_or_default();
        let sent = self.members.iter().find(|(member, _)| member == name);
        seed.deserialize(self.object.below(name, sent.map(|(_, node)| node)))
    }
}
