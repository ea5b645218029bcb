//! Who may publish: clippy refuses the types that can, and the files that need one say why.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::{Path, PathBuf};

use serde::Deserialize;

use super::workspace;

#[derive(Deserialize)]
#[serde(rename_all = "kebab-case")]
struct Clippy {
    disallowed_types: Vec<DisallowedType>,
}

#[derive(Deserialize)]
struct DisallowedType {
    path: String,
}

#[test]
fn clippy_refuses_every_producer_and_record_of_rdkafka() {
    let text = fs::read_to_string(workspace::root().join("clippy.toml")).expect("clippy.toml is at the root");
    let clippy: Clippy = toml::from_str(&text).expect("clippy.toml is valid");
    let refused: BTreeSet<String> = clippy
        .disallowed_types
        .into_iter()
        .map(|disallowed| disallowed.path)
        .collect();

    let metadata = workspace::metadata(workspace::root(), "--locked");
    let rdkafka = metadata
        .packages
        .iter()
        .find(|package| *package.name == "rdkafka")
        .expect("rdkafka is resolved");
    let producer = rdkafka.manifest_path.with_file_name("src").join("producer");
    let exist: BTreeSet<String> = rust_files(producer.as_std_path())
        .iter()
        .flat_map(|file| public_types(file))
        .filter(|name| name.ends_with("Producer") || name.ends_with("Record"))
        .map(|name| format!("rdkafka::producer::{name}"))
        .collect();

    assert!(
        exist.contains("rdkafka::producer::FutureProducer"),
        "rdkafka's sources are not where this test looks"
    );
    assert_eq!(refused, exist);
}

#[test]
fn only_the_relay_and_three_files_for_development_lift_the_ban_once_each() {
    // In two parts, so that this file does not count.
    let lint = concat!("clippy::", "disallowed_types");
    let mut lifted: BTreeMap<String, usize> = BTreeMap::new();
    for file in rust_files(&workspace::root().join("crates")) {
        let text = fs::read_to_string(&file).expect("the source is readable");
        let compact: String = text.split_whitespace().collect();
        let times = compact.matches(lint).count();
        if times == 0 {
            continue;
        }
        let path = file
            .strip_prefix(workspace::root())
            .expect("the file is below the root");
        let expects = compact.matches(&format!("[expect({lint},reason=\"")).count();
        assert_eq!(
            times,
            expects,
            "{}: the ban is lifted by #[expect(…, reason = \"…\")] only",
            path.display()
        );
        lifted.insert(path.to_string_lossy().into_owned(), times);
    }
    assert_eq!(
        lifted,
        BTreeMap::from(
            [
                // The relay's floor, its sink, a wrong variant of it, and what tests send to consumers.
                "crates/lab/src/benches/bare.rs",
                "crates/outbox/src/kafka.rs",
                "crates/outbox/tests/it/wrong/retrying.rs",
                "crates/testkit/src/produce.rs",
            ]
            .map(|path| (path.to_owned(), 1))
        )
    );
}

/// The names of the structs that a source file makes public at its outermost level.
fn public_types(file: &Path) -> Vec<String> {
    let source = fs::read_to_string(file).expect("the source is readable");
    let declared = source.lines().filter_map(|line| line.strip_prefix("pub struct "));
    declared
        .map(|rest| rest.chars().take_while(|c| c.is_alphanumeric()).collect())
        .collect()
}

fn rust_files(folder: &Path) -> Vec<PathBuf> {
    let mut found = Vec::new();
    for entry in fs::read_dir(folder).expect("the folder is readable") {
        let path = entry.expect("the folder is readable").path();
        if path.is_dir() {
            found.extend(rust_files(&path));
        } else if path.extension().is_some_and(|extension| extension == "rs") {
            found.push(path);
        }
    }
    found
}
