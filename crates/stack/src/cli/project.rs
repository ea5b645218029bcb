//! The workspace and the state of its one `up`.

use std::path::PathBuf;

use stack::{Architecture, Compose, External, Options, Passwords, Ports, find_root, target_dir};

use super::state::State;

/// What every verb needs to know.
pub(crate) struct Project {
    pub(crate) root: PathBuf,
    pub(crate) target: PathBuf,
    pub(crate) architecture: Architecture,
    pub(crate) external: External,
    /// The containers that the servers are in, when they are.
    pub(crate) compose: Option<Compose>,
}

impl Project {
    pub(crate) fn find() -> anyhow::Result<Project> {
        let root = find_root()?;
        let architecture = Architecture::read(&root)?;
        Ok(Project {
            target: target_dir(&root),
            architecture,
            external: External::from_environment(),
            compose: None,
            root,
        })
    }

    /// Takes the servers from these containers.
    pub(crate) fn use_containers(&mut self, compose: Compose) {
        self.external = Compose::addresses();
        self.compose = Some(compose);
    }

    /// Where `up` keeps its data.
    pub(crate) fn dir(&self) -> PathBuf {
        self.target.join("stack")
    }

    pub(crate) fn state(&self) -> State {
        State::new(self.dir())
    }

    /// Runs the servers as processes, after all.
    pub(crate) fn use_processes(&mut self) {
        self.external = External::default();
        self.compose = None;
    }

    /// The options of `up`.
    pub(crate) fn options(&self, replicas: &[(String, u16)]) -> Options {
        let mut options = Options::new(&self.root, self.dir());
        options.ports = Ports::Fixed;
        options.replicas = replicas.iter().cloned().collect();
        options.external = self.external.clone();
        if self.compose.is_some() {
            options.passwords = Passwords::Names;
        }
        options
    }
}
