//! The Compose file and its scripts say what the architecture says; and what is done with `docker`.

mod definition;
mod docker;
mod servers;

use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};

use crate::architecture::Architecture;

fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../..")
}

fn read(path: &str) -> String {
    std::fs::read_to_string(root().join(path)).unwrap()
}

fn architecture() -> Architecture {
    Architecture::read(&root()).unwrap()
}

/// An executable that a test puts in the place of a program.
fn script(path: &Path, body: &str) {
    std::fs::write(path, format!("#!/bin/sh\n{body}\n")).unwrap();
    std::fs::set_permissions(path, std::fs::Permissions::from_mode(0o755)).unwrap();
}
