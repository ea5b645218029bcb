//! The Compose file and the Dockerfile, checked by the tools of their field, since no engine may run here.

use std::path::Path;
use std::process::Output;

use stack::{Tools, find_root, target_dir};

fn tools() -> Tools {
    let root = find_root().unwrap();
    Tools::install(&root, &target_dir(&root)).unwrap()
}

/// The output of a check of `file`, and whether it found nothing.
fn said(output: &Output) -> (bool, String) {
    let text = [output.stdout.as_slice(), &output.stderr].concat();
    (
        output.status.success(),
        String::from_utf8_lossy(&text).into_owned(),
    )
}

/// Against the Compose specification's JSON schema.
fn check_compose(file: &Path) -> (bool, String) {
    let mut check = tools().command("check-jsonschema");
    check.args(["--builtin-schema", "vendor.compose-spec"]).arg(file);
    said(&check.output().unwrap())
}

fn hadolint(file: &Path) -> (bool, String) {
    let mut check = tools().command("hadolint");
    check.arg("--no-color").arg("--config");
    check.arg(find_root().unwrap().join(".hadolint.yaml")).arg(file);
    said(&check.output().unwrap())
}

#[test]
fn the_compose_file_is_valid_by_the_compose_specifications_schema() {
    let (valid, said) = check_compose(&find_root().unwrap().join("docker-compose.yml"));
    assert!(valid, "{said}");
}

#[test]
fn hadolint_finds_nothing_in_the_dockerfile() {
    let (clean, said) = hadolint(&find_root().unwrap().join("Dockerfile"));
    assert!(clean, "{said}");
}

#[test]
fn a_compose_file_with_a_misspelt_key_is_reported() {
    let dir = tempfile::tempdir().unwrap();
    let file = dir.path().join("docker-compose.yml");
    let text = std::fs::read_to_string(find_root().unwrap().join("docker-compose.yml")).unwrap();
    std::fs::write(&file, text.replace("healthcheck:", "healthchek:")).unwrap();
    let (valid, said) = check_compose(&file);
    assert!(!valid && said.contains("healthchek"), "{said}");
}

#[test]
fn a_dockerfile_without_pinned_image_and_labels_is_reported() {
    let dir = tempfile::tempdir().unwrap();
    let file = dir.path().join("Dockerfile");
    std::fs::write(&file, "FROM rust\nRUN cd /tmp && apt-get install curl\n").unwrap();
    let (clean, said) = hadolint(&file);
    assert!(!clean, "{said}");
    for rule in ["DL3006", "DL3008", "DL3049"] {
        assert!(said.contains(rule), "{rule} is missing: {said}");
    }
}
