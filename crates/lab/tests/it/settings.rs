//! `check-config` of the real binaries: right settings pass, and of wrong ones each is named, all at once.

use std::path::Path;
use std::process::{Command, Output};

use stack::Keys;

use crate::whole::binaries;

fn check_config(binary: &str, environment: &[(&str, &str)]) -> Output {
    Command::new(binaries().join(binary))
        .arg("check-config")
        .env_clear()
        .envs(environment.iter().copied())
        .output()
        .unwrap_or_else(|error| panic!("{binary}: {error}; build it with `cargo build --bins`"))
}

#[track_caller]
fn check_right(binary: &str, environment: &[(&str, &str)]) {
    let output = check_config(binary, environment);
    let text = String::from_utf8_lossy(&output.stderr);
    assert_eq!(output.status.code(), Some(0), "{binary}: {text}");
}

/// Each setting of `wrong` is named and so is what is wrong `between` settings; no secret is shown.
#[track_caller]
fn check_wrong(binary: &str, wrong: &[&[(&str, &str)]], right: &[(&str, &str)], between: &[&str]) {
    let wrong = wrong.concat();
    let output = check_config(binary, &[right, &wrong].concat());
    let text = String::from_utf8(output.stderr).unwrap();
    assert_eq!(output.status.code(), Some(78), "{binary}: {text}");
    for named in wrong.iter().map(|(name, _)| name).chain(between) {
        assert!(text.contains(named), "{binary}: {named} is not in {text}");
    }
    assert!(!text.contains("hunter2"), "{binary}: {text}");
}

const PROCESS: [(&str, &str); 9] = [
    ("LOG_FORMAT", "loud"),
    ("RUST_LOG", "a=b=c"),
    ("OTEL_EXPORTER_OTLP_ENDPOINT", "https://collector:4318"),
    ("OTEL_EXPORTER_OTLP_TRACES_ENDPOINT", "collector"),
    ("OTEL_TRACES_SAMPLER", "sometimes"),
    ("DRAIN_DELAY", "soon"),
    ("SHUTDOWN_GRACE_SECONDS", "-1"),
    ("TLS_CERT_FILE", "/nowhere/tls.pem"),
    ("ALLOW_PLAINTEXT", "yes"),
];
const HTTP: [(&str, &str); 3] = [
    ("HTTP_WORKERS", "0"),
    ("HTTP_ADDR", "nowhere"),
    ("HTTP_MAX_BODY_BYTES", "1MB"),
];
const DATABASE: [(&str, &str); 4] = [
    ("DATABASE_URL", "mysql://hunter2"),
    ("DATABASE_CA_FILE", "/nowhere/ca.pem"),
    ("DB_MAX_CONNECTIONS", "0"),
    ("START_TIMEOUT", "abc"),
];
const KAFKA: [(&str, &str); 2] = [
    ("KAFKA_BOOTSTRAP_SERVERS", "broker"),
    ("KAFKA_SECURITY_PROTOCOL", "HTTPS"),
];
/// Right in itself, and misses what SASL needs.
const SASL: [(&str, &str); 1] = [("KAFKA_SECURITY_PROTOCOL", "SASL_SSL")];
const SASL_NEEDS: [&str; 3] = [
    "KAFKA_SASL_MECHANISM",
    "KAFKA_SASL_USERNAME",
    "KAFKA_SASL_PASSWORD",
];

/// Settings that a consumer starts with.
fn of_consumer() -> [(&'static str, &'static str); 3] {
    [
        ("DATABASE_URL", "postgres://a:hunter2@127.0.0.1/a"),
        ("KAFKA_BOOTSTRAP_SERVERS", "127.0.0.1:9092"),
        ("KAFKA_GROUP_ID", "group"),
    ]
}

#[test]
fn email_consumer_names_every_wrong_setting() {
    let right = [&of_consumer()[..], &[("SMTP_URL", "smtp://127.0.0.1")]].concat();
    check_right("email-consumer", &right);
    let own = [
        ("SMTP_URL", "http://mail"),
        ("MAIL_FROM", "nobody"),
        ("KAFKA_SESSION_TIMEOUT", "1s"),
    ];
    check_wrong(
        "email-consumer",
        &[&PROCESS, &DATABASE, &KAFKA, &own],
        &[],
        &["KAFKA_GROUP_ID"],
    );
    let lacking = [&right[..], &SASL, &[("PROFILE", "production")]].concat();
    let wrong = [("ADMIN_ADDR", "0.0.0.0:9080"), ("MAIL_FROM", "nobody")];
    check_wrong("email-consumer", &[&wrong], &lacking, &SASL_NEEDS);
}

#[test]
fn the_consumers_with_an_api_name_every_wrong_setting() {
    let dir = tempfile::tempdir().unwrap();
    Keys::open(dir.path()).unwrap();
    let jwks = path(dir.path(), "jwks.json");
    for binary in ["analytics-consumer", "audit-consumer"] {
        let own = [
            ("HTTP_ADDR", "127.0.0.1:8080"),
            ("JWKS_FILE", jwks.as_str()),
            ("JWT_ISSUER", "issuer"),
        ];
        let right = [&of_consumer()[..], &own].concat();
        check_right(binary, &right);
        let wrong = [
            ("JWKS_FILE", "/nowhere/jwks.json"),
            ("KAFKA_SESSION_TIMEOUT", "abc"),
        ];
        check_wrong(
            binary,
            &[&PROCESS, &HTTP, &DATABASE, &KAFKA, &wrong],
            &[],
            &["JWT_ISSUER"],
        );
        let same = [
            ("ADMIN_ADDR", "127.0.0.1:8080"),
            ("JWKS_FILE", "/nowhere/jwks.json"),
        ];
        check_wrong(binary, &[&same], &right, &["they must differ"]);
    }
}

#[test]
fn app_service_names_every_wrong_setting() {
    let dir = tempfile::tempdir().unwrap();
    Keys::open(dir.path()).unwrap();
    let jwks = path(dir.path(), "assertion-jwks.json");
    let right = [
        ("HTTP_ADDR", "127.0.0.1:8080"),
        ("DATABASE_URL", "postgres://a:hunter2@127.0.0.1/a"),
        ("REDIS_URL", "redis://a:hunter2@127.0.0.1"),
        ("KAFKA_BOOTSTRAP_SERVERS", "127.0.0.1:9092"),
        ("ASSERTION_JWKS_FILE", &jwks),
    ];
    check_right("app-service", &right);
    let own = [
        ("REDIS_URL", "hunter2"),
        ("REDIS_COMMAND_TIMEOUT", "1h"),
        ("CACHE_STALENESS_BOUND", "3s"),
        ("CACHE_SCOPE", "a:b"),
        ("CACHE_AUDIT_EVERY", "-1"),
        ("KAFKA_TOPIC_REPLICATION", "0"),
        ("ORDER_EXPIRY", "abc"),
        ("IDEMPOTENCY_SWEEP_INTERVAL", "abc"),
        ("ASSERTION_JWKS_FILE", "/nowhere/jwks.json"),
        ("DB_MAX_WAITING", "-1"),
    ];
    let allowed = ["from 1s to 30days", "from 10ms to 1day", "from 7s to 1h"];
    check_wrong(
        "app-service",
        &[&PROCESS, &HTTP, &DATABASE, &KAFKA, &own],
        &[],
        &allowed,
    );
    // Two of a kind, what SASL lacks, and one that cannot be read.
    let secrets = path(dir.path(), "url");
    std::fs::write(&secrets, "postgres://a:hunter2@127.0.0.1/a").unwrap();
    let twice = [("DATABASE_URL_FILE", secrets.as_str()), ("ORDER_EXPIRY", "abc")];
    let lacking = [&right[..], &SASL].concat();
    check_wrong("app-service", &[&twice], &lacking, &SASL_NEEDS);
}

#[test]
fn gateway_names_every_wrong_setting() {
    let dir = tempfile::tempdir().unwrap();
    Keys::open(dir.path()).unwrap();
    let (jwks, key) = (path(dir.path(), "jwks.json"), path(dir.path(), "assertion.pem"));
    let routes = stack::find_root()
        .unwrap()
        .join("deploy/gateway/routes.toml")
        .display()
        .to_string();
    let right = [
        ("HTTP_ADDR", "127.0.0.1:8080"),
        ("APP_SERVICE_URL", "http://127.0.0.1:8081"),
        ("ROUTES_FILE", &routes),
        ("JWKS_FILE", &jwks),
        ("JWT_ISSUER", "issuer"),
        ("ASSERTION_KEY_FILE", &key),
        ("ASSERTION_KEY_ID", "one"),
    ];
    check_right("gateway", &right);
    let own = [
        ("MAX_CONNECTIONS", "0"),
        ("MAX_IN_FLIGHT", "0"),
        ("APP_SERVICE_URL", "app-service"),
        ("ROUTES_FILE", "/nowhere/routes.toml"),
        ("JWKS_FILE", "/nowhere/jwks.json"),
        ("ASSERTION_KEY_FILE", "/nowhere/key.pem"),
        ("ASSERTION_KEY_ID", ""),
    ];
    check_wrong("gateway", &[&PROCESS, &HTTP[..2], &own], &[], &["JWT_ISSUER"]);
}

fn path(dir: &Path, name: &str) -> String {
    dir.join(name).display().to_string()
}
