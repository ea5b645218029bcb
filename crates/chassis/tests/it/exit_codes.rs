use std::net::TcpListener;

use crate::child::{command, run};

fn check(how: &str, expected: i32) {
    let output = run(&mut command(&["end", how]));
    let log = String::from_utf8(output.stdout).unwrap();
    assert_eq!(output.status.code(), Some(expected), "{how}: {log}");
    let last: serde_json::Value = serde_json::from_str(log.lines().last().unwrap()).unwrap();
    if expected == 0 {
        assert_eq!(last["message"], "stopped");
    } else {
        assert_eq!(
            (&last["error.type"], &last["exit_code"]),
            (&how.into(), &expected.into())
        );
    }
}

#[test]
fn the_exit_code_says_what_kind_of_end_it_was() {
    check("well", 0);
    check("failed", 1);
    check("unavailable", 69);
    check("panicked", 70);
    check("misconfigured", 78);
}

#[test]
fn a_panic_is_one_log_line_with_its_place() {
    let output = run(&mut command(&["end", "panicked"]));
    let log = String::from_utf8(output.stdout).unwrap();
    let line = log
        .lines()
        .find(|line| line.contains("panicked as asked"))
        .unwrap();
    let line: serde_json::Value = serde_json::from_str(line).unwrap();
    assert_eq!(line["level"], "ERROR");
    assert!(
        line["location"].as_str().unwrap().contains("minimal.rs"),
        "{line}"
    );
    assert!(output.stderr.is_empty());
}

#[test]
fn a_taken_admin_port_is_a_clear_error() {
    let taken = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = taken.local_addr().unwrap().to_string();
    let output = run(&mut command(&[
        "serve",
        "--http-addr",
        "127.0.0.1:0",
        "--admin-addr",
        &address,
    ]));
    let log = String::from_utf8(output.stdout).unwrap();
    assert_eq!(output.status.code(), Some(1), "{log}");
    assert!(
        log.contains(&format!("cannot listen on the admin address {address}")),
        "{log}"
    );
}
