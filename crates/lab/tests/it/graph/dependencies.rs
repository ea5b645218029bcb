//! The resolved packages and which needs which.

use std::collections::{BTreeSet, VecDeque};

/// A graph whose nodes are package versions and whose edges are normal dependencies: what a program is linked from, so
/// neither tests nor build scripts.
#[derive(Default)]
pub(super) struct Dependencies {
    packages: Vec<Package>,
    edges: Vec<Vec<usize>>,
}

/// One version of one package.
pub(super) struct Package {
    pub(super) name: String,
    pub(super) version: String,
    /// An SPDX expression, as its manifest states it.
    pub(super) license: Option<String>,
    /// Where it came from; `None` for a member of the workspace.
    pub(super) source: Option<String>,
    /// Whether it has a program.
    pub(super) binary: bool,
    /// The C library that it links.
    pub(super) links: Option<String>,
}

impl Package {
    /// A library of the workspace.
    pub(super) fn member(name: &str) -> Package {
        Package {
            name: name.to_owned(),
            version: "0.0.0".to_owned(),
            license: Some("MIT".to_owned()),
            source: None,
            binary: false,
            links: None,
        }
    }

    /// Whether it is a program of this workspace.
    pub(super) fn is_own_binary(&self) -> bool {
        self.source.is_none() && self.binary
    }
}

impl Dependencies {
    /// Adds a package and returns its index.
    pub(super) fn add(&mut self, package: Package) -> usize {
        self.packages.push(package);
        self.edges.push(Vec::new());
        self.packages.len() - 1
    }

    /// Adds an edge between two indices.
    pub(super) fn edge(&mut self, from: usize, to: usize) {
        self.edges[from].push(to);
    }

    /// Adds an edge between the first packages of these names.
    pub(super) fn depend(&mut self, from: &str, to: &str) {
        let index = |name: &str| {
            let found = self.packages.iter().position(|package| package.name == name);
            found.unwrap_or_else(|| panic!("no package is named {name}"))
        };
        let (from, to) = (index(from), index(to));
        self.edge(from, to);
    }

    pub(super) fn packages(&self) -> &[Package] {
        &self.packages
    }

    /// The names of all that depend on a package of this name directly.
    pub(super) fn dependents(&self, name: &str) -> BTreeSet<&str> {
        let depends = |edges: &[usize]| edges.iter().any(|&to| self.packages[to].name == name);
        let all = self.packages.iter().zip(&self.edges);
        all.filter(|(_, edges)| depends(edges))
            .map(|(package, _)| package.name.as_str())
            .collect()
    }

    /// The shortest path of names from the package `from` to another one that `is_target`, never passing through one
    /// that is `closed`.
    pub(super) fn path(
        &self,
        from: &str,
        is_target: impl Fn(&Package) -> bool,
        is_closed: impl Fn(&Package) -> bool,
    ) -> Option<Vec<&str>> {
        let start = self.packages.iter().position(|package| package.name == from)?;
        let mut came_from = vec![None; self.packages.len()];
        let mut queue = VecDeque::from([start]);
        while let Some(at) = queue.pop_front() {
            for &next in &self.edges[at] {
                if next == start || came_from[next].is_some() || is_closed(&self.packages[next]) {
                    continue;
                }
                came_from[next] = Some(at);
                if is_target(&self.packages[next]) {
                    let steps = std::iter::successors(Some(next), |&step| came_from[step]);
                    let mut path: Vec<&str> = steps.map(|step| self.packages[step].name.as_str()).collect();
                    path.reverse();
                    return Some(path);
                }
                queue.push_back(next);
            }
        }
        None
    }
}
