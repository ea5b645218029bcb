//! Query strings, with the name of each parameter that is wrong.

use std::future::{Ready, ready};

use actix_web::dev::Payload;
use actix_web::{FromRequest, HttpRequest};
use chassis::Problem;
use serde::Deserialize;
use serde::de::DeserializeOwned;

use crate::fields::Fields;
use crate::form;
use crate::node::Node;

/// A query that has not been looked at.
pub(crate) struct Query {
    pub(crate) text: String,
}

impl Query {
    pub(crate) fn of(request: &HttpRequest) -> Query {
        Query {
            text: request.query_string().to_owned(),
        }
    }

    /// The query as a `T`, as [`Body::read`](crate::body::Body::read) reads bodies.
    pub(crate) fn read<T: DeserializeOwned>(&self) -> Result<(T, Fields), Problem> {
        let parameters = form_urlencoded::parse(self.text.as_bytes());
        let parameters =
            parameters.map(|(name, value)| (name.into_owned(), Node::Parameter(value.into_owned())));
        let node = Node::Object(parameters.collect());
        let mut fields = Fields::of_query();
        let filled =
            form::fill(&node, &mut fields).map_err(|error| Problem::internal(anyhow::Error::new(error)))?;
        Ok((filled, fields))
    }

    /// Refuses a query with anything in it.
    pub(crate) fn empty(&self) -> Result<(), Problem> {
        #[derive(Deserialize)]
        struct Nothing {}

        let (Nothing {}, fields) = self.read()?;
        fields.finish()
    }
}

impl FromRequest for Query {
    type Error = Problem;
    type Future = Ready<Result<Query, Problem>>;

    fn from_request(request: &HttpRequest, _: &mut Payload) -> Self::Future {
        ready(Ok(Query::of(request)))
    }
}
