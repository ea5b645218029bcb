//! The workspace and the state of its one `up`.

use std::path::PathBuf;

use stack::{Architecture, External, Options, Ports, find_root, target_dir};

use super::state::State;

/// What every verb needs to know.
pub(crate) struct Project {
    pub(crate) root: PathBuf,
    pub(crate) target: PathBuf,
    pub(crate) architecture: Architecture,
    pub(crate) external: External,
}

impl Project {
    pub(crate) fn find() -> anyhow::Result<Project> {
        let root = find_root()?;
        let architecture = Architecture::read(&root)?;
        Ok(Project {
            target: target_dir(&root),
            architecture,
            external: External::from_environment(),
            root,
        })
    }

    /// Where `up` keeps its data.
    pub(crate) fn dir(&self) -> PathBuf {
        self.target.join("stack")
    }

    pub(crate) fn state(&self) -> State {
        State::new(self.dir())
    }

    /// The options of `up`.
    pub(crate) fn options(&self, replicas: &[(String, u16)]) -> Options {
        let mut options = Options::new(&self.root, self.dir());
        options.ports = Ports::Fixed;
        options.replicas = replicas.iter().cloned().collect();
        options.external = self.external.clone();
        options
    }
}
