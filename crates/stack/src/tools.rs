//! Checkers that come from PyPI: pinned in `deploy/tools/requirements.txt`, installed once into a virtual
//! environment below the target folder.

use std::fs::File;
use std::hash::{DefaultHasher, Hash as _, Hasher as _};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use anyhow::{Context as _, ensure};

/// The installed checkers.
#[derive(Clone, Debug)]
pub struct Tools {
    bin: PathBuf,
}

impl Tools {
    /// Installs what is missing; takes about half a minute the first time, and nothing after that.
    ///
    /// It blocks. Two at once are safe: the second waits for the first.
    pub fn install(root: &Path, target: &Path) -> anyhow::Result<Tools> {
        let requirements = root.join("deploy/tools/requirements.txt");
        let text = std::fs::read(&requirements)
            .with_context(|| format!("cannot read {}", requirements.display()))?;
        let mut hasher = DefaultHasher::new();
        text.hash(&mut hasher);
        let parent = target.join("tools");
        let home = parent.join(format!("{:016x}", hasher.finish()));
        crate::files::make_dir(&parent)?;
        let lock = File::create(parent.join("lock")).context("cannot open the tools' lock file")?;
        lock.lock().context("cannot lock the tools' folder")?;
        let tools = Tools {
            bin: home.join("bin"),
        };
        // The programs hold the folder's path, so that it can't be made elsewhere and moved.
        let complete = home.join("complete");
        if complete.exists() {
            return Ok(tools);
        }
        if home.exists() {
            std::fs::remove_dir_all(&home).context("cannot remove what an interrupted installation left")?;
        }
        let python = python().context("no python3 (3.10 or newer, with venv) is on the path")?;
        succeed(Command::new(python).args(["-m", "venv"]).arg(&home))?;
        let mut pip = tools.command("python");
        pip.args([
            "-m",
            "pip",
            "install",
            "--quiet",
            "--no-input",
            "--disable-pip-version-check",
        ]);
        succeed(pip.arg("--requirement").arg(&requirements))?;
        File::create(&complete).context("cannot mark the tools as installed")?;
        Ok(tools)
    }

    /// One of the programs.
    pub fn command(&self, program: &str) -> Command {
        let mut command = Command::new(self.bin.join(program));
        // What the user has installed elsewhere must not be found first.
        command.env_remove("PYTHONPATH").env_remove("PYTHONHOME");
        command
    }
}

/// A Python that can make virtual environments: the first on the path, or else the system's. A version manager's
/// `python3` may be there and not work.
pub fn python() -> Option<&'static str> {
    let check = "import sys, venv, ensurepip; sys.exit(sys.version_info < (3, 10))";
    ["python3", "/usr/bin/python3"].into_iter().find(|python| {
        let mut probe = Command::new(python);
        probe.args(["-c", check]).stdin(Stdio::null());
        let status = probe.stdout(Stdio::null()).stderr(Stdio::null()).status();
        status.is_ok_and(|status| status.success())
    })
}

fn succeed(command: &mut Command) -> anyhow::Result<()> {
    let output = command
        .stdin(Stdio::null())
        .output()
        .context("cannot start python")?;
    ensure!(
        output.status.success(),
        "the tools could not be installed ({}): {}{}",
        output.status,
        String::from_utf8_lossy(&output.stdout).trim(),
        String::from_utf8_lossy(&output.stderr).trim()
    );
    Ok(())
}
