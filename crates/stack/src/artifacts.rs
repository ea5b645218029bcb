//! The native servers' files: fetched by Maven from the small `pom.xml`, unpacked once, shared by every stack
//! of the workspace.

use std::fs::File;
use std::hash::{DefaultHasher, Hash as _, Hasher as _};
use std::io::{BufRead as _, BufReader};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use anyhow::{Context as _, bail, ensure};

/// Where the servers' files are.
#[derive(Clone, Debug)]
pub struct Artifacts {
    /// Kafka's jars.
    pub jars: PathBuf,
    /// PostgreSQL's installation: `bin`, `lib`, `share`.
    pub postgres: PathBuf,
    /// The bundled `redis-server`.
    pub redis: PathBuf,
}

impl Artifacts {
    /// Brings what is missing; takes about ten seconds the first time, and nothing after that. `progress`
    /// gets a line now and then.
    ///
    /// It blocks. Two at once are safe: the second waits for the first.
    pub fn fetch(root: &Path, target: &Path, progress: impl Fn(&str)) -> anyhow::Result<Artifacts> {
        let pom = root.join("crates/stack/servers/pom.xml");
        let text = std::fs::read(&pom).with_context(|| format!("cannot read {}", pom.display()))?;
        let mut hasher = DefaultHasher::new();
        text.hash(&mut hasher);
        let parent = target.join("stack-servers");
        let home = parent.join(format!("{:016x}", hasher.finish()));
        crate::files::make_dir(&parent)?;
        let lock = File::create(parent.join("lock")).context("cannot open the servers' lock file")?;
        lock.lock().context("cannot lock the servers' folder")?;
        if !home.exists() {
            let partial = parent.join("partial");
            if partial.exists() {
                std::fs::remove_dir_all(&partial)
                    .context("cannot remove what an interrupted download left")?;
            }
            let jars = partial.join("jars");
            copy_dependencies(&pom, &jars, &progress)?;
            progress("unpacking PostgreSQL and Redis");
            unpack_postgres(&jars, &partial.join("postgres"))?;
            unpack_redis(&jars, &partial.join("redis-server"))?;
            std::fs::rename(&partial, &home).context("cannot move the servers to their place")?;
        }
        Ok(Artifacts {
            jars: home.join("jars"),
            postgres: home.join("postgres"),
            redis: home.join("redis-server"),
        })
    }
}

fn copy_dependencies(pom: &Path, jars: &Path, progress: &impl Fn(&str)) -> anyhow::Result<()> {
    progress("Maven brings PostgreSQL, Apache Kafka and Redis (about 70 MB, once)");
    let mut maven = Command::new("mvn");
    maven
        .args(["--batch-mode", "--file"])
        .arg(pom)
        .arg("dependency:copy-dependencies");
    maven.arg(format!("-DoutputDirectory={}", jars.display()));
    maven
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(Stdio::inherit());
    let mut maven = maven.spawn().context("cannot start mvn")?;
    let output = maven.stdout.take().context("mvn has no output")?;
    let (mut files, mut errors) = (0, Vec::new());
    for line in BufReader::new(output).lines() {
        let line = line.context("cannot read mvn's output")?;
        if line.contains("Downloaded from") && line.contains(".jar") {
            files += 1;
            if files % 25 == 0 {
                progress(&format!("{files} files"));
            }
        } else if line.contains("[ERROR]") {
            errors.push(line);
        }
    }
    let status = maven.wait().context("cannot wait for mvn")?;
    if !status.success() {
        bail!(
            "Maven could not bring the servers ({status}): {}",
            errors.first().map_or("it said nothing", String::as_str)
        );
    }
    Ok(())
}

/// The one jar whose name starts with `prefix`.
fn jar(jars: &Path, prefix: &str) -> anyhow::Result<zip::ZipArchive<BufReader<File>>> {
    let entries = std::fs::read_dir(jars).with_context(|| format!("cannot list {}", jars.display()))?;
    for entry in entries {
        let entry = entry?;
        if entry.file_name().to_string_lossy().starts_with(prefix) {
            let file = File::open(entry.path())
                .with_context(|| format!("cannot open {}", entry.path().display()))?;
            return zip::ZipArchive::new(BufReader::new(file))
                .with_context(|| format!("{prefix} is not an archive"));
        }
    }
    bail!("Maven brought no {prefix}")
}

/// The name of the first entry that is like it.
fn entry(archive: &zip::ZipArchive<BufReader<File>>, like: impl Fn(&str) -> bool) -> Option<String> {
    archive
        .file_names()
        .filter_map(Result::ok)
        .find(|name| like(name))
        .map(|name| name.into_owned())
}

/// The jar holds one `.txz`; it is decompressed as it is read.
fn unpack_postgres(jars: &Path, to: &Path) -> anyhow::Result<()> {
    let mut archive = jar(jars, "embedded-postgres-binaries-")?;
    let name = entry(&archive, |name| name.ends_with(".txz")).context("the PostgreSQL jar holds no .txz")?;
    let entry = archive.by_name(&name)?;
    let plain = lzma_rust2::XzReader::new(BufReader::new(entry), true);
    tar::Archive::new(BufReader::new(plain))
        .unpack(to)
        .context("cannot unpack PostgreSQL")?;
    ensure!(
        to.join("bin/postgres").exists(),
        "the PostgreSQL archive has no bin/postgres"
    );
    Ok(())
}

/// The jar holds one executable per platform, each with a version of its own in its name.
fn unpack_redis(jars: &Path, to: &Path) -> anyhow::Result<()> {
    use std::os::unix::fs::PermissionsExt as _;
    let system = if cfg!(target_os = "macos") {
        "darwin"
    } else {
        "linux"
    };
    let machine = if cfg!(target_arch = "aarch64") {
        "arm64"
    } else {
        "amd64"
    };
    let suffix = format!("-{system}-{machine}");
    let mut archive = jar(jars, "embedded-redis-")?;
    let name = entry(&archive, |name| {
        name.starts_with("redis-server-") && name.ends_with(&suffix)
    });
    let name = name.with_context(|| format!("the Redis jar has no server for {system} {machine}"))?;
    let mut entry = archive.by_name(&name)?;
    let mut file = File::create(to).with_context(|| format!("cannot write {}", to.display()))?;
    std::io::copy(&mut entry, &mut file).context("cannot unpack Redis")?;
    file.set_permissions(std::fs::Permissions::from_mode(0o755))
        .context("cannot make redis-server executable")?;
    Ok(())
}
