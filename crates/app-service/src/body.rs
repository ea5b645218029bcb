//! Request bodies: JSON in, and for everything that is wrong with it a JSON pointer.

use std::fmt::{self, Display, Write as _};
use std::marker::PhantomData;

use actix_web::dev::Payload;
use actix_web::error::PayloadError;
use actix_web::{FromRequest, HttpMessage as _, HttpRequest, web};
use chassis::Problem;
use futures_util::FutureExt as _;
use futures_util::future::LocalBoxFuture;
use serde::de::value::MapAccessDeserializer;
use serde::de::{DeserializeOwned, MapAccess, Visitor};
use serde::{Deserialize, Deserializer};
use serde_json::error::Category;
use serde_json::json;
use serde_path_to_error::{Path, Segment};

/// A body that has been received and not looked at: a handler first asks whether the caller may.
pub(crate) struct Body {
    media_type: String,
    bytes: web::Bytes,
}

impl FromRequest for Body {
    type Error = Problem;
    type Future = LocalBoxFuture<'static, Result<Body, Problem>>;

    fn from_request(request: &HttpRequest, payload: &mut Payload) -> Self::Future {
        let media_type = request.content_type().to_owned();
        let receiving = web::Bytes::from_request(request, payload);
        async move {
            match receiving.await {
                Ok(bytes) => Ok(Body { media_type, bytes }),
                Err(error) => Err(match error.as_error::<PayloadError>() {
                    Some(PayloadError::Overflow) => {
                        Problem::new(413u16, "body-too-large", "the body is too large")
                    }
                    _ => Problem::new(400u16, "incomplete-body", "the body did not arrive as announced"),
                }),
            }
        }
        .boxed_local()
    }
}

impl Body {
    /// The body as a `T`. Another media type is 415, what is no JSON 400, and JSON of another shape 422.
    pub(crate) fn json<T: DeserializeOwned>(&self) -> Result<T, Problem> {
        if !self.media_type.eq_ignore_ascii_case("application/json") {
            return Err(Problem::new(
                415u16,
                "unsupported-media-type",
                "the media type is not supported",
            )
            .detail("send application/json"));
        }
        parse(&self.bytes)
    }
}

fn parse<T: DeserializeOwned>(bytes: &[u8]) -> Result<T, Problem> {
    let mut deserializer = serde_json::Deserializer::from_slice(bytes);
    let parsed = serde_path_to_error::deserialize::<_, Object<T>>(&mut deserializer)
        .map_err(|error| {
            let pointer = pointer(error.path());
            (pointer, error.into_inner())
        })
        .and_then(|parsed| {
            // Nothing may follow.
            deserializer.end().map_err(|error| (String::new(), error))?;
            Ok(parsed.0)
        });
    parsed.map_err(|(pointer, error)| match error.classify() {
        Category::Data => {
            let mut fields = Fields::default();
            fields.refuse(pointer, error);
            fields.problem()
        }
        Category::Io | Category::Syntax | Category::Eof => {
            Problem::new(400u16, "malformed-json", "the body is not JSON").detail(error.to_string())
        }
    })
}

/// RFC 6901.
fn pointer(path: &Path) -> String {
    let mut pointer = String::new();
    for segment in path {
        // Writing to a String can't fail.
        let _ = match segment {
            Segment::Seq { index } => write!(pointer, "/{index}"),
            Segment::Map { key } => write!(pointer, "/{}", key.replace('~', "~0").replace('/', "~1")),
            Segment::Enum { .. } | Segment::Unknown => Ok(()),
        };
    }
    pointer
}

/// A struct that is read from a JSON object only. Derived code takes an array as well, and its elements as the fields in
/// the order of their declaration.
pub(crate) struct Object<T>(pub(crate) T);

impl<'de, T: Deserialize<'de>> Deserialize<'de> for Object<T> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Object<T>, D::Error> {
        struct Members<T>(PhantomData<T>);

        impl<'de, T: Deserialize<'de>> Visitor<'de> for Members<T> {
            type Value = Object<T>;

            fn expecting(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
                out.write_str("an object")
            }

            fn visit_map<M: MapAccess<'de>>(self, members: M) -> Result<Object<T>, M::Error> {
                T::deserialize(MapAccessDeserializer::new(members)).map(Object)
            }
        }

        deserializer.deserialize_map(Members(PhantomData))
    }
}

/// For optional fields: `null` is a value of the wrong type, not another way to leave the field out.
pub(crate) fn present<'de, D, T>(deserializer: D) -> Result<Option<T>, D::Error>
where
    D: Deserializer<'de>,
    T: Deserialize<'de>,
{
    T::deserialize(deserializer).map(Some)
}

/// What is wrong with the fields of a body; all of it is told at once.
#[derive(Debug, Default)]
pub(crate) struct Fields {
    errors: Vec<serde_json::Value>,
}

impl Fields {
    /// The parsed field, or `None` after noting what is wrong with it.
    pub(crate) fn check<T, E: Display>(
        &mut self,
        pointer: impl Into<String>,
        field: Result<T, E>,
    ) -> Option<T> {
        field.map_err(|error| self.refuse(pointer, error)).ok()
    }

    pub(crate) fn refuse(&mut self, pointer: impl Into<String>, why: impl Display) {
        self.errors
            .push(json!({"pointer": pointer.into(), "detail": why.to_string()}));
    }

    /// 422 with what was noted.
    pub(crate) fn problem(self) -> Problem {
        Problem::new(422u16, "invalid-fields", "fields are not valid").with("errors", self.errors)
    }
}

/// 422 for one field.
pub(crate) fn invalid(pointer: impl Into<String>, why: impl Display) -> Problem {
    let mut fields = Fields::default();
    fields.refuse(pointer, why);
    fields.problem()
}
