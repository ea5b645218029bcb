//! Answers that are no problems.

use actix_web::body::BoxBody;
use actix_web::http::{StatusCode, header};
use actix_web::{HttpRequest, HttpResponse, Responder};
use bytes::Bytes;
use domain::Version;
use serde::Serialize;

/// The version of all bodies' format; part of every ETag and cache entry, so that a release that answers differently
/// never confirms an old body.
pub(crate) const SCHEMA: u16 = 1;

/// A body, with what belongs to it.
#[derive(Debug)]
pub(crate) struct Answer {
    status: StatusCode,
    location: Option<String>,
    version: Option<i64>,
    cache_status: Option<&'static str>,
    body: Bytes,
}

impl Answer {
    /// 200.
    pub(crate) fn ok(body: &impl Serialize) -> Answer {
        Answer {
            status: StatusCode::OK,
            location: None,
            version: None,
            cache_status: None,
            body: json(body).into(),
        }
    }

    /// 200, of a resource that went through the cache.
    pub(crate) fn cached(entry: cache::Entry) -> Answer {
        Answer {
            status: StatusCode::OK,
            location: None,
            version: Some(entry.version.get()),
            cache_status: Some(entry.status.header_value()),
            body: entry.body,
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
            version: Some(version.get()),
            ..self
        }
    }
}

impl Responder for Answer {
    type Body = BoxBody;

    fn respond_to(self, _: &HttpRequest) -> HttpResponse {
        let mut response = HttpResponse::build(self.status);
        response
            .content_type(header::ContentType::json())
            .insert_header((header::CACHE_CONTROL, CACHE_CONTROL));
        if let Some(location) = self.location {
            response.insert_header((header::LOCATION, location));
        }
        if let Some(version) = self.version {
            response.insert_header((header::ETAG, format!("\"{SCHEMA}-{version}\"")));
        }
        if let Some(status) = self.cache_status {
            response.insert_header((header::CACHE_STATUS, status));
        }
        response.body(self.body)
    }
}

/// No invalidation reaches a browser: it may keep an answer, and asks each time whether it is still good.
const CACHE_CONTROL: &str = "private, no-cache";

/// The bodies here hold only what JSON can say, so this can't fail.
pub(crate) fn json(body: &impl Serialize) -> Vec<u8> {
    serde_json::to_vec(body).expect("a body is texts, numbers and lists")
}
