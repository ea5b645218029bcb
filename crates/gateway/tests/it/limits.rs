use crate::client::{bearer, request, send};
use crate::keys::token;
use crate::process::{Gateway, ROUTES};
use crate::upstream::Echo;

#[test]
fn a_principal_over_its_limit_is_told_when_to_come_back() {
    let echo = Echo::start();
    let gateway = Gateway::before(&[echo.address]);
    let get = |sub: &str, path: &str| {
        send(
            gateway.address,
            request("GET", path, &[&bearer(&token(sub, ""))], ""),
        )
    };
    let status: Vec<u16> = (0..3).map(|_| get("ada", "/v1/rarely").status).collect();
    assert_eq!(status, [200, 200, 429]);
    let reply = get("ada", "/v1/rarely");
    assert_eq!((reply.status, reply.problem()), (429, "rate-limited".to_owned()));
    let wait: u64 = reply.header("retry-after").unwrap().parse().unwrap();
    assert!((1..=3600).contains(&wait), "{wait}");

    assert_eq!(get("bob", "/v1/rarely").status, 200, "each principal has its own");
    assert_eq!(
        get("ada", "/v1/things/7").status,
        200,
        "and each route with a limit its own"
    );
    assert_eq!(echo.seen().len(), 4);
}

#[test]
fn an_address_over_its_limit_is_refused_before_its_token_is_looked_at() {
    let echo = Echo::start();
    let few = ROUTES.replacen(
        r#"{ rate = 100000, per = "1s", burst = 100000 }"#,
        r#"{ rate = 1, per = "1h", burst = 2 }"#,
        1,
    );
    let gateway = Gateway::start(&few, &[echo.address], &[]);
    let get = |token: &str| {
        send(
            gateway.address,
            request("GET", "/v1/things", &[&bearer(token)], ""),
        )
    };
    assert_eq!(get(&token("ada", "")).status, 200);
    assert_eq!(get("garbage").status, 401);
    let reply = get("garbage");
    assert_eq!((reply.status, reply.problem()), (429, "rate-limited".to_owned()));
    assert!(reply.header("retry-after").is_some());
}
