//! The part of `deny.toml` that the rules read.

use std::fs;
use std::path::Path;

use serde::Deserialize;

#[derive(Deserialize)]
pub(super) struct Deny {
    pub(super) licenses: Licenses,
    pub(super) sources: Sources,
    bans: Bans,
}

#[derive(Deserialize)]
pub(super) struct Licenses {
    /// SPDX identifiers.
    pub(super) allow: Vec<String>,
}

#[derive(Deserialize)]
#[serde(rename_all = "kebab-case")]
pub(super) struct Sources {
    /// Index URLs.
    pub(super) allow_registry: Vec<String>,
}

#[derive(Deserialize)]
struct Bans {
    deny: Vec<Fence>,
}

/// A crate that only its wrappers may depend on.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Fence {
    #[serde(rename = "crate")]
    pub(super) name: String,
    #[serde(default)]
    pub(super) wrappers: Vec<String>,
    pub(super) reason: String,
}

impl Deny {
    pub(super) fn read(root: &Path) -> Deny {
        let text = fs::read_to_string(root.join("deny.toml")).expect("deny.toml is at the root");
        toml::from_str(&text).expect("deny.toml has the sections that the rules read")
    }

    pub(super) fn fences(&self) -> &[Fence] {
        &self.bans.deny
    }

    pub(super) fn fence_mut(&mut self, name: &str) -> &mut Fence {
        let found = self.bans.deny.iter_mut().find(|fence| fence.name == name);
        found.unwrap_or_else(|| panic!("deny.toml has no fence for {name}"))
    }
}
