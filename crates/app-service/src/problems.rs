//! The types of problems: part of the API, and all there are.
//!
//! App-service's part of `docs/problems.md` is written from this list, the gateway's part from its own; no other module names a type.

chassis::kinds! {
    ALL;

    // What is wrong with any request.
    UNAUTHENTICATED = 401 "unauthenticated" "not authenticated",
        when "The request has no valid token where one is needed.",
        remedy "send a valid bearer token";
    INSUFFICIENT_SCOPE = 403 "insufficient-scope" "the token does not allow this",
        when "The token lacks the scope that `scope` names.",
        remedy "ask for a token with this scope";
    NOT_FOUND = 404 "not-found" "there is no such thing",
        when "There is no such resource, or the caller may not know of it.",
        remedy "check the id, and that this token may see it";
    METHOD_NOT_ALLOWED = 405 "method-not-allowed" "the method is not allowed here",
        when "The path exists and does not take this method.",
        remedy "use one of the methods that the Allow header lists";
    INVALID_PATH = 400 "invalid-path" "the path is not valid",
        when "An id in the path is no UUID in its usual form.",
        remedy "send the id as the API gave it";
    INVALID_QUERY = 400 "invalid-query" "the query is not valid",
        when "Query parameters are unknown, repeated or of wrong value; `errors` names each `parameter`.",
        remedy "correct the parameters that `errors` names";

    // Bodies.
    UNSUPPORTED_MEDIA_TYPE = 415 "unsupported-media-type" "the media type is not supported",
        when "A body is sent as something else than JSON.",
        remedy "send application/json in UTF-8";
    MALFORMED_JSON = 400 "malformed-json" "the body is not JSON",
        when "The body is no JSON text in UTF-8: a syntax error, half a surrogate pair, a number beyond any double, deep nesting.",
        remedy "send one JSON object";
    INVALID_FIELDS = 422 "invalid-fields" "fields are not valid",
        when "Members of the body are missing, unknown, repeated, of a wrong type or break a rule; `errors` has a JSON `pointer` and a `detail` for each.",
        remedy "correct the fields that `errors` points at";
    BODY_TOO_LARGE = 413 "body-too-large" "the body is too large",
        when "The body is longer than the limit (64 KiB as delivered).",
        remedy "send less";
    BODY_TOO_SLOW = 408 "body-too-slow" "the body did not arrive in time",
        when "The time that the request had was over before its body had arrived.",
        remedy "send the request again";
    INCOMPLETE_BODY = 400 "incomplete-body" "the body did not arrive as announced",
        when "The connection brought less or other bytes than the head announced.",
        remedy "send the request again";

    // Repetitions and preconditions.
    IDEMPOTENCY_KEY_REQUIRED = 400 "idempotency-key-required" "an idempotency key is required",
        when "A POST has no Idempotency-Key.",
        remedy "send one Idempotency-Key header of 1 to 64 visible ASCII characters, new for each operation and the same when you repeat it";
    IDEMPOTENCY_KEY_INVALID = 400 "idempotency-key-invalid" "the idempotency key is not valid",
        when "A POST has more than one Idempotency-Key, or one that is not 1 to 64 visible ASCII characters.",
        remedy "send one Idempotency-Key header of 1 to 64 visible ASCII characters";
    IDEMPOTENCY_KEY_REUSED = 422 "idempotency-key-reused" "the idempotency key belongs to another request",
        when "The caller used this key within 24 hours for another path, query, media type or body.",
        remedy "repeat a request byte for byte, or choose a new key for another one";
    IDEMPOTENCY_KEY_IN_USE = 409 "idempotency-key-in-use" "a request with this idempotency key is running",
        when "The first request with this key had not ended after 2 seconds.",
        remedy "repeat the request after the seconds that Retry-After says, with the same key";
    PRECONDITION_REQUIRED = 428 "precondition-required" "a precondition is required",
        when "A PATCH has no If-Match.",
        remedy "read the resource and send its ETag as If-Match";
    INVALID_PRECONDITION = 400 "invalid-precondition" "the precondition is not valid",
        when "If-Match is neither `*` nor a list of entity tags.",
        remedy "send the ETag of the resource as it came, quotes included";
    STALE_VERSION = 412 "stale-version" "the resource has changed",
        when "No entity tag in If-Match is that of the current version, which `current_etag` says. Weak tags never match.",
        remedy "read the resource again and decide anew";

    // The storefront's rules.
    EMAIL_NOT_VERIFIED = 403 "email-not-verified" "a verified e-mail address is needed",
        when "Somebody registers whose token carries no e-mail address that its issuer has verified.",
        remedy "verify the address with the issuer and get a new token";
    NOT_REGISTERED = 403 "not-registered" "the caller is no customer",
        when "Somebody orders who has not registered.",
        remedy "register with POST /v1/customers first";
    ALREADY_REGISTERED = 409 "already-registered" "the caller is a customer already",
        when "Somebody registers a second time.",
        remedy "go on with the customer that you have";
    SKU_TAKEN = 409 "sku-taken" "the sku is taken",
        when "Another product has this sku.",
        remedy "choose another sku";
    PRODUCT_DISCONTINUED = 409 "product-discontinued" "the product is discontinued",
        when "A discontinued product is edited.",
        remedy "create another product";
    PRODUCT_PUBLISHED = 409 "product-published" "the product is published",
        when "An active product is to become a draft.",
        remedy "discontinue it instead";
    INSUFFICIENT_STOCK = 409 "insufficient-stock" "not enough in stock",
        when "An order, or an adjustment, wants more of `product_id` than the `available` quantity.",
        remedy "ask for less, or later";
    STOCK_TOO_LARGE = 409 "stock-too-large" "too much in stock",
        when "An adjustment leads beyond the largest quantity.",
        remedy "add less";
    ORDER_NOT_PAYABLE = 409 "order-not-payable" "the order can't be paid in its state",
        when "A payment is recorded for an order that is not `placed`; `order_status` says what it is.",
        remedy "read the order";
    ORDER_NOT_SHIPPABLE = 409 "order-not-shippable" "the order can't be shipped in its state",
        when "A shipment is recorded for an order that is not `paid`; `order_status` says what it is.",
        remedy "read the order";
    ORDER_NOT_CANCELLABLE = 409 "order-not-cancellable" "the order can't be cancelled in its state",
        when "An order is cancelled that is neither `placed` nor `paid`; `order_status` says what it is. An order that nobody paid in time is cancelled already.",
        remedy "read the order";

    // What is wrong here.
    OVERLOADED = 503 "overloaded" "too busy",
        when "Too many requests waited for a database connection, none was free, a lock was held too long, or the database was away. Nothing was changed.",
        remedy "try again after the seconds that Retry-After says";
    DEADLINE_EXCEEDED = 504 "deadline-exceeded" "the request took too long",
        when "The time that the request had was over before anything was decided. Nothing was changed.",
        remedy "try again later, a POST with the same Idempotency-Key";
    OUTCOME_UNKNOWN = 500 "outcome-unknown" "the outcome is unknown",
        when "The change was sent to the database, and its acknowledgement did not come in time.",
        remedy "repeat a POST with the same Idempotency-Key; otherwise read before you try again";
    // `chassis::Problem::internal` makes it.
    INTERNAL = 500 "internal" "internal error",
        when "A bug, or a dependency that failed in a way that nobody foresaw.",
        remedy "report it with the `request_id`";
}

#[cfg(test)]
mod tests {
    use std::collections::HashSet;
    use std::path::Path;

    use super::*;

    const HEAD: &str = "\
# Problems

Every error answer of the API is a problem (RFC 9457): `application/problem+json` with `type`, `title`, `status`, `detail` and the
`request_id` that the logs and traces of this request have. Programs go by `type`, which never changes; `detail` is for people, says
what to do, and may change. Extensions are named below.

Tests write this page. A type that both processes have means the same to a client, and has the same title.

## From app-service

Written from `crates/app-service/src/problems.rs`.

An `invalid-fields` has all that is wrong with a body at once:

```json
{
  \"type\": \"urn:plumbline:problem:invalid-fields\",
  \"title\": \"fields are not valid\",
  \"status\": 422,
  \"detail\": \"correct the fields that `errors` points at\",
  \"request_id\": \"0190aaaa-0000-7000-8000-000000000000\",
  \"errors\": [
    {\"pointer\": \"/lines/0/quantity\", \"detail\": \"a quantity is 1 to 1000000\"},
    {\"pointer\": \"/colour\", \"detail\": \"it is not known here; known are lines\"}
  ]
}
```

| type: `urn:plumbline:problem:` and | status | title | when | what to do |
|---|---|---|---|---|
";
    /// Where the gateway's section begins, which its own test writes.
    const GATEWAY: &str = "\n## From the gateway\n";

    /// All but the gateway's section.
    fn own_part() -> String {
        let mut page = HEAD.to_owned();
        for kind in ALL {
            page.push_str(&kind.row());
        }
        page
    }

    #[test]
    fn app_services_part_of_the_page_of_problems_is_this_list() {
        let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../docs/problems.md");
        let committed = std::fs::read_to_string(&path).unwrap_or_default();
        let gateways = committed.find(GATEWAY).map_or("", |begin| &committed[begin..]);
        let expected = format!("{}{gateways}", own_part());
        if committed != expected {
            std::fs::write(&path, expected).expect("docs/ is writable");
            panic!("docs/problems.md was not up to date; it is now, commit it");
        }
    }

    #[test]
    fn each_type_is_one_problem() {
        let mut slugs = HashSet::new();
        for kind in ALL {
            assert!(slugs.insert(kind.slug), "{} is listed twice", kind.slug);
        }
    }

    #[test]
    fn what_nobody_foresaw_has_the_type_that_is_listed_for_it() {
        let body = chassis::Problem::internal(anyhow::anyhow!("a bug")).to_bytes("r-1");
        let body: serde_json::Value = serde_json::from_slice(&body).expect("it is JSON");
        assert_eq!(body["type"], format!("urn:plumbline:problem:{}", INTERNAL.slug));
        assert_eq!(
            (&body["title"], &body["status"]),
            (&INTERNAL.title.into(), &INTERNAL.status.into())
        );
    }

    /// A type that is not in the list would not be in the documentation.
    #[test]
    fn no_other_module_names_a_type() {
        fn check(directory: &Path) {
            for entry in std::fs::read_dir(directory).expect("sources are readable") {
                let path = entry.expect("sources are readable").path();
                if path.is_dir() {
                    check(&path);
                } else if !path.ends_with("problems.rs") {
                    let source = std::fs::read_to_string(&path).expect("sources are readable");
                    assert!(
                        !source.contains("Problem::new("),
                        "{} names a type",
                        path.display()
                    );
                }
            }
        }
        check(&Path::new(env!("CARGO_MANIFEST_DIR")).join("src"));
    }
}
