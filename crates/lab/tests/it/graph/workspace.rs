//! The workspace as cargo resolves it.

use std::collections::HashMap;
use std::fs;
use std::path::Path;

use cargo_metadata::{DependencyKind, Metadata, MetadataCommand};

use super::dependencies::{Dependencies, Package};

/// The root of this workspace.
pub(super) fn root() -> &'static Path {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).ancestors().nth(2);
    root.expect("crates/lab is two levels below the root")
}

/// Runs `cargo metadata` at `root` with `mode`, which says how the lock file and the network are used. Packages for other
/// platforms are left out, so that nothing is needed that a build has not downloaded.
pub(super) fn metadata(root: &Path, mode: &str) -> Metadata {
    let options = [mode, "--filter-platform", "host-tuple"].map(str::to_owned);
    let result = MetadataCommand::new()
        .current_dir(root)
        .other_options(options)
        .exec();
    result.unwrap_or_else(|error| panic!("cargo metadata failed: {error}"))
}

/// The graph of normal dependencies. Cargo unites features over the whole workspace here, so a process may seem to
/// reach what only another one turns on; nothing that it does reach is missing.
pub(super) fn dependencies(metadata: &Metadata) -> Dependencies {
    let mut graph = Dependencies::default();
    let mut indices = HashMap::new();
    for package in &metadata.packages {
        let index = graph.add(Package {
            name: package.name.to_string(),
            version: package.version.to_string(),
            license: package.license.clone(),
            source: package.source.as_ref().map(|source| source.repr.clone()),
            binary: package.targets.iter().any(|target| target.is_bin()),
            links: package.links.clone(),
        });
        indices.insert(&package.id, index);
    }
    let resolve = metadata
        .resolve
        .as_ref()
        .expect("cargo metadata resolves unless told not to");
    for node in &resolve.nodes {
        for dependency in &node.deps {
            if dependency
                .dep_kinds
                .iter()
                .any(|kind| kind.kind == DependencyKind::Normal)
            {
                graph.edge(indices[&node.id], indices[&dependency.pkg]);
            }
        }
    }
    graph
}

/// Copies what resolution needs: the manifests, the lock file and an empty file for each target.
pub(super) fn copy_manifests(from: &Path, to: &Path) {
    for file in ["Cargo.toml", "Cargo.lock", "architecture.toml", "deny.toml"] {
        fs::copy(from.join(file), to.join(file)).expect("the file is at the root");
    }
    for package in metadata(from, "--locked").workspace_packages() {
        let place = |path: &Path| to.join(path.strip_prefix(from).expect("members are below the root"));
        for target in &package.targets {
            let source = place(target.src_path.as_std_path());
            fs::create_dir_all(source.parent().expect("a file has a folder"))
                .expect("the copy can be written");
            fs::write(source, "").expect("the copy can be written");
        }
        let manifest = package.manifest_path.as_std_path();
        fs::copy(manifest, place(manifest)).expect("the manifest is readable");
    }
}
