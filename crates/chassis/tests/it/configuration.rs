use crate::child::{command, run};

#[test]
fn every_fault_is_printed_at_once_and_the_exit_code_is_78() {
    let output = run(command(&["serve", "--drain-delay", "soon"])
        .env("ADMIN_ADDR", "nowhere")
        .env("SECRET_NUMBER", "hunter2"));
    let text = String::from_utf8(output.stderr).unwrap();
    assert_eq!(output.status.code(), Some(78), "{text}");
    for fault in [
        "--drain-delay",
        "--admin-addr",
        "'nowhere'",
        "--http-addr",
        "--secret-number",
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
    ] {
        let output = run(command(&["end", "well"]).env(name, value));
        let text = String::from_utf8(output.stderr).unwrap();
        assert_eq!(output.status.code(), Some(78), "{text}");
        assert!(text.contains(&name[..8]), "{name} is not in {text}");
    }
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
    ] {
        assert!(text.contains(name), "{name} is not in {text}");
    }
    assert!(!text.contains("12345"), "{text}");
}
