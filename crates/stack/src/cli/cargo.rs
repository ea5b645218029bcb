//! Cargo, called from a program that Cargo runs.

use std::path::Path;
use std::process::Command;

/// `cargo` in the workspace, with the environment that the user gave and not the one that `cargo run` adds for this crate.
pub(crate) fn cargo(root: &Path) -> Command {
    let mut cargo = Command::new(std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into()));
    cargo.current_dir(root);
    for (name, _) in std::env::vars_os() {
        let ours = name.to_str().is_some_and(|name| {
            name.starts_with("CARGO_PKG_")
                || name.starts_with("CARGO_MANIFEST_")
                || matches!(name, "CARGO_CRATE_NAME" | "CARGO_BIN_NAME" | "CARGO_PRIMARY_PACKAGE" | "OUT_DIR")
        });
        if ours {
            cargo.env_remove(name);
        }
    }
    cargo
}
