//! What has to be on the machine, named with the command that brings it.

use std::path::PathBuf;
use std::process::{Command, Stdio};

use anyhow::{Context as _, bail, ensure};
use stack::External;

/// Something that the build or the servers need.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Need {
    Java,
    Maven,
    Cmake,
    Compiler,
    PkgConfig,
    OpenSsl,
    Curl,
    Python,
}

/// What the machine is to be used for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Purpose {
    Run,
    Test,
}

impl Need {
    /// What it is and who wants it.
    fn describe(self) -> &'static str {
        match self {
            Need::Java => "Java 17 or newer (Apache Kafka)",
            Need::Maven => "Maven (it brings PostgreSQL, Kafka and Redis)",
            Need::Cmake => "CMake (librdkafka)",
            Need::Compiler => "a C and C++ compiler and make (librdkafka, aws-lc)",
            Need::PkgConfig => "pkg-config (it finds OpenSSL)",
            Need::OpenSsl => "OpenSSL's headers (librdkafka)",
            Need::Curl => "libcurl's headers (librdkafka)",
            Need::Python => "Python 3.10 or newer with venv (schemathesis and other checkers, for the tests)",
        }
    }

    fn is_there(self) -> bool {
        match self {
            Need::Java => java_version().is_some_and(|version| version >= 17),
            Need::Maven => on_path("mvn").is_some(),
            Need::Cmake => on_path("cmake").is_some(),
            Need::Compiler => {
                let c = ["cc", "gcc", "clang"].iter().any(|name| on_path(name).is_some());
                let cpp = ["c++", "g++", "clang++"]
                    .iter()
                    .any(|name| on_path(name).is_some());
                c && cpp && on_path("make").is_some()
            }
            Need::PkgConfig => on_path("pkg-config").is_some(),
            Need::OpenSsl => has_library("openssl", "openssl/ssl.h"),
            Need::Curl => has_library("libcurl", "curl/curl.h"),
            Need::Python => stack::python().is_some(),
        }
    }

    fn packages(self, manager: Manager) -> &'static [&'static str] {
        match (manager, self) {
            (Manager::Apt, Need::Java) => &["default-jre-headless"],
            (Manager::Apt, Need::Compiler) => &["build-essential"],
            (Manager::Apt, Need::PkgConfig) => &["pkg-config"],
            (Manager::Apt, Need::OpenSsl) => &["libssl-dev"],
            (Manager::Apt, Need::Curl) => &["libcurl4-openssl-dev"],
            (Manager::Apt, Need::Python) => &["python3-venv"],
            (Manager::Dnf, Need::Java) => &["java-latest-openjdk-headless"],
            (Manager::Dnf, Need::Compiler) => &["gcc", "gcc-c++", "make"],
            (Manager::Dnf, Need::PkgConfig) => &["pkgconf-pkg-config"],
            (Manager::Dnf, Need::OpenSsl) => &["openssl-devel"],
            (Manager::Dnf, Need::Curl) => &["libcurl-devel"],
            (Manager::Dnf, Need::Python) => &["python3"],
            (Manager::Brew, Need::Java) => &["openjdk"],
            (Manager::Brew, Need::Compiler) => &["gcc", "make"],
            (Manager::Brew, Need::PkgConfig) => &["pkgconf"],
            (Manager::Brew, Need::OpenSsl) => &["openssl@3"],
            (Manager::Brew, Need::Curl) => &["curl"],
            (Manager::Brew, Need::Python) => &["python@3"],
            (_, Need::Maven) => &["maven"],
            (_, Need::Cmake) => &["cmake"],
        }
    }
}

/// Who installs packages here.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Manager {
    Apt,
    Dnf,
    Brew,
}

impl Manager {
    fn find() -> Option<Manager> {
        if cfg!(target_os = "macos") {
            return Some(Manager::Brew);
        }
        manager_of(&std::fs::read_to_string("/etc/os-release").unwrap_or_default())
    }

    /// The command line that brings `packages`.
    fn command(self, packages: &[&str], root: bool) -> String {
        let packages = packages.join(" ");
        let sudo = if root { "" } else { "sudo " };
        match self {
            Manager::Apt => format!("{sudo}apt-get update && {sudo}apt-get install -y {packages}"),
            Manager::Dnf => format!("{sudo}dnf install -y {packages}"),
            Manager::Brew => format!("brew install {packages}"),
        }
    }
}

fn manager_of(os_release: &str) -> Option<Manager> {
    let of = |key: &str| {
        os_release
            .lines()
            .find_map(|line| line.strip_prefix(key))
            .unwrap_or_default()
    };
    let names = format!("{} {}", of("ID="), of("ID_LIKE="));
    let is = |wanted: &[&str]| {
        names
            .split(|c: char| !c.is_ascii_alphanumeric())
            .any(|name| wanted.contains(&name))
    };
    if is(&["debian", "ubuntu"]) {
        Some(Manager::Apt)
    } else if is(&["fedora", "rhel", "centos"]) {
        Some(Manager::Dnf)
    } else {
        None
    }
}

/// Fails naming everything that is missing, and how to get it. As root on Debian or Ubuntu it installs
/// instead, after saying so, unless `no_install`.
pub(crate) fn ensure(purpose: Purpose, external: &External, no_install: bool) -> anyhow::Result<()> {
    let missing = missing(purpose, external);
    if missing.is_empty() {
        return Ok(());
    }
    let root = rustix::process::geteuid().is_root();
    let manager = Manager::find();
    let message = complaint(&missing, manager, root);
    let command = match manager {
        Some(Manager::Apt) if root && !no_install => {
            Manager::Apt.command(&packages(&missing, Manager::Apt), root)
        }
        _ => bail!("{message}"),
    };
    eprintln!("{message}\nrunning it now, because this is root (--no-install prevents that)");
    let mut shell = Command::new("sh");
    let status = shell
        .args(["-c", &command])
        .env("DEBIAN_FRONTEND", "noninteractive")
        .status();
    let status = status.context("cannot start a shell")?;
    ensure!(status.success(), "`{command}` failed");
    let still = self::missing(purpose, external);
    ensure!(
        still.is_empty(),
        "after installing: {}",
        complaint(&still, manager, root)
    );
    Ok(())
}

fn missing(purpose: Purpose, external: &External) -> Vec<Need> {
    let build = [
        Need::Cmake,
        Need::Compiler,
        Need::PkgConfig,
        Need::OpenSsl,
        Need::Curl,
    ];
    let servers = [Need::Java, Need::Maven];
    let needs = build
        .into_iter()
        .chain(servers.into_iter().filter(|_| external.is_incomplete()))
        .chain((purpose == Purpose::Test).then_some(Need::Python));
    needs.filter(|need| !need.is_there()).collect()
}

fn packages(missing: &[Need], manager: Manager) -> Vec<&'static str> {
    missing
        .iter()
        .flat_map(|need| need.packages(manager))
        .copied()
        .collect()
}

/// One line for each thing that is missing, and one with the command.
fn complaint(missing: &[Need], manager: Option<Manager>, root: bool) -> String {
    let mut lines = vec!["missing on this machine:".to_owned()];
    lines.extend(missing.iter().map(|need| match manager {
        Some(manager) => format!("  {}: {}", need.describe(), need.packages(manager).join(" ")),
        None => format!("  {}", need.describe()),
    }));
    lines.push(match manager {
        Some(manager) => format!(
            "install with: {}",
            manager.command(&packages(missing, manager), root)
        ),
        None => "install them with this system's package manager".to_owned(),
    });
    lines.join("\n")
}

fn on_path(program: &str) -> Option<PathBuf> {
    let path = std::env::var_os("PATH")?;
    std::env::split_paths(&path)
        .map(|dir| dir.join(program))
        .find(|candidate| candidate.is_file())
}

/// By pkg-config, and without it by the place where Linux distributions put headers.
fn has_library(name: &str, header: &str) -> bool {
    let mut query = Command::new("pkg-config");
    query
        .args(["--exists", name])
        .stdout(Stdio::null())
        .stderr(Stdio::null());
    match query.status() {
        Ok(status) => status.success() || (cfg!(target_os = "macos") && brew_has(name)),
        Err(_) => headers().any(|dir| dir.join(header).exists()),
    }
}

/// `/usr/include` and, on Debian, `/usr/include/x86_64-linux-gnu` and its like.
fn headers() -> impl Iterator<Item = PathBuf> {
    let include = PathBuf::from("/usr/include");
    let below = std::fs::read_dir(&include)
        .into_iter()
        .flatten()
        .filter_map(|entry| Some(entry.ok()?.path()));
    std::iter::once(include.clone()).chain(below)
}

/// Homebrew keeps both libraries out of pkg-config's sight; openssl-sys asks `brew` itself.
fn brew_has(name: &str) -> bool {
    let formula = if name == "openssl" { "openssl@3" } else { "curl" };
    let mut query = Command::new("brew");
    query
        .args(["--prefix", "--installed", formula])
        .stdout(Stdio::null())
        .stderr(Stdio::null());
    query.status().is_ok_and(|status| status.success())
}

fn java_version() -> Option<u32> {
    // It writes to the standard error stream.
    let output = Command::new("java").arg("-version").output().ok()?;
    parse_java_version(&String::from_utf8_lossy(&output.stderr))
}

/// `openjdk version "17.0.15" 2025-04-15`, and `java version "1.8.0_392"` before Java 9.
fn parse_java_version(text: &str) -> Option<u32> {
    let quoted = text.split('"').nth(1)?;
    let mut numbers = quoted
        .split(|c: char| !c.is_ascii_digit())
        .map(|number| number.parse().ok());
    match numbers.next()?? {
        1 => numbers.next()?,
        version => Some(version),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn java_versions_of_all_times_are_understood() {
        let check = |text, expected| assert_eq!(parse_java_version(text), expected, "{text}");
        check("openjdk version \"17.0.15\" 2025-04-15", Some(17));
        check("java version \"1.8.0_392\"", Some(8));
        check("openjdk version \"25\" 2025-09-16", Some(25));
        check("sh: java: not found", None);
    }

    #[test]
    fn each_missing_thing_is_named_with_the_command_of_the_platform() {
        let missing = [Need::Cmake, Need::Curl];
        assert_eq!(
            complaint(&missing, Some(Manager::Apt), false),
            "missing on this machine:\n  CMake (librdkafka): cmake\n  libcurl's headers (librdkafka): libcurl4-openssl-dev\n\
             install with: sudo apt-get update && sudo apt-get install -y cmake libcurl4-openssl-dev"
        );
        let check = |manager, command: &str| {
            let text = complaint(&missing, manager, true);
            assert!(text.ends_with(command), "{text}");
        };
        check(
            Some(Manager::Apt),
            "install with: apt-get update && apt-get install -y cmake libcurl4-openssl-dev",
        );
        check(
            Some(Manager::Dnf),
            "install with: dnf install -y cmake libcurl-devel",
        );
        check(Some(Manager::Brew), "install with: brew install cmake curl");
        check(None, "install them with this system's package manager");
    }

    #[test]
    fn the_package_manager_is_known_by_the_distribution() {
        let check = |text, expected| assert_eq!(manager_of(text), expected, "{text}");
        check("PRETTY_NAME=\"Debian\"\nID=debian\n", Some(Manager::Apt));
        check("ID=linuxmint\nID_LIKE=\"ubuntu debian\"\n", Some(Manager::Apt));
        check(
            "ID=\"rocky\"\nID_LIKE=\"rhel centos fedora\"\n",
            Some(Manager::Dnf),
        );
        check("ID=arch\n", None);
        check("", None);
    }
}
