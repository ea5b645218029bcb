//! What a cached read costs: app-service's, with everything on, against a bare handler that does one Redis GET of the same bytes.
//!
//! What can be turned off by a setting is turned off in a second app-service; what cannot is added to the bare handler. All of them
//! run at once and take turns, asked by the same client with the same headers, which are those that the gateway sends.

mod client;
mod counts;
mod floor;
mod report;

use std::net::SocketAddr;
use std::path::Path;
use std::process::Stdio;
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context as _, ensure};
use identity::Caller;
use serde_json::Value;
use stack::{Options, Server};
use tokio::io::{AsyncBufReadExt as _, AsyncWriteExt as _, BufReader};
use tokio::process::{Child, ChildStdin, Command};
use uuid::Uuid;

use crate::Arena;
use crate::arena::Folder;
use crate::benches::api::people;
use crate::benches::cpu;
use crate::benches::signer::Signer;
use crate::spread::{Latency, Spread};
use client::Sample;
use counts::Counts;
pub use floor::run as serve_floor;
pub use report::{Line, Report};

/// The name by which the lab runs itself as the floor.
const FLOOR: &str = "cache-read-floor";

/// A replica of app-service for each way of running it.
const EVERYTHING: u16 = 1;
const UNTRACED: u16 = 2;
const UNCACHED: u16 = 3;

/// More than a verifier remembers, so that it has to verify each anew.
const MANY_ASSERTIONS: usize = 10_000;

/// How much is read.
#[derive(Clone, Copy, Debug, clap::Args)]
pub struct Plan {
    /// Connections, each with one request at a time
    #[arg(long, value_name = "N", default_value_t = 32, value_parser = clap::value_parser!(u16).range(1..=1_000))]
    pub connections: u16,
    /// Rounds; the result is their median
    #[arg(long, value_name = "N", default_value_t = 9, value_parser = clap::value_parser!(u32).range(1..=100))]
    pub rounds: u32,
    /// How long each is asked in a round, in seconds
    #[arg(long, value_name = "SECONDS", default_value_t = 2, value_parser = clap::value_parser!(u64).range(1..=50))]
    pub seconds: u64,
}

/// Starts servers, and app-service in each way.
pub async fn arena(folder: Folder, mut options: Options) -> anyhow::Result<Arena> {
    options.replicas.insert("app-service".to_owned(), UNCACHED);
    let mut arena = Arena::servers(folder, options).await?;
    // A collector that is never asked: no trace here is sampled.
    let traced = ("OTEL_EXPORTER_OTLP_ENDPOINT", "http://127.0.0.1:9");
    let ways = [
        (EVERYTHING, vec![traced]),
        (UNTRACED, vec![("OTEL_SDK_DISABLED", "true")]),
        (UNCACHED, vec![traced, ("REDIS_URL", "redis://127.0.0.1:9")]),
    ];
    for (replica, environment) in ways {
        let environment = environment
            .iter()
            .map(|(name, value)| (name.to_string(), value.to_string()));
        arena.stack.set_environment(environment.collect());
        arena.stack.start("app-service", replica).await?;
    }
    Ok(arena)
}

/// Measures on what [`arena`] started. `lab` is the lab's own program.
pub async fn run(arena: &Arena, lab: &Path, plan: Plan) -> anyhow::Result<Report> {
    let bench = Bench::open(arena, lab, plan).await?;
    let mut rounds: Vec<Vec<Round>> = Vec::new();
    // The first round warms up.
    for number in 0..=plan.rounds {
        tracing::info!("round {number} of {}", plan.rounds);
        let mut round = Vec::new();
        for target in &bench.targets {
            round.push(bench.round(target).await?);
        }
        if number > 0 {
            rounds.push(round);
        }
    }
    bench.report(&rounds).await
}

/// Something that answers the read.
struct Target {
    name: &'static str,
    address: SocketAddr,
    path: String,
    /// How many callers ask in turn.
    callers: usize,
    pid: u32,
    /// Of app-service.
    admin: Option<String>,
}

struct Round {
    sample: Sample,
    cpu: Duration,
    redis_cpu: Duration,
}

struct Bench {
    plan: Plan,
    signer: Signer,
    redis: String,
    redis_pid: u32,
    body_bytes: usize,
    targets: Vec<Target>,
    _floors: [Floor; 2],
}

impl Bench {
    async fn open(arena: &Arena, lab: &Path, plan: Plan) -> anyhow::Result<Bench> {
        let signer = Signer::of(arena.folder.path())?;
        let stack = &arena.stack;
        let id = product(&stack.http_url("app-service", EVERYTHING)?, &signer).await?;
        let path = format!("/v1/products/{id}");
        let mut targets = Vec::new();
        for (name, replica, callers) in [
            ("app-service", EVERYTHING, 1),
            ("app-service, each assertion new", EVERYTHING, MANY_ASSERTIONS),
            ("app-service, OTEL_SDK_DISABLED", UNTRACED, 1),
            ("app-service, Redis out of reach", UNCACHED, 1),
        ] {
            let url = stack.http_url("app-service", replica)?;
            targets.push(Target {
                name,
                address: url.trim_start_matches("http://").parse()?,
                path: path.clone(),
                callers,
                pid: stack.pid("app-service", replica)?,
                admin: Some(stack.admin_url("app-service", replica)?),
            });
        }
        let redis = stack.redis_url("admin");
        let body = client::body(targets[0].address, &request(&targets[0], &signer, 0)?).await?;
        let mut assignment = floor::Assignment {
            redis: redis.clone(),
            key: "lab:floor".to_owned(),
            body: String::from_utf8(body.clone())?,
            jwks_file: arena.folder.path().join("keys/assertion-jwks.json"),
            with_metrics: false,
        };
        let floor = Floor::start(lab, &assignment).await?;
        assignment.with_metrics = true;
        let counting = Floor::start(lab, &assignment).await?;
        let floors = [
            ("bare handler", &floor, floor::BARE, 1),
            ("bare handler, assertion verified", &floor, floor::VERIFIED, 1),
            (
                "bare handler, each assertion new",
                &floor,
                floor::VERIFIED,
                MANY_ASSERTIONS,
            ),
            ("bare handler, by the crate cache", &floor, floor::CACHED, 1),
            (
                "bare handler, by the crate cache, metrics on",
                &counting,
                floor::CACHED,
                1,
            ),
        ];
        let floors = floors.map(|(name, floor, path, callers)| Target {
            name,
            address: floor.address,
            path: format!("{path}/{id}"),
            callers,
            pid: floor.pid,
            admin: None,
        });
        targets.splice(0..0, floors);
        for target in &targets {
            let answer = client::body(target.address, &request(target, &signer, 0)?).await?;
            ensure!(answer == body, "{} answers with another body", target.name);
        }
        Ok(Bench {
            plan,
            signer,
            redis,
            redis_pid: stack.server_pid(Server::Redis)?,
            body_bytes: body.len(),
            targets,
            _floors: [floor, counting],
        })
    }

    async fn round(&self, target: &Target) -> anyhow::Result<Round> {
        // An assertion lives for a minute, and so for a round.
        let requests = (0..target.callers).map(|caller| request(target, &self.signer, caller));
        let requests: Arc<[Vec<u8>]> = requests.collect::<anyhow::Result<_>>()?;
        let (cpu, redis_cpu) = (cpu::of(target.pid)?, cpu::of(self.redis_pid)?);
        let length = Duration::from_secs(self.plan.seconds);
        let connections = usize::from(self.plan.connections);
        let sample = client::round(target.address, &requests, connections, length)
            .await
            .context(target.name)?;
        Ok(Round {
            sample,
            cpu: cpu::of(target.pid)?.saturating_sub(cpu),
            redis_cpu: cpu::of(self.redis_pid)?.saturating_sub(redis_cpu),
        })
    }

    async fn report(&self, rounds: &[Vec<Round>]) -> anyhow::Result<Report> {
        let mut lines = Vec::new();
        for (index, target) in self.targets.iter().enumerate() {
            let of_target = || rounds.iter().map(|round| &round[index]);
            let rate = |round: &Round| round.sample.latencies_us.len() as f64 / round.sample.seconds;
            let latencies: Vec<u32> = of_target()
                .flat_map(|round| &round.sample.latencies_us)
                .copied()
                .collect();
            let answers = latencies.len() as f64;
            let cpu_us = |of: fn(&Round) -> Duration| {
                of_target().map(of).sum::<Duration>().as_secs_f64() * 1e6 / answers
            };
            let (commands, allocations) = match &target.admin {
                Some(admin) => self.count(target, admin).await?,
                None => (None, None),
            };
            lines.push(Line {
                name: target.name,
                per_second: Spread::of(of_target().map(rate)),
                ratio: Spread::of(rounds.iter().map(|round| rate(&round[index]) / rate(&round[0]))),
                cpu_us: cpu_us(|round| round.cpu),
                redis_cpu_us: cpu_us(|round| round.redis_cpu),
                latency: Latency::of(latencies),
                commands,
                allocations,
            });
        }
        let everything = lines.iter().find(|line| line.name == "app-service");
        Ok(Report {
            connections: self.plan.connections,
            rounds: self.plan.rounds,
            seconds: self.plan.seconds,
            body_bytes: self.body_bytes,
            ratio: everything.map(|line| line.ratio).unwrap_or_default(),
            lines,
        })
    }

    /// Of one more round, less what an idle one takes.
    async fn count(
        &self,
        target: &Target,
        admin: &str,
    ) -> anyhow::Result<(Option<std::collections::BTreeMap<String, f64>>, Option<f64>)> {
        let first = Counts::now(&self.redis, admin).await?;
        tokio::time::sleep(Duration::from_secs(self.plan.seconds)).await;
        let second = Counts::now(&self.redis, admin).await?;
        let round = self.round(target).await?;
        let third = Counts::now(&self.redis, admin).await?;
        let (idle, busy) = (second.since(&first), third.since(&second));
        let reads = round.sample.latencies_us.len() as f64;
        let share = |busy: u64, idle: u64| busy.saturating_sub(idle) as f64 / reads;
        let commands = busy.commands.iter().map(|(name, calls)| {
            let idle = idle.commands.get(name).copied().unwrap_or(0);
            (name.clone(), share(*calls, idle))
        });
        // What one read in ten thousand does is no part of a read.
        let commands = commands.filter(|(_, calls)| *calls >= 0.001).collect();
        let allocations = busy.allocations.zip(idle.allocations);
        Ok((Some(commands), allocations.map(|(busy, idle)| share(busy, idle))))
    }
}

/// The floor's process; killed when it is dropped.
struct Floor {
    address: SocketAddr,
    pid: u32,
    _child: Child,
    _stdin: ChildStdin,
}

impl Floor {
    async fn start(lab: &Path, assignment: &floor::Assignment) -> anyhow::Result<Floor> {
        let mut child = Command::new(lab)
            .arg(FLOOR)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .kill_on_drop(true)
            .spawn()
            .context("cannot start the floor")?;
        let mut stdin = child.stdin.take().context("the floor has no input")?;
        let stdout = child.stdout.take().context("the floor has no output")?;
        stdin
            .write_all(format!("{}\n", serde_json::to_string(assignment)?).as_bytes())
            .await?;
        let line = BufReader::new(stdout).lines().next_line().await?;
        Ok(Floor {
            address: line.context("the floor failed at its start")?.parse()?,
            pid: child.id().context("the floor has ended")?,
            _child: child,
            _stdin: stdin,
        })
    }
}

/// Makes a product that everybody may see, and returns its id.
async fn product(url: &str, signer: &Signer) -> anyhow::Result<String> {
    let staff = Caller {
        principal: "main:lab-staff".to_owned(),
        scopes: vec!["catalogue:write".to_owned()],
        email: None,
        expires_at: i64::MAX,
    };
    let made = reqwest::Client::new()
        .post(format!("{url}/v1/products"))
        .header("x-plumbline-identity", signer.assertion(&staff)?)
        .header("idempotency-key", Uuid::now_v7().to_string())
        .json(&people::product("lab-read"))
        .send()
        .await?;
    let made: Value = made.error_for_status()?.json().await?;
    Ok(made["id"].as_str().context("the product has no id")?.to_owned())
}

/// As the gateway asks for somebody who has signed in, in a trace that is not sampled.
fn request(target: &Target, signer: &Signer, caller: usize) -> anyhow::Result<Vec<u8>> {
    let customer = Caller {
        principal: format!("main:lab-customer-{caller}"),
        scopes: ["customers:write", "orders:write"].map(str::to_owned).into(),
        email: Some("lab-customer@example.com".to_owned()),
        expires_at: i64::MAX,
    };
    let head = [
        format!("GET {} HTTP/1.1", target.path),
        "accept: application/json".to_owned(),
        "user-agent: lab".to_owned(),
        format!("x-plumbline-identity: {}", signer.assertion(&customer)?),
        format!("x-request-id: {}", Uuid::now_v7()),
        format!("host: {}", target.address),
        "x-request-deadline-ms: 10000".to_owned(),
        "traceparent: 00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-00".to_owned(),
    ];
    Ok((head.join("\r\n") + "\r\n\r\n").into_bytes())
}
