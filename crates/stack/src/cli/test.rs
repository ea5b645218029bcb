//! `cargo stack test`: every test against real servers, on free ports, never touching a running system.

use std::fs::File;
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use anyhow::Context as _;
use stack::{Options, Passwords, Stack};

use super::build::{self, build, cargo};
use super::prerequisites::{self, Purpose};
use super::project::Project;
use super::stop::Stop;

pub(crate) async fn run(arguments: &[String], no_install: bool) -> anyhow::Result<ExitCode> {
    let project = Project::find()?;
    prerequisites::ensure(Purpose::Test, &project.external, no_install)?;
    build(
        &project,
        if needs_binaries(arguments) {
            &["--workspace", "--bins"]
        } else {
            &[]
        },
    )
    .await?;

    let folder = Folder::make(&project.target.join("stack-test"))?;
    let mut options = Options::new(&project.root, &folder.path);
    // Testkit knows the roles by name, and a test's data need not survive a power cut.
    options.passwords = Passwords::Names;
    options.fsync = false;
    options.mail_sink = false;
    options.external = project.external.clone();
    eprintln!("servers: starting PostgreSQL, Redis and Kafka for the tests");
    let mut stop = Stop::listen()?;
    let stack = tokio::select! {
        stack = Stack::servers(options) => stack?,
        () = stop.told() => return Ok(ExitCode::from(130)),
    };

    let mut tests = cargo(&project.root);
    tests.arg("test");
    if !names_packages(arguments) {
        tests.arg("--workspace");
    }
    tests.args(arguments).envs(environment(&stack, &project.target));
    let status = build::run(&mut tests).await;
    stack.down().await;
    let code = status?
        .code()
        .and_then(|code| u8::try_from(code).ok())
        .unwrap_or(1);
    Ok(ExitCode::from(code))
}

/// What `testkit` and the end-to-end tests read.
fn environment(stack: &Stack, target: &Path) -> Vec<(&'static str, String)> {
    let (bootstrap, user, password) = stack.kafka_admin();
    vec![
        (
            "PLUMBLINE_TEST_POSTGRES",
            stack.postgres_superuser_url("postgres"),
        ),
        ("PLUMBLINE_TEST_REDIS", stack.redis_url("admin")),
        ("PLUMBLINE_TEST_KAFKA", bootstrap),
        ("PLUMBLINE_TEST_KAFKA_USER", user),
        ("PLUMBLINE_TEST_KAFKA_PASSWORD", password),
        (
            "PLUMBLINE_STACK_BINARIES",
            target.join("debug").display().to_string(),
        ),
    ]
}

fn names_packages(arguments: &[String]) -> bool {
    packages(arguments).next().is_some()
}

/// The binaries are wanted by the tests of these packages, and by a run of all.
fn needs_binaries(arguments: &[String]) -> bool {
    !names_packages(arguments) || packages(arguments).any(|package| matches!(package, "lab" | "stack"))
}

/// The values of `-p` and `--package`, up to `--`.
fn packages(arguments: &[String]) -> impl Iterator<Item = &str> {
    let ours = || {
        arguments
            .iter()
            .map(String::as_str)
            .take_while(|argument| *argument != "--")
    };
    let after = ours()
        .zip(ours().skip(1))
        .filter(|(flag, _)| matches!(*flag, "-p" | "--package"))
        .map(|(_, name)| name);
    let joined = ours().filter_map(|argument| {
        argument
            .strip_prefix("--package=")
            .or_else(|| argument.strip_prefix("-p").filter(|name| !name.is_empty()))
    });
    after.chain(joined)
}

/// A folder for one run. It is locked while in use, so that the next run knows which ones were left behind.
struct Folder {
    path: PathBuf,
    _lock: File,
}

impl Folder {
    fn make(parent: &Path) -> anyhow::Result<Folder> {
        std::fs::create_dir_all(parent).with_context(|| format!("cannot make {}", parent.display()))?;
        for left in std::fs::read_dir(parent)?.filter_map(Result::ok) {
            let unused = File::open(left.path().join("lock")).is_ok_and(|lock| lock.try_lock().is_ok());
            if unused {
                let _ = stack::delete(&left.path());
            }
        }
        let path = parent.join(std::process::id().to_string());
        std::fs::create_dir_all(&path)?;
        let lock = File::create(path.join("lock"))?;
        lock.try_lock()
            .with_context(|| format!("{} is in use", path.display()))?;
        Ok(Folder { path, _lock: lock })
    }
}

impl Drop for Folder {
    fn drop(&mut self) {
        // Logs of a failed run would be of use, but the data would pile up; `stack-test` keeps nothing.
        let _ = stack::delete(&self.path);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn packages_are_found_before_the_tests_own_arguments() {
        let check = |line: &str, expected: &[&str]| {
            let arguments: Vec<String> = line.split_whitespace().map(str::to_owned).collect();
            assert_eq!(packages(&arguments).collect::<Vec<_>>(), expected, "{line}");
        };
        check("", &[]);
        check("-p cache --test it", &["cache"]);
        check("--package outbox -p=x -- -p not", &["outbox", "=x"]);
        check("--package=lab -pstack", &["lab", "stack"]);
    }
}
