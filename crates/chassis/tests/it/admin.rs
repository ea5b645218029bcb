use serde_json::json;

use crate::child::{Child, get, request};

#[test]
fn probes_list_their_checks() {
    let child = Child::serve();
    child.line("readiness changed");
    let ready = get(child.admin, "/readyz");
    assert_eq!(
        (ready.status, ready.json()),
        (
            200,
            json!({"ready": true, "draining": false, "checks": {"dependency": true, "http": true}})
        ),
    );
    let alive = get(child.admin, "/livez");
    assert_eq!(
        (alive.status, alive.json()),
        (200, json!({"alive": true, "checks": {"runtime": true}}))
    );
    let build = get(child.admin, "/buildinfo");
    assert_eq!(
        build.json(),
        json!({"service": "minimal", "version": env!("CARGO_PKG_VERSION")})
    );
}

#[test]
fn the_admin_server_is_get_only() {
    let child = Child::serve();
    for path in ["/livez", "/readyz", "/metrics", "/buildinfo"] {
        assert_eq!(request(child.admin, "POST", path, &[], "").status, 405, "{path}");
    }
    assert_eq!(get(child.admin, "/other").status, 404);
    assert_eq!(
        get(child.http, "/metrics").status,
        404,
        "metrics are not on the public listener"
    );
}

#[test]
fn request_metrics_have_no_label_that_a_client_chooses() {
    let child = Child::serve();
    let id = "0198a5d2-0000-7000-8000-000000000000";
    get(child.http, &format!("/items/{id}"));
    get(child.http, "/no/such/route");
    request(child.http, "BREW", "/items", &[], "");

    let metrics = get(child.admin, "/metrics").body;
    let count = "http_server_request_duration_seconds_count";
    for series in [
        format!(
            r#"{count}{{http_request_method="GET",http_route="/items/{{id}}",http_response_status_code="200"}} 1"#
        ),
        format!(
            r#"{count}{{http_request_method="GET",http_route="unmatched",http_response_status_code="404"}} 1"#
        ),
        r#"http_request_method="_OTHER""#.to_owned(),
        format!(
            r#"build_info{{service="minimal",version="{}"}} 1"#,
            env!("CARGO_PKG_VERSION")
        ),
    ] {
        assert!(metrics.contains(&series), "{series} is not in {metrics}");
    }
    for chosen in [id, "no/such", "BREW"] {
        assert!(!metrics.contains(chosen), "{chosen} is in {metrics}");
    }
}
