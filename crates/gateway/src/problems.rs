//! The types of problems that the gateway answers with, and all there are: part of the API.
//!
//! The gateway's section of `docs/problems.md` is written from this list. Where app-service has a type of the same slug, the title is the
//! same: a client need not know who refused it.

chassis::kinds! {
    #[cfg(test)] ALL;

    // What HTTP/1.1 is not used for here.
    MALFORMED_REQUEST = 400 "malformed-request" "the request is malformed",
        when "The request can be read in two ways, or not at all; its target is no path (as CONNECT's is none); its body broke off.",
        remedy "send a path, a Host and headers as HTTP/1.1 wants them, each singleton once";
    TRANSFER_CODING_UNSUPPORTED = 400 "transfer-coding-unsupported" "the transfer coding is not supported",
        when "The body has another transfer coding than `chunked`. RFC 9112 would allow a 501; what a client sent is never a 5xx here.",
        remedy "send the body with a Content-Length or `chunked`";
    CONTENT_CODING_UNSUPPORTED = 415 "content-coding-unsupported" "the content coding is not supported",
        when "The body has a Content-Encoding.",
        remedy "send the body as it is";
    EXPECTATION_FAILED = 417 "expectation-failed" "the expectation cannot be met",
        when "Expect is something else than `100-continue`.",
        remedy "send no other Expect than `100-continue`";
    HTTP_VERSION_NOT_SUPPORTED = 505 "http-version-not-supported" "the HTTP version is not supported",
        when "The request is in HTTP/1.0.",
        remedy "speak HTTP/1.1";

    // Routes and rights.
    NOT_FOUND = 404 "not-found" "there is no such thing",
        when "No route has this path.",
        remedy "check the path against the API's description";
    METHOD_NOT_ALLOWED = 405 "method-not-allowed" "the method is not allowed here",
        when "The path exists and does not take this method, be it known elsewhere or not. Methods are case-sensitive.",
        remedy "use one of the methods that the Allow header lists";
    UNAUTHENTICATED = 401 "unauthenticated" "not authenticated",
        when "The request has no token where one is needed, or one that is not valid.",
        remedy "send a valid bearer token";
    INSUFFICIENT_SCOPE = 403 "insufficient-scope" "the token does not allow this",
        when "The token lacks the scope that WWW-Authenticate names.",
        remedy "ask for a token with this scope";
    RATE_LIMITED = 429 "rate-limited" "too many requests",
        when "The caller, or its address, has used up its quota.",
        remedy "try again after the seconds that Retry-After says";

    // Bodies.
    BODY_TOO_LARGE = 413 "body-too-large" "the body is too large",
        when "The body is longer than the route takes (64 KiB as delivered), or there is one where none is taken.",
        remedy "send less";
    BODY_TOO_SLOW = 408 "body-too-slow" "the body did not arrive in time",
        when "The body came too slowly.",
        remedy "send the request again";

    // What is wrong here.
    OVERLOADED = 503 "overloaded" "too busy",
        when "Too many requests are in flight. Nothing was changed.",
        remedy "try again after the seconds that Retry-After says";
    NOT_SENT = 502 "not-sent" "the request was not processed",
        when "No connection to app-service could be made. Nothing was changed.",
        remedy "try again";
    OUTCOME_UNKNOWN = 502 "outcome-unknown" "the outcome is unknown",
        when "The connection to app-service broke after the request had been sent.",
        remedy "repeat a POST with the same Idempotency-Key; otherwise read before you try again";
    DEADLINE_EXCEEDED = 504 "deadline-exceeded" "the request took too long",
        when "App-service did not answer within the route's timeout.",
        remedy "repeat a POST with the same Idempotency-Key; otherwise read before you try again";
    INTERNAL = 500 "internal" "internal error",
        when "A bug.",
        remedy "report it with the `request_id`";
}

#[cfg(test)]
mod tests {
    use std::collections::HashSet;
    use std::path::Path;

    use super::*;

    /// Where the gateway's section begins; app-service's stand before it.
    const HEADING: &str = "## From the gateway\n";

    fn section() -> String {
        let mut section = format!(
            "{HEADING}
It refuses requests before app-service sees them; written from `crates/gateway/src/problems.rs`. `outcome-unknown` has another status
than app-service's, because another connection was lost; what to do about it is the same.

| type: `urn:plumbline:problem:` and | status | title | when | what to do |
|---|---|---|---|---|
"
        );
        for kind in ALL {
            section.push_str(&kind.row());
        }
        section
    }

    #[test]
    fn the_gateways_section_of_the_page_of_problems_is_this_list() {
        let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../docs/problems.md");
        let page = std::fs::read_to_string(&path).unwrap();
        let before = page.find(HEADING).map_or(page.as_str(), |begin| &page[..begin]);
        let expected = format!("{before}{}", section());
        if page != expected {
            std::fs::write(&path, expected).unwrap();
            panic!("docs/problems.md was not up to date; its section on the gateway is now, commit it");
        }
    }

    #[test]
    fn each_type_is_listed_once() {
        let mut slugs = HashSet::new();
        for kind in ALL {
            assert!(slugs.insert(kind.slug), "{} is listed twice", kind.slug);
        }
    }
}
