//! Processes of app-service: how they start, and how they end.

use std::io::{BufRead as _, BufReader};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::sync::mpsc;
use std::time::Duration;

use serde_json::Value;
use tempfile::TempDir;
use testkit::Database;

/// A second process beside a shop's own; killed with this value.
pub(crate) struct Replica {
    pub(super) process: Child,
    pub(super) base: String,
}

impl Replica {
    /// Sends SIGTERM.
    pub(crate) fn terminate(&self) {
        terminate(&self.process);
    }

    /// How the process ended.
    pub(crate) async fn ended(&mut self) -> ExitStatus {
        ended(&mut self.process).await
    }
}

impl Drop for Replica {
    fn drop(&mut self) {
        // It may have ended already.
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}

pub(super) fn start(database: &Database, keys: &TempDir, settings: &[(String, String)]) -> Child {
    let redis = std::env::var("PLUMBLINE_TEST_REDIS").expect("run `cargo stack test`");
    Command::new(env!("CARGO_BIN_EXE_app-service"))
        .arg("serve")
        .env("HTTP_ADDR", "127.0.0.1:0")
        .env("ADMIN_ADDR", "127.0.0.1:0")
        .env("DATABASE_URL", database.runtime_url())
        .env("REDIS_URL", redis)
        // All tests share one Redis, and each database has its own products, versions and saves.
        .env("CACHE_SCOPE", &database.name)
        // A busy machine must not make a miss of a hit.
        .env("REDIS_COMMAND_TIMEOUT", "20s")
        .env("KAFKA_BOOTSTRAP_SERVERS", "127.0.0.1:1")
        .env("ASSERTION_JWKS_FILE", keys.path().join("jwks.json"))
        .env("LOG_FORMAT", "json")
        .env("RUST_LOG", "info")
        .env("DRAIN_DELAY", "0s")
        .envs(settings.iter().map(|(name, value)| (name, value)))
        .stdout(Stdio::piped())
        .spawn()
        .unwrap()
}

/// Reads the log until the process says where it listens, and goes on reading, so that it never waits for a full pipe.
pub(super) fn address(process: &mut Child) -> String {
    let output = BufReader::new(process.stdout.take().unwrap());
    let (sender, receiver) = mpsc::channel();
    std::thread::spawn(move || {
        for line in output.lines().map_while(Result::ok) {
            let event: Value = serde_json::from_str(&line).unwrap_or_default();
            if event["message"] == "serving HTTP" {
                let _ = sender.send(format!(
                    "http://{}",
                    event["address"].as_str().unwrap_or_default()
                ));
            }
            // Shown only when the test fails.
            println!("{line}");
        }
    });
    receiver
        .recv_timeout(Duration::from_secs(60))
        .expect("the process did not start")
}

pub(super) fn terminate(process: &Child) {
    let pid = process.id().to_string();
    let sent = Command::new("kill").args(["-TERM", &pid]).status().unwrap();
    assert!(sent.success());
}

pub(super) async fn ended(process: &mut Child) -> ExitStatus {
    testkit::eventually("the process has ended", async || process.try_wait().unwrap()).await
}
