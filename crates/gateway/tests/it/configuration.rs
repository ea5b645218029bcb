use gateway::RouteFile;
use gateway::routes::Auth;

use crate::process::{ROUTES, refused};

/// A file with one good route.
const GOOD: &str = r#"
address_limit = { rate = 10, per = "1s", burst = 20 }
principal_limit = { rate = 10, per = "1s", burst = 20 }

[[route]]
id = "things.get"
methods = ["GET"]
path = "/v1/things/{id}"
upstream = "app"
auth = { jwt = "main", scopes = ["things:read"] }
limit = { rate = 1, per = "1s", burst = 2 }
timeout = "3s"
body_max = "64KiB"
"#;

#[test]
fn a_route_file_with_an_error_is_refused_by_the_name_of_the_field() {
    let rows = [
        ("address_limit = ", "no_limit = ", "no_limit"),
        (
            "burst = 20 }\nprincipal",
            "burst = 0 }\nprincipal",
            "address_limit: `rate` and `burst` go from 1",
        ),
        ("[[route]]", "[[routes]]", "routes"),
        ("id = \"things.get\"", "", "missing field `id`"),
        (
            "id = \"things.get\"",
            "id = \"things get\"",
            "`id` must be visible ASCII",
        ),
        ("id =", "extra = 1\nid =", "unknown field `extra`"),
        ("[\"GET\"]", "[]", "route things.get: `methods` is empty"),
        (
            "[\"GET\"]",
            "[\"get\"]",
            "route things.get: `methods` holds \"get\"",
        ),
        ("[\"GET\"]", "[\"TRACE\"]", "`methods` holds \"TRACE\""),
        ("\"/v1/things/{id}\"", "\"v1\"", "route things.get: `path` \"v1\""),
        ("\"/v1/things/{id}\"", "\"/v1//things\"", "`path`"),
        ("\"/v1/things/{id}\"", "\"/v1/../things\"", "`path`"),
        ("\"/v1/things/{id}\"", "\"/v1/{id}x\"", "`path`"),
        ("\"/v1/things/{id}\"", "\"/v1/{}\"", "`path`"),
        ("\"/v1/things/{id}\"", "\"/v1/a%20b\"", "`path`"),
        (
            "\"app\"",
            "\"other\"",
            "route things.get: `upstream` \"other\" does not exist",
        ),
        ("auth = ", "# auth = ", "route things.get: `auth` is missing"),
        (
            "{ jwt = \"main\", scopes = [\"things:read\"] }",
            "\"everybody\"",
            "`auth` to be \"anonymous\"",
        ),
        (
            "{ jwt = \"main\", scopes = [\"things:read\"] }",
            "\"anonymous\"",
            "`limit` counts principals",
        ),
        (
            "{ jwt = \"main\", scopes",
            "{ jwt = \"other\", scopes",
            "`auth.jwt` \"other\"",
        ),
        ("{ jwt = \"main\", scopes", "{ scopes", "missing field `jwt`"),
        (
            "{ jwt = \"main\", scopes",
            "{ jwt = \"main\", scope",
            "unknown field `scope`",
        ),
        (
            "[\"things:read\"]",
            "[\"things read\"]",
            "`auth.scopes` holds \"things read\"",
        ),
        ("rate = 1,", "", "missing field `rate`"),
        ("rate = 1,", "rate = 0,", "route things.get: `limit`: `rate`"),
        (
            "burst = 2 }",
            "burst = 2, key = \"subject\" }",
            "unknown field `key`",
        ),
        (
            "rate = 1, per = \"1s\"",
            "rate = 1, per = \"1d\"",
            "`limit`: `rate` and `burst` go from 1 to 1000000, `per`",
        ),
        (
            "rate = 1, per = \"1s\"",
            "rate = 1, per = \"often\"",
            "`limit`: `per`: ",
        ),
        ("timeout = \"3s\"", "", "missing field `timeout`"),
        (
            "timeout = \"3s\"",
            "timeout = \"soon\"",
            "route things.get: `timeout`: ",
        ),
        (
            "timeout = \"3s\"",
            "timeout = \"1h\"",
            "`timeout` 1h is not between",
        ),
        ("64KiB", "64", "route things.get: `body_max` \"64\""),
        ("64KiB", "64KB", "`body_max` \"64KB\""),
        ("64KiB", "KiB", "`body_max` \"KiB\""),
        ("64KiB", "2MiB", "`body_max` \"2MiB\""),
        ("64KiB", "99999999999999999999KiB", "`body_max`"),
    ];
    RouteFile::parse(GOOD, "main").unwrap();
    for (from, to, reason) in rows {
        let text = GOOD.replacen(from, to, 1);
        assert_ne!(text, GOOD, "{from}");
        let wrong = RouteFile::parse(&text, "main").unwrap_err().join("\n");
        assert!(wrong.contains(reason), "{to} gave {wrong}, without {reason}");
    }
    let none = GOOD.split("[[route]]").next().unwrap();
    assert_eq!(
        RouteFile::parse(none, "main").unwrap_err(),
        ["there is no [[route]]"]
    );
}

#[test]
fn two_routes_that_one_request_could_match_are_refused() {
    let with = |method: &str, path: &str| {
        format!(
            "{GOOD}\n[[route]]\nid = \"second\"\nmethods = [\"{method}\"]\npath = \"{path}\"\n\
             upstream = \"app\"\nauth = \"anonymous\"\ntimeout = \"3s\"\n"
        )
    };
    for path in [
        "/v1/things/{id}",
        "/v1/things/{other}",
        "/v1/things/search",
        "/v1/{kind}/7",
    ] {
        let wrong = RouteFile::parse(&with("GET", path), "main").unwrap_err();
        let expected = format!(
            "route second: `path` {path} can match the same GET request as /v1/things/{{id}} of route things.get"
        );
        assert_eq!(wrong, [expected]);
    }
    for (method, path) in [
        ("POST", "/v1/things/{id}"),
        ("GET", "/v1/things"),
        ("GET", "/v1/orders/{id}"),
    ] {
        RouteFile::parse(&with(method, path), "main").unwrap();
    }
    let twice = with("POST", "/v1/things").replace("second", "things.get");
    assert_eq!(
        RouteFile::parse(&twice, "main").unwrap_err(),
        ["route things.get: `id` is used twice"]
    );
}

#[test]
fn everything_that_is_wrong_is_said_at_once() {
    let routes = ROUTES
        .replace("/v1/hurry", "hurry")
        .replace("\"1KiB\"", "\"1GB\"");
    let output = refused(
        &routes,
        &[
            ("JWKS_FILE", "/nowhere/jwks.json"),
            ("ASSERTION_KEY_FILE", "/dev/null"),
            ("HTTP_WORKERS", "0"),
        ],
    );
    assert_eq!(output.status.code(), Some(78));
    let log = String::from_utf8(output.stderr).unwrap();
    for reason in [
        "(HTTP_WORKERS)",
        "route things.hurry: `path`",
        "route things.create: `body_max`",
        "cannot read the key set /nowhere/jwks.json",
        "/dev/null: the signing key is unusable",
    ] {
        assert!(log.contains(reason), "{reason} is not in {log}");
    }
}

#[test]
fn an_issuer_that_is_not_the_configured_one_is_named() {
    let output = refused(&ROUTES.replace("\"main\"", "\"other\""), &[]);
    assert_eq!(output.status.code(), Some(78));
    let text = String::from_utf8(output.stderr).unwrap();
    assert!(
        text.contains("route things.create: `auth.jwt` \"other\""),
        "{text}"
    );
}

#[test]
fn an_app_service_url_is_a_scheme_a_host_and_a_port() {
    for url in [
        "127.0.0.1:8081",
        "ftp://a:1",
        "http://a:1/path",
        "http://u@a:1",
        "http://a:1?q",
        "",
    ] {
        let output = refused(ROUTES, &[("APP_SERVICE_URL", url)]);
        assert_eq!(output.status.code(), Some(78), "{url}");
        let text = String::from_utf8(output.stderr).unwrap();
        assert!(text.contains("--app-service-url"), "{url}: {text}");
    }
}

/// What the shop opens to whom. The file is the truth; this is what it is meant to say.
#[test]
fn the_shop_s_routes_are_these() {
    let text = include_str!("../../../../deploy/gateway/routes.toml");
    let file = RouteFile::parse(text, "main").unwrap();
    let line = |route: &gateway::routes::Route| {
        let methods: Vec<&str> = route.methods.iter().map(|method| method.as_str()).collect();
        let auth = match &route.auth {
            Auth::Anonymous => "anybody".to_owned(),
            Auth::Token { scopes } if scopes.is_empty() => "any token".to_owned(),
            Auth::Token { scopes } => scopes.join(" "),
        };
        format!("{} {}: {auth}", methods.join(","), route.path.as_str())
    };
    let mut routes: Vec<String> = file.routes.iter().map(line).collect();
    routes.sort_unstable();
    let expected = [
        "GET /docs/{file}: anybody",
        "GET /docs: anybody",
        "GET /openapi.json: anybody",
        "GET /v1/customers/{id}/orders: any token",
        "GET /v1/customers/{id}: any token",
        "GET /v1/orders/{id}: any token",
        "GET /v1/products/{id}/stock: catalogue:write",
        "GET /v1/products/{id}: anybody",
        "GET /v1/products: anybody",
        "PATCH /v1/products/{id}: catalogue:write",
        "POST /v1/customers: customers:write",
        "POST /v1/orders/{id}/cancellation: any token",
        "POST /v1/orders/{id}/payment: payments:record",
        "POST /v1/orders/{id}/shipment: orders:fulfil",
        "POST /v1/orders: orders:write",
        "POST /v1/products/{id}/stock-adjustments: catalogue:write",
        "POST /v1/products: catalogue:write",
    ];
    assert_eq!(routes, expected);
}
