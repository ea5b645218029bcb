//! What comes with a POST: a body, and the key that makes a repetition one.

use actix_web::dev::Payload;
use actix_web::{FromRequest, HttpRequest};
use chassis::Problem;
use futures_util::FutureExt as _;
use futures_util::future::LocalBoxFuture;
use serde::de::DeserializeOwned;
use sha2::{Digest as _, Sha256};

use crate::body::Body;
use crate::fields::Fields;
use crate::problems::{IDEMPOTENCY_KEY_INVALID, IDEMPOTENCY_KEY_REQUIRED};
use crate::query::Query;

const IDEMPOTENCY_KEY: &str = "idempotency-key";
const MOST_KEY: usize = 64;

/// A POST that has not been looked at; a handler first asks whether the caller may.
pub(crate) struct Post {
    method: String,
    path: String,
    query: Query,
    keys: Vec<Vec<u8>>,
    body: Body,
}

impl Post {
    /// As [`Body::read`]; without a key nothing is read.
    pub(crate) fn read<T: DeserializeOwned>(&self) -> Result<(T, Fields), Problem> {
        self.key()?;
        self.body.read()
    }

    /// As [`Body::empty`].
    pub(crate) fn empty(&self) -> Result<(), Problem> {
        self.key()?;
        self.body.empty()
    }

    /// The one key of a request without a query, since no POST here has one: 1 to 64 visible ASCII characters.
    pub(crate) fn key(&self) -> Result<&str, Problem> {
        self.query.empty()?;
        let [key] = self.keys.as_slice() else {
            return Err(match self.keys.len() {
                0 => IDEMPOTENCY_KEY_REQUIRED.problem(),
                _ => IDEMPOTENCY_KEY_INVALID.problem(),
            });
        };
        str::from_utf8(key)
            .ok()
            .filter(|key| {
                (1..=MOST_KEY).contains(&key.len()) && key.bytes().all(|byte| byte.is_ascii_graphic())
            })
            .ok_or_else(|| IDEMPOTENCY_KEY_INVALID.problem())
    }

    /// What tells this request from another one with the same key: SHA-256 over method, path, query, media type and
    /// body, each preceded by its length.
    pub(crate) fn fingerprint(&self) -> [u8; 32] {
        let mut hash = Sha256::new();
        for part in [
            self.method.as_bytes(),
            self.path.as_bytes(),
            self.query.text.as_bytes(),
            &self.body.content_type,
            &self.body.bytes,
        ] {
            hash.update((part.len() as u64).to_be_bytes());
            hash.update(part);
        }
        hash.finalize().into()
    }
}

impl FromRequest for Post {
    type Error = Problem;
    type Future = LocalBoxFuture<'static, Result<Post, Problem>>;

    fn from_request(request: &HttpRequest, payload: &mut Payload) -> Self::Future {
        let keys = request.headers().get_all(IDEMPOTENCY_KEY);
        let keys = keys.map(|key| key.as_bytes().to_vec()).collect();
        let (method, path) = (request.method().to_string(), request.path().to_owned());
        let query = Query::of(request);
        let body = Body::from_request(request, payload);
        async move {
            Ok(Post {
                method,
                path,
                query,
                keys,
                body: body.await?,
            })
        }
        .boxed_local()
    }
}
