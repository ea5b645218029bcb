//! The crates that each program is made of, held against `architecture.toml` and `deny.toml`.
//!
//! The checks are a pure function over a [`Dependencies`]; the negative controls below add what is forbidden, to that
//! structure and to a copy of the workspace's manifests, and expect the message that names the rule.

mod deny;
mod dependencies;
mod producers;
mod rules;
mod workspace;

use std::fs;
use std::path::Path;

use cargo_metadata::Metadata;
use stack::Architecture;

use self::deny::Deny;
use self::dependencies::{Dependencies, Package};

/// What the rules are checked on.
struct Workspace {
    metadata: Metadata,
    architecture: Architecture,
    deny: Deny,
}

impl Workspace {
    fn read(root: &Path) -> Workspace {
        Workspace {
            metadata: workspace::metadata(root, "--locked"),
            architecture: Architecture::read(root).expect("architecture.toml is valid"),
            deny: Deny::read(root),
        }
    }

    /// Every broken rule, after `change` was made to the graph.
    fn violations_with(&self, change: impl FnOnce(&mut Dependencies)) -> Vec<String> {
        let mut graph = workspace::dependencies(&self.metadata);
        change(&mut graph);
        rules::violations(&graph, &self.architecture, &self.deny)
    }

    /// Every broken rule.
    fn violations(&self) -> Vec<String> {
        self.violations_with(|_| {})
    }
}

#[track_caller]
fn assert_reported(violations: &[String], expected: &str) {
    assert!(
        violations.iter().any(|violation| violation == expected),
        "not reported: {expected}\nreported:\n{}",
        violations.join("\n")
    );
}

#[test]
fn the_workspace_breaks_no_rule() {
    let violations = Workspace::read(workspace::root()).violations();
    assert!(violations.is_empty(), "\n{}\n", violations.join("\n"));
}

#[test]
fn a_forbidden_dependency_is_reported_with_its_rule_and_path() {
    let controls = [
        (
            "gateway",
            "deadpool-redis",
            r#"gateway → redis: rule "gateway has no redis arrow in architecture.toml": gateway → deadpool-redis → redis"#,
        ),
        (
            "gateway",
            "deadpool-redis",
            r#"gateway → deadpool-redis: rule "deny.toml lets only cache, lab depend on deadpool-redis: a process reaches Redis through the cache crate; the lab measures it against Redis alone""#,
        ),
        (
            "gateway",
            "database",
            r#"gateway → tokio-postgres: rule "gateway has no database arrow in architecture.toml": gateway → database → tokio-postgres"#,
        ),
        (
            "gateway",
            "kafka",
            r#"gateway → rdkafka: rule "gateway has no produces or consumes arrow in architecture.toml": gateway → kafka → rdkafka"#,
        ),
        // Hidden behind a library that the process may have.
        (
            "identity",
            "cache",
            r#"audit-consumer → redis: rule "audit-consumer has no redis arrow in architecture.toml": audit-consumer → identity → cache → deadpool-redis → redis"#,
        ),
        (
            "analytics-consumer",
            "reqwest",
            r#"analytics-consumer → reqwest: rule "analytics-consumer has no calls arrow in architecture.toml": analytics-consumer → reqwest"#,
        ),
        (
            "analytics-consumer",
            "reqwest",
            r#"analytics-consumer → reqwest: rule "deny.toml lets only lab, opentelemetry-http, opentelemetry-otlp, stack depend on reqwest: no process has an HTTP client of its own except the gateway, whose client is hyper; telemetry is exported through reqwest""#,
        ),
        (
            "email-consumer",
            "app-service",
            r#"email-consumer → app-service: rule "no binary depends on another binary": email-consumer → app-service"#,
        ),
        (
            "consumer",
            "gateway",
            r#"audit-consumer → gateway: rule "no binary depends on another binary": audit-consumer → consumer → gateway"#,
        ),
        (
            "audit-consumer",
            "outbox",
            r#"audit-consumer → outbox: rule "audit-consumer has no produces arrow in architecture.toml": audit-consumer → outbox"#,
        ),
        (
            "app-service",
            "consumer",
            r#"app-service → consumer: rule "app-service has no consumes arrow in architecture.toml": app-service → consumer"#,
        ),
        (
            "audit-consumer",
            "lettre",
            r#"audit-consumer → lettre: rule "audit-consumer has no smtp arrow in architecture.toml": audit-consumer → lettre"#,
        ),
        (
            "stack",
            "rdkafka",
            r#"stack → rdkafka-sys: rule "stack links no C library, so that it builds before one is installed": stack → rdkafka → rdkafka-sys"#,
        ),
    ];
    let workspace = Workspace::read(workspace::root());
    for (from, to, expected) in controls {
        assert_reported(
            &workspace.violations_with(|graph| graph.depend(from, to)),
            expected,
        );
    }
}

#[test]
fn a_binary_that_architecture_toml_does_not_name_is_reported() {
    let found = Workspace::read(workspace::root()).violations_with(|graph| {
        graph.add(Package {
            binary: true,
            ..Package::member("reporting-consumer")
        });
    });
    assert_reported(
        &found,
        r#"reporting-consumer: rule "every binary is a process of architecture.toml, or stack or lab""#,
    );
}

#[test]
fn a_process_without_a_binary_is_reported() {
    let mut workspace = Workspace::read(workspace::root());
    workspace
        .architecture
        .processes
        .insert("search-consumer".to_owned(), stack::Process::default());
    let expected = r#"search-consumer: rule "every process of architecture.toml is a binary of that name""#;
    assert_reported(&workspace.violations(), expected);
}

#[test]
fn a_licence_or_a_source_that_deny_toml_does_not_allow_is_reported() {
    let workspace = Workspace::read(workspace::root());
    let check = |license: Option<&str>, source: &str, expected: &[&str]| {
        let mut found = workspace.violations_with(|graph| {
            graph.add(Package {
                license: license.map(str::to_owned),
                source: Some(source.to_owned()),
                ..Package::member("stranger")
            });
        });
        found.retain(|violation| violation.starts_with("stranger "));
        assert_eq!(found, expected);
    };
    let refused = |license| format!(r#"stranger 0.0.0: rule "deny.toml allows the licence": {license}"#);
    let crates_io = "registry+https://github.com/rust-lang/crates.io-index";
    check(Some("MIT OR GPL-3.0-only"), crates_io, &[]);
    check(Some("MIT/Apache-2.0"), crates_io, &[]);
    check(
        Some("MIT AND GPL-3.0-only"),
        crates_io,
        &[&refused("MIT AND GPL-3.0-only")],
    );
    check(Some("as you like"), crates_io, &[&refused("as you like")]);
    check(None, crates_io, &[&refused("none stated")]);
    let git = "git+https://example.org/stranger.git#0000000";
    check(
        Some("MIT"),
        git,
        &[&format!(
            r#"stranger 0.0.0: rule "deny.toml allows the source": {git}"#
        )],
    );
}

#[test]
fn an_allowance_that_nobody_uses_is_reported() {
    let mut workspace = Workspace::read(workspace::root());
    workspace
        .deny
        .fence_mut("lettre")
        .wrappers
        .push("identity".to_owned());
    let expected = r#"identity → lettre: rule "deny.toml allows only what is used": no such dependency"#;
    assert_reported(&workspace.violations(), expected);
}

#[test]
fn a_dependency_added_to_a_manifest_is_reported() {
    let copy = tempfile::tempdir().expect("a temporary directory can be made");
    workspace::copy_manifests(workspace::root(), copy.path());
    let manifest = copy.path().join("crates/gateway/Cargo.toml");
    let text = fs::read_to_string(&manifest).expect("the manifest was copied");
    let changed = text.replacen(
        "\n[dependencies]\n",
        "\n[dependencies]\ndeadpool-redis.workspace = true\n",
        1,
    );
    assert_ne!(text, changed, "the manifest has a [dependencies] section");
    fs::write(&manifest, changed).expect("the copy can be written");
    // The lock file has to learn of it, from what is already downloaded.
    workspace::metadata(copy.path(), "--offline");

    let expected = r#"gateway → redis: rule "gateway has no redis arrow in architecture.toml": gateway → deadpool-redis → redis"#;
    assert_reported(&Workspace::read(copy.path()).violations(), expected);
}
