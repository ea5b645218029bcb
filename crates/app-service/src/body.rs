//! Request bodies: JSON in, and for everything that is wrong with it a JSON pointer.

use actix_web::dev::Payload;
use actix_web::error::PayloadError;
use actix_web::http::header::CONTENT_TYPE;
use actix_web::{FromRequest, HttpMessage as _, HttpRequest, web};
use chassis::Problem;
use futures_util::FutureExt as _;
use futures_util::future::LocalBoxFuture;
use serde::Deserialize;
use serde::de::DeserializeOwned;

use crate::fields::Fields;
use crate::form;
use crate::node::Node;
use crate::problems::{BODY_TOO_LARGE, INCOMPLETE_BODY, MALFORMED_JSON, UNSUPPORTED_MEDIA_TYPE};

/// A body that has been received and not looked at: a handler first asks whether the caller may.
pub(crate) struct Body {
    media_type: String,
    /// The header as it was sent, for comparisons.
    pub(crate) content_type: Vec<u8>,
    pub(crate) bytes: web::Bytes,
}

impl FromRequest for Body {
    type Error = Problem;
    type Future = LocalBoxFuture<'static, Result<Body, Problem>>;

    fn from_request(request: &HttpRequest, payload: &mut Payload) -> Self::Future {
        let media_type = request.content_type().to_owned();
        let content_type = request.headers().get(CONTENT_TYPE);
        let content_type = content_type.map_or_else(Vec::new, |value| value.as_bytes().to_vec());
        let receiving = web::Bytes::from_request(request, payload);
        async move {
            match receiving.await {
                Ok(bytes) => Ok(Body {
                    media_type,
                    content_type,
                    bytes,
                }),
                Err(error) => Err(match error.as_error::<PayloadError>() {
                    Some(PayloadError::Overflow) => BODY_TOO_LARGE.problem(),
                    _ => INCOMPLETE_BODY.problem(),
                }),
            }
        }
        .boxed_local()
    }
}

/// The body of a request that says everything with its path.
#[derive(Deserialize)]
struct Nothing {}

impl Body {
    /// The body as a `T`, with placeholders where something is wrong, and what is wrong: the caller goes on with its own
    /// rules and ends with [`Fields::finish`]. Another media type is 415, and what is no JSON 400, at once.
    pub(crate) fn read<T: DeserializeOwned>(&self) -> Result<(T, Fields), Problem> {
        if !self.media_type.eq_ignore_ascii_case("application/json") {
            return Err(UNSUPPORTED_MEDIA_TYPE.problem());
        }
        let node = Node::parse(&self.bytes).map_err(|error| MALFORMED_JSON.because(error))?;
        let mut fields = Fields::of_body();
        let filled =
            form::fill(&node, &mut fields).map_err(|error| Problem::internal(anyhow::Error::new(error)))?;
        Ok((filled, fields))
    }

    /// Refuses a body with anything in it. `{}` is nothing.
    pub(crate) fn empty(&self) -> Result<(), Problem> {
        if self.bytes.is_empty() {
            return Ok(());
        }
        let (Nothing {}, fields) = self.read()?;
        fields.finish()
    }
}
