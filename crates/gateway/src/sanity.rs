//! The first step: a request that could be read in two ways is refused before anything reads it.
//!
//! What hyper refuses by itself is left to it: a malformed head, two differing lengths, a transfer coding that does not
//! end in `chunked`, a method that is no token. A method that no path has is for the routes to refuse. A length beside `chunked` it drops, and it answers nothing more on that connection.

use http::header::{self, HeaderName};
use http::request::Parts;
use http::{HeaderMap, HeaderValue, Method, Version};

use crate::forward;
use crate::refusal::Refusal;

/// The head of a request that has one meaning. Only [`check`] makes one.
pub(crate) struct Sane {
    parts: Parts,
}

impl Sane {
    pub(crate) fn method(&self) -> &Method {
        &self.parts.method
    }

    /// Canonical: what is matched, logged and forwarded is this very string.
    pub(crate) fn path(&self) -> &str {
        self.parts.uri.path()
    }

    pub(crate) fn query(&self) -> Option<&str> {
        self.parts.uri.query()
    }

    pub(crate) fn headers(&self) -> &HeaderMap {
        &self.parts.headers
    }
}

/// Headers of which a second line would leave two readers with two opinions.
const SINGLETONS: [HeaderName; 11] = [
    header::AUTHORIZATION,
    header::CONTENT_ENCODING,
    header::CONTENT_LENGTH,
    header::CONTENT_TYPE,
    header::EXPECT,
    header::HOST,
    header::IF_MATCH,
    header::IF_NONE_MATCH,
    header::TRANSFER_ENCODING,
    header::USER_AGENT,
    HeaderName::from_static("idempotency-key"),
];

pub(crate) fn check(parts: Parts) -> Result<Sane, Refusal> {
    if parts.version != Version::HTTP_11 {
        return Err(Refusal::Version);
    }
    check_target(&parts)?;
    for name in &SINGLETONS {
        if parts.headers.get_all(name).iter().nth(1).is_some() {
            return Err(Refusal::Malformed("a header that may come once came twice"));
        }
    }
    check_host(parts.headers.get(header::HOST))?;
    check_framing(&parts.headers)?;
    check_connection(&parts.headers)?;
    Ok(Sane { parts })
}

fn check_target(parts: &Parts) -> Result<(), Refusal> {
    let uri = &parts.uri;
    if uri.scheme().is_some() || uri.authority().is_some() || !uri.path().starts_with('/') {
        return Err(Refusal::Malformed("the target is not a path"));
    }
    if !is_canonical(uri.path()) {
        return Err(Refusal::Malformed("the path is not in its canonical form"));
    }
    if !uri.query().is_none_or(is_query) {
        return Err(Refusal::Malformed("the query holds bytes that must be encoded"));
    }
    Ok(())
}

fn check_host(host: Option<&HeaderValue>) -> Result<(), Refusal> {
    let is_host = |host: &HeaderValue| {
        host.to_str()
            .is_ok_and(|host| !host.contains('@') && host.parse::<http::uri::Authority>().is_ok())
    };
    match host {
        Some(host) if is_host(host) => Ok(()),
        _ => Err(Refusal::Malformed("one `Host` is required")),
    }
}

fn check_framing(headers: &HeaderMap) -> Result<(), Refusal> {
    let is = |name, expected: &str| {
        headers
            .get(name)
            .is_none_or(|value: &HeaderValue| value.as_bytes().eq_ignore_ascii_case(expected.as_bytes()))
    };
    if !is(header::TRANSFER_ENCODING, "chunked") {
        return Err(Refusal::TransferCoding);
    }
    if headers.contains_key(header::CONTENT_ENCODING) {
        return Err(Refusal::ContentCoding);
    }
    if !is(header::EXPECT, "100-continue") {
        return Err(Refusal::Expectation);
    }
    Ok(())
}

fn check_connection(headers: &HeaderMap) -> Result<(), Refusal> {
    if headers.contains_key(header::UPGRADE) {
        return Err(Refusal::Malformed("this connection is not upgraded to anything"));
    }
    for value in headers.get_all(header::CONNECTION) {
        let Ok(value) = value.to_str() else {
            return Err(Refusal::Malformed("`Connection` is not a list of names"));
        };
        if value
            .split(',')
            .any(|name| forward::is_meant_for_upstream(name.trim()))
        {
            return Err(Refusal::Malformed(
                "`Connection` names a header that is not the connection's",
            ));
        }
    }
    Ok(())
}

/// Whether `path` is the one way to write it: no empty or dot segment, no parameters, and an escape, in upper-case
/// hex, only for UTF-8 that has to be escaped. What a later reader could take for a separator or an end never passes.
fn is_canonical(path: &str) -> bool {
    path.strip_prefix('/')
        .is_some_and(|path| path.is_empty() || path.split('/').all(is_canonical_segment))
}

fn is_canonical_segment(segment: &str) -> bool {
    if matches!(segment, "" | "." | "..") {
        return false;
    }
    let mut decoded = Vec::with_capacity(segment.len());
    let mut bytes = segment.bytes();
    while let Some(byte) = bytes.next() {
        match byte {
            b'%' => match escaped(bytes.next(), bytes.next()) {
                Some(byte) if must_be_escaped(byte) => decoded.push(byte),
                _ => return false,
            },
            byte if is_pchar(byte) && byte != b';' => decoded.push(byte),
            _ => return false,
        }
    }
    std::str::from_utf8(&decoded).is_ok()
}

fn escaped(high: Option<u8>, low: Option<u8>) -> Option<u8> {
    let digit = |byte: u8| match byte {
        b'0'..=b'9' => Some(byte - b'0'),
        b'A'..=b'F' => Some(byte - b'A' + 10),
        _ => None,
    };
    Some(digit(high?)? << 4 | digit(low?)?)
}

/// Of what cannot stand in a segment as it is, control characters and `% / \ ;` may not be escaped either.
fn must_be_escaped(byte: u8) -> bool {
    !is_pchar(byte) && !byte.is_ascii_control() && !matches!(byte, b'%' | b'/' | b'\\')
}

/// RFC 3986's `pchar`, escapes aside.
fn is_pchar(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || b"-._~!$&'()*+,;=:@".contains(&byte)
}

/// RFC 3986's `query`. It is passed on as it is, so hex digits may be in either case.
fn is_query(query: &str) -> bool {
    let bytes = query.as_bytes();
    bytes.iter().enumerate().all(|(at, byte)| match byte {
        b'%' => matches!(bytes.get(at + 1..at + 3), Some([high, low])
            if high.is_ascii_hexdigit() && low.is_ascii_hexdigit()),
        byte => is_pchar(*byte) || matches!(byte, b'/' | b'?'),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_path_has_one_canonical_form() {
        let canonical = [
            "/",
            "/v1/products",
            "/v1/orders/0190f3c0-7a1b-7c2d-8e3f-4a5b6c7d8e9f/payment",
            "/caf%C3%A9",
            "/a%20b",
            "/a+b,c=d:e@f!$&'()*~._-",
            "/...",
            "/%7B%7D%3F%23%5B%5D",
        ];
        let other = [
            "",
            "v1",
            "//",
            "/v1/",
            "/v1//products",
            "/.",
            "/..",
            "/v1/./products",
            "/v1/../products",
            "/a;b",
            "/a%3Bb",
            "/a\\b",
            "/a%5Cb",
            "/a%2Fb",
            "/a%2fb",
            "/a%00b",
            "/a%0Ab",
            "/a%25b",
            "/%2E%2E",
            "/%41",
            "/a%c3%a9",
            "/%C3",
            "/%ED%A0%80",
            "/a%",
            "/a%2",
            "/a%zz",
            "/a b",
            "/a\"b",
            "/a{b}",
            "/caf\u{e9}",
            "/a|b",
            "/a^b",
            "/a%7F",
        ];
        for path in canonical {
            assert!(is_canonical(path), "{path} is canonical");
        }
        for path in other {
            assert!(!is_canonical(path), "{path} is not canonical");
        }
    }

    #[test]
    fn a_query_holds_what_may_stand_in_one() {
        for query in ["", "limit=20&after=a%2fb%2Fc", "q=a+b?/;@:"] {
            assert!(is_query(query), "{query}");
        }
        for query in [
            "a%", "a%2", "a%zz", "a b", "a\"", "a{", "a|b", "a\\b", "a[0]", "\u{e9}",
        ] {
            assert!(!is_query(query), "{query}");
        }
    }
}
