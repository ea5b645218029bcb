use std::net::TcpListener;

use crate::child::{command, run};

#[test]
fn every_fault_is_printed_at_once_and_the_exit_code_is_78() {
    let output = run(command(&["serve", "--drain-delay", "soon"])
        .env("ADMIN_ADDR", "nowhere")
        .env("SECRET_NUMBER", "hunter2"));
    let text = String::from_utf8(output.stderr).unwrap();
    assert_eq!(output.status.code(), Some(78), "{text}");
    for fault in [
        "'soon' for '--drain-delay <DURATION> (DRAIN_DELAY)': it is not a duration from 0s to 10m",
        "'nowhere' for '--admin-addr <IP:PORT> (ADMIN_ADDR)'",
        "--http-addr <IP:PORT> (HTTP_ADDR)",
        "'(hidden)' for '--secret-number",
    ] {
        assert!(text.contains(fault), "{fault} is not in {text}");
    }
    assert!(!text.contains("hunter2"), "{text}");
    assert!(output.stdout.is_empty());
}

#[test]
fn an_invalid_log_filter_or_exporter_is_a_configuration_error() {
    for (name, value) in [
        ("RUST_LOG", "a=b=c"),
        ("OTEL_EXPORTER_OTLP_ENDPOINT", "not a URL"),
        ("LOG_FORMAT", "loud"),
    ] {
        let output = run(command(&["end", "well"]).env(name, value));
        let text = String::from_utf8(output.stderr).unwrap();
        assert_eq!(output.status.code(), Some(78), "{text}");
        assert!(text.contains(name), "{name} is not in {text}");
    }
}

/// Both verbs say the same, and neither needs more than the settings.
fn check_config(environment: &[(&str, &str)], expected: Result<&str, &[&str]>) {
    let output = run(command(&["check-config"]).envs(environment.iter().copied()));
    let (answer, faults) = (
        String::from_utf8(output.stdout).unwrap(),
        String::from_utf8(output.stderr).unwrap(),
    );
    match expected {
        Ok(text) => {
            assert_eq!((output.status.code(), answer.trim_end()), (Some(0), text));
            assert!(faults.is_empty(), "{faults}");
        }
        Err(reasons) => {
            assert_eq!(output.status.code(), Some(78), "{faults}");
            for reason in reasons {
                assert!(faults.contains(reason), "{reason} is not in {faults}");
            }
            let served = run(command(&["serve"]).envs(environment.iter().copied()));
            assert_eq!(served.status.code(), Some(78));
            assert_eq!(
                String::from_utf8(served.stderr)
                    .unwrap()
                    .replace(" serve", " check-config"),
                faults
            );
        }
    }
}

#[test]
fn check_config_says_whether_serve_would_accept_the_settings_and_binds_nothing() {
    let taken = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = taken.local_addr().unwrap().to_string();
    check_config(
        &[("HTTP_ADDR", &address)],
        Ok("the configuration of minimal is valid"),
    );
    check_config(
        &[("HTTP_ADDR", "nowhere"), ("HTTP_WORKERS", "0")],
        Err(&["HTTP_ADDR", "HTTP_WORKERS", "1..=1024"]),
    );
    check_config(
        &[
            ("HTTP_ADDR", &address),
            ("ADMIN_ADDR", &address),
            ("SECRET_NUMBER", "13"),
        ],
        Err(&["they must differ", "SECRET_NUMBER is 13"]),
    );
    let port = taken.local_addr().unwrap().port();
    let everywhere = format!("0.0.0.0:{port}");
    check_config(
        &[("HTTP_ADDR", &everywhere), ("ADMIN_ADDR", &address)],
        Err(&["they must differ"]),
    );
}

#[test]
fn what_is_wrong_between_settings_is_printed_beside_what_cannot_be_read() {
    check_config(
        &[
            ("DRAIN_DELAY", "soon"),
            ("ADMIN_ADDR", "0.0.0.0:9080"),
            ("PROFILE", "production"),
            ("SECRET_NUMBER", "13"),
            ("OTEL_TRACES_SAMPLER", "sometimes"),
        ],
        Err(&[
            "DRAIN_DELAY",
            "(HTTP_ADDR)",
            "ADMIN_ADDR",
            "TLS_CERT_FILE",
            "SECRET_NUMBER is 13",
            "OTEL_TRACES_SAMPLER",
        ]),
    );
}

#[test]
fn telemetry_that_cannot_be_sent_is_a_fault_and_not_a_surprise() {
    fn check(environment: &[(&str, &str)], expected: Result<&str, &[&str]>) {
        check_config(&[&[("HTTP_ADDR", "127.0.0.1:0")], environment].concat(), expected);
    }
    let valid = Ok("the configuration of minimal is valid");
    check(&[("OTEL_EXPORTER_OTLP_ENDPOINT", "http://collector:4318")], valid);
    check(&[("OTEL_EXPORTER_OTLP_ENDPOINT", "")], valid);
    check(
        &[
            ("OTEL_TRACES_SAMPLER", "parentbased_traceidratio"),
            ("OTEL_TRACES_SAMPLER_ARG", "0.1"),
        ],
        valid,
    );
    for (name, value, reason) in [
        ("OTEL_EXPORTER_OTLP_ENDPOINT", "https://collector:4318", "no TLS"),
        (
            "OTEL_EXPORTER_OTLP_ENDPOINT",
            "collector:4318",
            "http://collector:4318",
        ),
        (
            "OTEL_EXPORTER_OTLP_TRACES_ENDPOINT",
            "not a URL",
            "http://collector:4318",
        ),
        (
            "OTEL_EXPORTER_OTLP_TRACES_ENDPOINT",
            "https://collector:4318/v1/traces",
            "no TLS",
        ),
        ("OTEL_TRACES_SAMPLER", "sometimes", "parentbased_always_on"),
        (
            "OTEL_TRACES_SAMPLER",
            "traceidratio",
            "OTEL_TRACES_SAMPLER_ARG is not a ratio from 0 to 1",
        ),
    ] {
        check(&[(name, value)], Err(&[name, reason]));
    }
}

#[test]
fn the_reference_names_each_flag_once_per_verb_and_no_value_of_a_secret() {
    let output = run(command(&["reference"]).env("SECRET_NUMBER", "12345"));
    let text = String::from_utf8(output.stdout).unwrap();
    assert_eq!(output.status.code(), Some(0), "{text}");
    for part in [
        "### minimal serve",
        "### minimal check-config",
        "### minimal healthcheck",
        "### minimal end",
        "- `--drain-delay <DURATION>`, `DRAIN_DELAY`, default `5s`: ",
        "- `--http-addr <IP:PORT>`, `HTTP_ADDR`, **required**: ",
        "- `--log-format <FORMAT>`, `LOG_FORMAT`, one of `json` `pretty`: ",
    ] {
        assert!(text.contains(part), "{part} is not in {text}");
    }
    assert_eq!(text.matches("- `--drain-delay").count(), 1);
    assert!(!text.contains("12345"));
}

#[test]
fn help_names_each_environment_variable_and_succeeds() {
    let output = run(command(&["serve", "--help"]).env("SECRET_NUMBER", "12345"));
    let text = String::from_utf8(output.stdout).unwrap();
    assert_eq!(output.status.code(), Some(0));
    for name in [
        "ADMIN_ADDR",
        "LOG_FORMAT",
        "DRAIN_DELAY",
        "SHUTDOWN_GRACE_SECONDS",
        "HTTP_ADDR",
        "HTTP_MAX_BODY_BYTES",
        "OTEL_EXPORTER_OTLP_ENDPOINT",
        "Telemetry:",
        "Process:",
        "HTTP:",
    ] {
        assert!(text.contains(name), "{name} is not in {text}");
    }
    assert!(!text.contains("12345"), "{text}");
}
