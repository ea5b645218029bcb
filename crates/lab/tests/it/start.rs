//! Dependencies that are down at the start.

use std::net::TcpListener;
use std::process::{Command, Output};

use serde_json::Value;
use stack::Keys;

use crate::whole::binaries;

/// Runs `serve` with what `environment` says, and little patience.
fn serve(binary: &str, environment: &[(&str, &str)]) -> Output {
    run(binary, &["serve"], environment)
}

fn run(binary: &str, verb: &[&str], environment: &[(&str, &str)]) -> Output {
    Command::new(binaries().join(binary))
        .args(verb)
        .env_clear()
        .env("ADMIN_ADDR", "127.0.0.1:0")
        .env("START_TIMEOUT", "1s")
        .envs(environment.iter().copied())
        .output()
        .unwrap_or_else(|error| panic!("{binary}: {error}; build it with `cargo build --bins`"))
}

/// It said that it waits, and for what; then it gave up with 69.
fn check(output: &Output, waiting: &str, reason: &str) {
    let log = check_unavailable(output, reason);
    assert!(log.contains(waiting), "{waiting:?} is not in {log}");
}

/// It exited with 69; returns its log.
fn check_unavailable(output: &Output, reason: &str) -> String {
    let log = String::from_utf8(output.stdout.clone()).unwrap();
    let errors = String::from_utf8(output.stderr.clone()).unwrap();
    assert_eq!(output.status.code(), Some(69), "{log}{errors}");
    let lines: Vec<Value> = log
        .lines()
        .map(|line| serde_json::from_str(line).unwrap())
        .collect();
    // Threads that end later may still have something to say.
    let last = lines
        .iter()
        .rfind(|line| line["message"] == "failed")
        .unwrap_or_else(|| panic!("{log}{errors}"));
    assert_eq!(last["error.type"], "unavailable");
    assert!(last["error"].as_str().unwrap().contains(reason), "{last}");
    assert!(
        !log.contains("hunter2") && !errors.contains("hunter2"),
        "a password was logged"
    );
    log
}

/// A port where nobody listens.
fn nobody() -> String {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    listener.local_addr().unwrap().to_string()
}

#[test]
fn app_service_waits_for_postgresql_and_then_says_that_it_is_unavailable() {
    let dir = tempfile::tempdir().unwrap();
    Keys::open(dir.path()).unwrap();
    let url = format!("postgres://app_runtime:hunter2@{}/app", nobody());
    let jwks = dir.path().join("assertion-jwks.json").display().to_string();
    let output = serve(
        "app-service",
        &[
            ("HTTP_ADDR", "127.0.0.1:0"),
            ("DATABASE_URL", &url),
            ("REDIS_URL", "redis://app-service:hunter2@127.0.0.1:1"),
            ("KAFKA_BOOTSTRAP_SERVERS", "127.0.0.1:1"),
            ("ASSERTION_JWKS_FILE", &jwks),
        ],
    );
    check(
        &output,
        "waiting for the database",
        "the database is still unreachable after 1s",
    );
}

#[test]
fn a_consumer_waits_for_kafka_and_then_says_that_it_is_unavailable() {
    let postgres = std::env::var("PLUMBLINE_TEST_POSTGRES").expect("run this with `cargo stack test`");
    let output = serve(
        "email-consumer",
        &[
            ("DATABASE_URL", &postgres),
            ("KAFKA_BOOTSTRAP_SERVERS", &nobody()),
            ("KAFKA_GROUP_ID", "email-consumer"),
            ("SMTP_URL", "smtp://127.0.0.1:1"),
        ],
    );
    check(
        &output,
        "waiting for Kafka",
        "Kafka is still unreachable after 1s",
    );
}

#[test]
fn an_operator_s_command_waits_for_postgresql_and_then_says_that_it_is_unavailable() {
    let url = format!("postgres://app_owner:hunter2@{}/app", nobody());
    for (binary, verb) in [
        ("app-service", &["migrate"][..]),
        ("app-service", &["outbox", "status"]),
        ("app-service", &["outbox", "check"]),
        ("email-consumer", &["migrate"]),
    ] {
        check(
            &run(binary, verb, &[("DATABASE_URL", &url)]),
            "waiting for the database",
            "the database is still unreachable after 1s",
        );
    }
}

#[test]
fn an_operator_s_look_at_a_cache_that_is_down_says_that_it_is_unavailable() {
    let url = format!("redis://app-service:hunter2@{}", nobody());
    let output = run(
        "app-service",
        &["cache", "get", "product", "0198a5d2-0000-7000-8000-000000000000"],
        &[("REDIS_URL", &url)],
    );
    check_unavailable(&output, "Redis is unreachable");
}
