use std::net::TcpListener;

use rustix::process::Signal;
use serde_json::json;

use crate::child::{Child, command, get, request, run};

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
    let build = get(child.admin, "/buildinfo").json();
    assert_eq!(build["name"], "minimal");
    assert_eq!(build["version"], env!("CARGO_PKG_VERSION"));
    assert!(build["rustc"].as_str().unwrap().starts_with("rustc "), "{build}");
    for field in ["revision", "profile", "target"] {
        assert!(build[field].is_string(), "{field} is not in {build}");
    }
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
            r#"build_info{{service="minimal",version="{}",revision=""#,
            env!("CARGO_PKG_VERSION")
        ),
        "process_resident_memory_bytes ".to_owned(),
        "process_cpu_seconds_total ".to_owned(),
        "process_open_fds ".to_owned(),
    ] {
        assert!(metrics.contains(&series), "{series} is not in {metrics}");
    }
    for chosen in [id, "no/such", "BREW"] {
        assert!(!metrics.contains(chosen), "{chosen} is in {metrics}");
    }
}

#[test]
fn healthcheck_says_by_its_exit_code_what_the_probe_says() {
    let child = Child::serve_with(&[], &[("DRAIN_DELAY", "10m")]);
    let ask = |flags: &[&str]| {
        let admin = child.admin.to_string();
        let output = run(command(&["healthcheck", "--admin-addr", &admin]).args(flags));
        (output.status.code(), String::from_utf8(output.stdout).unwrap())
    };
    child.line("readiness changed");
    let (code, answer) = ask(&[]);
    assert_eq!(code, Some(0), "{answer}");
    assert!(answer.contains(r#""ready":true"#), "{answer}");

    child.signal(Signal::TERM);
    child.line("shutting down: no longer ready, still serving");
    let (code, answer) = ask(&[]);
    assert_eq!(code, Some(1), "{answer}");
    assert!(answer.contains(r#""draining":true"#), "{answer}");
    assert_eq!(
        ask(&["--live"]).0,
        Some(0),
        "a process that drains needs no restart"
    );
}

#[test]
fn healthcheck_fails_when_nobody_listens() {
    let free = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
    let output = run(command(&["healthcheck"]).env("ADMIN_ADDR", free.to_string()));
    let text = String::from_utf8(output.stderr).unwrap();
    assert_eq!(output.status.code(), Some(1), "{text}");
    assert!(text.contains("cannot connect"), "{text}");
}
