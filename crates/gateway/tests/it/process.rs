//! A gateway of one's own: its routes, its ports, its log.

use std::io::{BufRead, BufReader};
use std::net::SocketAddr;
use std::process::{Child, Command, Output, Stdio};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use rustix::process::{Pid, Signal, kill_process};
use serde_json::Value;
use tempfile::TempDir;

use crate::keys::{GATEWAY, ISSUER};

/// Limits that no test runs into by accident, and one route of each kind.
pub(crate) const ROUTES: &str = r#"
address_limit = { rate = 100000, per = "1s", burst = 100000 }
principal_limit = { rate = 100000, per = "1s", burst = 100000 }

[[route]]
id = "things.list"
methods = ["GET", "HEAD"]
path = "/v1/things"
upstream = "app"
auth = "anonymous"
timeout = "5s"

[[route]]
id = "things.create"
methods = ["POST"]
path = "/v1/things"
upstream = "app"
auth = { jwt = "main", scopes = ["things:write"] }
timeout = "5s"
body_max = "1KiB"

[[route]]
id = "things.get"
methods = ["GET"]
path = "/v1/things/{id}"
upstream = "app"
auth = { jwt = "main" }
timeout = "5s"

[[route]]
id = "things.hurry"
methods = ["GET", "POST"]
path = "/v1/hurry"
upstream = "app"
auth = "anonymous"
timeout = "300ms"

[[route]]
id = "things.rarely"
methods = ["GET"]
path = "/v1/rarely"
upstream = "app"
auth = { jwt = "main" }
limit = { rate = 1, per = "1h", burst = 2 }
timeout = "5s"
"#;

pub(crate) struct Gateway {
    child: Child,
    pub(crate) address: SocketAddr,
    pub(crate) admin: SocketAddr,
    log: Arc<Mutex<Vec<String>>>,
    _files: TempDir,
}

/// How the gateway is started, with `settings` on top of what it needs.
fn command(files: &TempDir, routes: &str, settings: &[(&str, String)]) -> Command {
    let file = |name: &str, content: String| {
        let path = files.path().join(name);
        std::fs::write(&path, content).unwrap();
        path
    };
    let mut command = Command::new(env!("CARGO_BIN_EXE_gateway"));
    command
        .arg("serve")
        .env_clear()
        .env("ADMIN_ADDR", "127.0.0.1:0")
        .env("HTTP_ADDR", "127.0.0.1:0")
        .env("LOG_FORMAT", "json")
        .env("RUST_LOG", "info,gateway=debug")
        .env("DRAIN_DELAY", "100ms")
        .env("ROUTES_FILE", file("routes.toml", routes.to_owned()))
        .env("JWKS_FILE", file("jwks.json", ISSUER.set()))
        .env("JWT_ISSUER", "plumbline-dev")
        .env("ASSERTION_KEY_FILE", file("assertion.pem", GATEWAY.pem()))
        .env("ASSERTION_KEY_ID", GATEWAY.id)
        .env("APP_SERVICE_URL", "http://127.0.0.1:9")
        .envs(settings.iter().map(|(name, value)| (name, value)))
        .stdout(Stdio::piped());
    command
}

impl Gateway {
    /// Before app-service listens at `upstreams`, or anything else there.
    pub(crate) fn before(upstreams: &[SocketAddr]) -> Gateway {
        Gateway::start(ROUTES, upstreams, &[])
    }

    pub(crate) fn start(routes: &str, upstreams: &[SocketAddr], settings: &[(&str, &str)]) -> Gateway {
        let files = TempDir::new().unwrap();
        let urls: Vec<String> = upstreams.iter().map(|at| format!("http://{at}")).collect();
        let mut all = vec![("APP_SERVICE_URL", urls.join(","))];
        all.extend(settings.iter().map(|(name, value)| (*name, (*value).to_owned())));
        let mut child = command(&files, routes, &all).spawn().unwrap();
        let log = Arc::new(Mutex::new(Vec::new()));
        let lines = BufReader::new(child.stdout.take().unwrap()).lines();
        std::thread::spawn({
            let log = Arc::clone(&log);
            move || {
                lines
                    .map_while(Result::ok)
                    .for_each(|line| log.lock().unwrap().push(line))
            }
        });
        let address = address_in(&log, "serving HTTP");
        let admin = address_in(&log, "serving probes and metrics");
        Gateway {
            child,
            address,
            admin,
            log,
            _files: files,
        }
    }

    /// The lines of the log so far, parsed.
    pub(crate) fn log(&self) -> Vec<Value> {
        let log = self.log.lock().unwrap();
        log.iter()
            .map(|line| serde_json::from_str(line).unwrap())
            .collect()
    }

    /// The access log's line for the request with this id.
    pub(crate) fn access_line(&self, request_id: &str) -> Value {
        eventually("the request's line in the log", || {
            let log = self.log();
            log.into_iter()
                .find(|line| line["message"] == "request" && line["request_id"] == request_id)
        })
    }

    pub(crate) fn terminate(&self) {
        let pid = Pid::from_raw(self.child.id().try_into().unwrap()).unwrap();
        kill_process(pid, Signal::TERM).unwrap();
    }

    pub(crate) fn exit_code(&mut self) -> Option<i32> {
        eventually("the gateway's end", || self.child.try_wait().unwrap()).code()
    }
}

impl Drop for Gateway {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// Runs a gateway that is expected to refuse its configuration.
pub(crate) fn refused(routes: &str, settings: &[(&str, &str)]) -> Output {
    let files = TempDir::new().unwrap();
    let settings: Vec<(&str, String)> = settings
        .iter()
        .map(|(name, value)| (*name, (*value).to_owned()))
        .collect();
    command(&files, routes, &settings)
        .stderr(Stdio::piped())
        .output()
        .unwrap()
}

fn address_in(log: &Mutex<Vec<String>>, message: &str) -> SocketAddr {
    eventually(message, || {
        let log = log.lock().unwrap();
        log.iter().find_map(|line| {
            let line: Value = serde_json::from_str(line).ok()?;
            (line["message"] == message).then(|| line["address"].as_str()?.parse().ok())?
        })
    })
}

/// What `probe` finds, as soon as it finds something.
pub(crate) fn eventually<T>(what: &str, mut probe: impl FnMut() -> Option<T>) -> T {
    let deadline = Instant::now() + Duration::from_secs(30);
    loop {
        if let Some(found) = probe() {
            return found;
        }
        assert!(Instant::now() < deadline, "waited in vain for {what}");
        std::thread::sleep(Duration::from_millis(20));
    }
}
