//! What expiries and invalidations cost in loads while many processes read the same keys, and who waits for them: by the cache,
//! and by cache-aside as it is often written.

mod crowd;
mod reader;
mod report;
mod source;
mod tally;

use std::collections::{BTreeSet, VecDeque};
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use anyhow::ensure;
use serde::Serialize;
use uuid::Uuid;

use crowd::Crowd;
use reader::{Assignment, Entries};
pub use reader::{Way, run as read};
pub use report::{Line, Report};
use source::{Load, Shelf};
pub use tally::Cost;
use tally::{per_burst, per_entry, per_version};

/// How often the log of loads is looked at.
const LOOK: Duration = Duration::from_millis(1);

/// Between two kills, so that most of the crowd reads most of the time.
const BETWEEN_KILLS: Duration = Duration::from_millis(300);

/// From the end of a load until all have seen what it stored.
const SETTLED: Duration = Duration::from_millis(300);

/// How much longer than it should a load, with its populate, may take.
const SLACK_MS: u64 = 50;

/// How long nothing may be loaded before a scenario is given up.
const STALLED: Duration = Duration::from_secs(30);

/// Who reads what, how often.
#[derive(Clone, Debug, Serialize, clap::Args)]
pub struct Plan {
    /// Reading processes
    #[arg(long, value_name = "N", default_value_t = 8, value_parser = clap::value_parser!(u16).range(1..=64))]
    pub processes: u16,
    /// Tasks of each process that read
    #[arg(long, value_name = "N", default_value_t = 64, value_parser = clap::value_parser!(u16).range(1..=1_000))]
    pub tasks: u16,
    /// Expiries, or invalidations, of each scenario
    #[arg(long, value_name = "N", default_value_t = 1_000, value_parser = clap::value_parser!(u32).range(10..=1_000_000))]
    pub expiries: u32,
    /// Processes that are killed while they load, in the scenarios that kill
    #[arg(long, value_name = "N", default_value_t = 40, value_parser = clap::value_parser!(u32).range(1..=10_000))]
    pub kills: u32,
    /// Keys that all tasks read
    #[arg(long, value_name = "N", default_value_t = 50, value_parser = clap::value_parser!(u32).range(1..=100_000))]
    pub keys: u32,
    /// How long a load takes, in milliseconds, for each that is measured
    #[arg(long, value_name = "MS", value_delimiter = ',', default_values_t = [5, 100], value_parser = clap::value_parser!(u64).range(1..=4_000))]
    pub load_ms: Vec<u64>,
    /// How long an entry is fresh where it expires, in milliseconds; where it is invalidated, how long it is left alone
    #[arg(long, value_name = "MS", default_value_t = 1_000, value_parser = clap::value_parser!(u64).range(100..=60_000))]
    pub soft_ttl_ms: u64,
    /// Between two reads of a task, in milliseconds, ± a half
    #[arg(long, value_name = "MS", default_value_t = 25, value_parser = clap::value_parser!(u64).range(1..=10_000))]
    pub pause_ms: u64,
    /// How long one Redis command may take, in milliseconds
    #[arg(long, value_name = "MS", default_value_t = 25, value_parser = clap::value_parser!(u64).range(1..=60_000))]
    pub redis_timeout_ms: u64,
}

/// What is done to the keys while they are read.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
pub struct Scenario {
    pub way: Way,
    /// The keys are written and invalidated, and do not expire; otherwise they expire, and nobody writes.
    pub writes: bool,
    /// Processes are killed while they load.
    pub kills: bool,
    pub load_ms: u64,
}

fn scenarios(plan: &Plan) -> impl Iterator<Item = Scenario> {
    let kinds = [
        (Way::Cache, false, false),
        (Way::Cache, true, false),
        (Way::Cache, false, true),
        (Way::Cache, true, true),
        (Way::Naive, false, false),
        (Way::Naive, true, false),
    ];
    kinds.into_iter().flat_map(move |(way, writes, kills)| {
        plan.load_ms.iter().map(move |load_ms| Scenario {
            way,
            writes,
            kills,
            load_ms: *load_ms,
        })
    })
}

/// Measures with the Redis at `redis`, whose user may use any key. `lab` is the lab's own program.
pub async fn run(redis: &str, lab: &Path, plan: &Plan) -> anyhow::Result<Report> {
    let mut lines = Vec::new();
    for scenario in scenarios(plan) {
        tracing::info!("{scenario}");
        lines.push(Stage::open(redis, lab, plan, scenario).await?.play().await?);
    }
    Ok(Report {
        plan: plan.clone(),
        lines,
    })
}

/// One scenario with all that it needs.
struct Stage<'a> {
    plan: &'a Plan,
    scenario: Scenario,
    assignment: Assignment,
    lab: PathBuf,
    shelf: Shelf,
    /// For invalidations.
    entries: Entries,
}

impl Stage<'_> {
    async fn open<'a>(
        redis: &str,
        lab: &Path,
        plan: &'a Plan,
        scenario: Scenario,
    ) -> anyhow::Result<Stage<'a>> {
        let assignment = Assignment {
            redis: redis.to_owned(),
            run: Uuid::now_v7().simple().to_string(),
            way: scenario.way,
            process: usize::from(plan.processes),
            tasks: usize::from(plan.tasks),
            keys: plan.keys,
            pause_ms: plan.pause_ms,
            load_ms: scenario.load_ms,
            // What is invalidated must not expire as well.
            soft_ttl_ms: if scenario.writes { 60_000 } else { plan.soft_ttl_ms },
            redis_timeout_ms: plan.redis_timeout_ms,
        };
        let shelf = Shelf::open(redis, &assignment.run).await?;
        shelf.fill(plan.keys).await?;
        Ok(Stage {
            plan,
            scenario,
            entries: Entries::open(&assignment).await?,
            assignment,
            lab: lab.to_owned(),
            shelf,
        })
    }

    async fn play(self) -> anyhow::Result<Line> {
        let processes = usize::from(self.plan.processes);
        let mut crowd = Crowd::start(self.lab.clone(), self.assignment.clone(), processes).await?;
        let loads = self.shelf.loads(0).await?;
        let mut watched = Watched {
            moved: Instant::now(),
            loads,
            kills: 0,
            killed: BTreeSet::new(),
            struck: Instant::now(),
            takes: self.scenario.load_ms,
        };
        self.warm_up(&mut watched).await?;
        crowd.begin().await?;
        let begun = Instant::now();
        let mut writes = Writes::of(self.plan, self.scenario.load_ms, begun);
        while !self.is_over(&watched, &writes, begun) {
            if self.scenario.writes {
                for key in writes.due() {
                    let version = self.shelf.commit(key).await?;
                    self.entries.invalidate(key, version).await?;
                }
            }
            if self.scenario.kills {
                watched.strike(&mut crowd, &self.shelf).await?;
            }
            watched.look(&self.shelf).await?;
        }
        // What was begun last is loaded, and seen.
        tokio::time::sleep(Duration::from_millis(self.scenario.load_ms) + SETTLED).await;
        let tally = crowd.stop().await?;
        let loads = self.shelf.loads(0).await?;
        self.shelf.abandon().await?;
        let cost = match self.scenario {
            Scenario { writes: true, .. } => per_version(&loads),
            Scenario { way: Way::Cache, .. } => per_entry(&loads, &tally.stored),
            Scenario { way: Way::Naive, .. } => {
                per_burst(&loads, Duration::from_millis(self.plan.soft_ttl_ms / 2))
            }
        };
        let stored: BTreeSet<u64> = tally.stored.values().flatten().copied().collect();
        let killed_loading = watched
            .killed
            .iter()
            .filter(|load| !stored.contains(load))
            .count();
        Ok(Line {
            scenario: self.scenario,
            cost,
            mean: cost.mean(),
            early: tally.counter("cache_loads_total", "reason=\"early\""),
            bypassed: tally.counter("cache_loads_total", "reason=\"bypass\""),
            expired_leases: tally.counter("cache_leases_total", "result=\"expired\""),
            killed_loading,
            requests: tally.requests(),
            waited: tally.waited,
            p50_us: tally.percentile_us(50),
            p99_us: tally.percentile_us(99),
            failed: tally.failed,
            failure: tally.failure,
        })
    }

    /// Until each key was loaded.
    async fn warm_up(&self, watched: &mut Watched) -> anyhow::Result<()> {
        let all = self.plan.keys as usize;
        while watched
            .loads
            .iter()
            .map(|load| load.key)
            .collect::<BTreeSet<_>>()
            .len()
            < all
        {
            watched.look(&self.shelf).await?;
        }
        // Until that was stored, too.
        tokio::time::sleep(Duration::from_millis(self.scenario.load_ms) + SETTLED).await;
        Ok(())
    }

    fn is_over(&self, watched: &Watched, writes: &Writes, begun: Instant) -> bool {
        match self.scenario.way {
            // The first load of a key is no event, and who is killed has another one load.
            Way::Cache => {
                let kills = if self.scenario.kills { self.plan.kills } else { 0 };
                watched.kills >= kills
                    && watched.loads.len() >= (self.plan.keys + self.plan.expiries + watched.kills) as usize
            }
            // Each event may be many loads.
            Way::Naive if self.scenario.writes => writes.made >= self.plan.expiries,
            Way::Naive => {
                let ttls = f64::from(self.plan.expiries) / f64::from(self.plan.keys);
                begun.elapsed().as_secs_f64() >= ttls * self.plan.soft_ttl_ms as f64 / 1000.0
            }
        }
    }
}

/// When which key is written: the keys in turn, each so often as it would expire otherwise, and each time twice. The second write
/// comes while the load after the first one runs, which then must not be stored.
struct Writes {
    every: Duration,
    between: Duration,
    keys: u32,
    begun: Instant,
    turns: u32,
    /// Of the second writes.
    soon: VecDeque<(Instant, u32)>,
    made: u32,
}

impl Writes {
    fn of(plan: &Plan, load_ms: u64, begun: Instant) -> Writes {
        Writes {
            every: Duration::from_millis(plan.soft_ttl_ms) / plan.keys,
            between: Duration::from_millis(load_ms) / 2,
            keys: plan.keys,
            begun,
            turns: 0,
            soon: VecDeque::new(),
            made: 0,
        }
    }

    /// The keys that are to be written now.
    fn due(&mut self) -> Vec<u32> {
        let mut keys = Vec::new();
        while let Some((_, key)) = self.soon.pop_front_if(|(due, _)| *due <= Instant::now()) {
            keys.push(key);
        }
        if self.begun.elapsed() >= self.every * self.turns {
            let key = self.turns % self.keys;
            self.soon.push_back((Instant::now() + self.between, key));
            self.turns += 1;
            keys.push(key);
        }
        self.made += keys.len() as u32;
        keys
    }
}

/// The loads as they are seen while they happen.
struct Watched {
    loads: Vec<Load>,
    moved: Instant,
    kills: u32,
    /// The loads that ran in a process when it was killed, as far as one can tell.
    killed: BTreeSet<u64>,
    struck: Instant,
    /// How long a load takes, in milliseconds.
    takes: u64,
}

impl Watched {
    async fn look(&mut self, shelf: &Shelf) -> anyhow::Result<()> {
        let new = shelf.loads(self.loads.len()).await?;
        if new.is_empty() {
            ensure!(self.moved.elapsed() < STALLED, "nothing is loaded any more");
            tokio::time::sleep(LOOK).await;
        } else {
            self.moved = Instant::now();
            self.loads.extend(new);
        }
        Ok(())
    }

    /// Kills the process that began the newest load, unless one of the loads that run there is for a holder that was killed: one that is
    /// killed twice costs a third load.
    async fn strike(&mut self, crowd: &mut Crowd, shelf: &Shelf) -> anyhow::Result<()> {
        if self.struck.elapsed() < BETWEEN_KILLS || self.moved.elapsed() > LOOK {
            return Ok(());
        }
        let Some(newest) = self.loads.last().copied() else {
            return Ok(());
        };
        let was_killed = |load: &Load| self.killed.contains(&load.number);
        let is_second = |(at, load): (usize, &Load)| {
            let before = self.loads[..at]
                .iter()
                .rev()
                .find(|before| before.key == load.key);
            was_killed(load) || before.is_none_or(was_killed)
        };
        if self.running(newest).any(is_second) {
            return Ok(());
        }
        crowd.kill(newest.process).await?;
        self.look(shelf).await?;
        let running: Vec<u64> = self.running(newest).map(|(_, load)| load.number).collect();
        self.killed.extend(running);
        crowd.replace(newest.process).await?;
        self.kills += 1;
        self.struck = Instant::now();
        Ok(())
    }

    /// The loads that may run in the process of the `newest` one, with their places.
    fn running(&self, newest: Load) -> impl Iterator<Item = (usize, &Load)> {
        let loads = self.loads.iter().enumerate();
        loads.filter(move |(_, load)| {
            load.process == newest.process && load.at + self.takes + SLACK_MS >= newest.at
        })
    }
}
