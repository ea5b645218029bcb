//! Answers: what a handler returns, and what an idempotency key keeps.

use actix_web::body::{BoxBody, MessageBody as _};
use actix_web::http::{Method, StatusCode, header};
use actix_web::{HttpMessage as _, HttpRequest, HttpResponse, Responder, ResponseError as _};
use bytes::Bytes;
use cache::CacheStatus;
use chassis::{Problem, RequestId};
use domain::Version;
use serde::Serialize;
use serde_json::{Map, Value};

use crate::etag::{self, ETag};
use crate::step::{Step, timed_now};

/// A body, with what belongs to it.
#[derive(Debug)]
pub(crate) struct Answer {
    status: StatusCode,
    location: Option<String>,
    /// As the header has it.
    etag: Option<Tag>,
    cache_status: Option<CacheStatus>,
    body: Bytes,
}

#[derive(Debug)]
enum Tag {
    Known(ETag),
    /// Of an answer that was stored, maybe by another release.
    Stored(String),
}

/// What an idempotency key keeps of an answer.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Stored {
    pub(crate) status: i16,
    pub(crate) location: Option<String>,
    pub(crate) etag: Option<String>,
    pub(crate) body: Vec<u8>,
}

impl Answer {
    /// 200.
    pub(crate) fn ok(body: &impl Serialize) -> Answer {
        Answer {
            status: StatusCode::OK,
            location: None,
            etag: None,
            cache_status: None,
            body: timed_now(Step::Serialise, || json(body)).into(),
        }
    }

    /// 200, of a resource that went through the cache.
    pub(crate) fn cached(entry: cache::Entry) -> Answer {
        Answer {
            status: StatusCode::OK,
            location: None,
            etag: Some(Tag::Known(ETag::of_number(entry.version.get()))),
            cache_status: Some(entry.status),
            body: entry.body,
        }
    }

    /// 200, made of what went through the cache.
    pub(crate) fn joined(body: Vec<u8>, status: CacheStatus) -> Answer {
        Answer {
            status: StatusCode::OK,
            location: None,
            etag: None,
            cache_status: Some(status),
            body: body.into(),
        }
    }

    /// 201, of a new resource at `location`.
    pub(crate) fn created(location: String, body: &impl Serialize) -> Answer {
        Answer {
            status: StatusCode::CREATED,
            location: Some(location),
            ..Answer::ok(body)
        }
    }

    /// With the resource's ETag.
    pub(crate) fn version(self, version: Version) -> Answer {
        Answer {
            etag: Some(Tag::Known(ETag::of(version))),
            ..self
        }
    }

    /// A refusal that a repetition of the request is to get again.
    pub(crate) fn refused(problem: &Problem) -> Answer {
        let body = problem.error_response().into_body();
        Answer {
            status: problem.status_code(),
            location: None,
            etag: None,
            cache_status: None,
            // A problem's body is in memory.
            body: body.try_into_bytes().unwrap_or_default(),
        }
    }

    /// `None` when `stored` has a status that none has.
    pub(crate) fn restored(stored: Stored) -> Option<Answer> {
        Some(Answer {
            status: StatusCode::from_u16(stored.status.try_into().ok()?).ok()?,
            location: stored.location,
            etag: stored.etag.map(Tag::Stored),
            cache_status: None,
            body: stored.body.into(),
        })
    }

    pub(crate) fn to_stored(&self) -> Stored {
        Stored {
            // A status has three digits.
            status: i16::try_from(self.status.as_u16()).unwrap_or(i16::MAX),
            location: self.location.clone(),
            etag: self.etag_header(),
            body: self.body.to_vec(),
        }
    }

    fn etag_header(&self) -> Option<String> {
        self.etag.as_ref().map(|tag| match tag {
            Tag::Known(etag) => etag.to_string(),
            Tag::Stored(etag) => etag.clone(),
        })
    }

    /// Whether the client said that it has this.
    fn is_known_to(&self, request: &HttpRequest) -> bool {
        match self.etag {
            Some(Tag::Known(current))
                if *request.method() == Method::GET && self.status == StatusCode::OK =>
            {
                etag::client_has(request.headers(), current)
            }
            _ => false,
        }
    }
}

impl Responder for Answer {
    type Body = BoxBody;

    fn respond_to(self, request: &HttpRequest) -> HttpResponse {
        let known = self.is_known_to(request);
        let status = if known {
            StatusCode::NOT_MODIFIED
        } else {
            self.status
        };
        let mut response = HttpResponse::build(status);
        response.insert_header((header::CACHE_CONTROL, CACHE_CONTROL));
        if let Some(etag) = self.etag_header() {
            response.insert_header((header::ETAG, etag));
        }
        if let Some(location) = self.location {
            response.insert_header((header::LOCATION, location));
        }
        if let Some(status) = self.cache_status {
            response.insert_header((header::CACHE_STATUS, status.header_value(CACHE)));
        }
        if known {
            return response.finish();
        }
        if status.is_client_error() {
            response.content_type("application/problem+json");
            return response.body(with_request_id(self.body, request));
        }
        response.content_type(header::ContentType::json()).body(self.body)
    }
}

/// The body of a refusal, for this request: its log lines are what somebody who asks about it will look for.
fn with_request_id(problem: Bytes, request: &HttpRequest) -> Bytes {
    let Some(request_id) = request.extensions().get::<RequestId>().copied() else {
        return problem;
    };
    match serde_json::from_slice::<Map<String, Value>>(&problem) {
        Ok(mut members) => {
            members.insert("request_id".to_owned(), request_id.to_string().into());
            json(&members).into()
        }
        Err(_) => problem,
    }
}

/// No invalidation reaches a browser: it may keep an answer, and asks each time whether it is still good.
const CACHE_CONTROL: &str = "private, no-cache";

/// The cache's name in `Cache-Status`; caches on the way to the client add theirs.
const CACHE: &str = "plumbline";

/// The bodies here hold only what JSON can say, so this can't fail.
pub(crate) fn json(body: &impl Serialize) -> Vec<u8> {
    serde_json::to_vec(body).expect("a body is texts, numbers and lists")
}
