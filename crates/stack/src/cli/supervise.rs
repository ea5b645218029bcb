//! The supervisor: it holds the children, reports about them, and ends them in order.

use std::process::ExitCode;
use std::time::Duration;

use anyhow::{Context as _, bail};
use stack::{Compose, Options, Stack};
use tokio::signal::unix::{Signal, SignalKind, signal};

use super::project::Project;
use super::state::{Answer, Phase, Report, State};
use super::stop::Stop;
use super::up;

/// How often the children are looked at.
const LOOK: Duration = Duration::from_millis(200);

/// `up` in a terminal: seeds and prints the addresses once all is ready.
pub(crate) async fn foreground(project: &Project, options: Options, seed: bool) -> anyhow::Result<ExitCode> {
    supervise(project, options, async |report| {
        let seeded = if seed {
            up::seed_shop(project, &report).await
        } else {
            Ok(())
        };
        let shown = up::print_summary(project, &report);
        if let Err(error) = seeded
            .context("the system is up, but it could not be seeded")
            .and(shown)
        {
            eprintln!("stack: {error:#}");
        }
        eprintln!("\nCtrl-C stops everything");
    })
    .await
}

/// `up --detach`, on the other side: its output is a log file, and whoever started it reads the reports.
pub(crate) async fn detached(replicas: Vec<(String, u16)>, containers: bool) -> anyhow::Result<ExitCode> {
    // A session of its own: closing the terminal must not end it.
    rustix::process::setsid().context("cannot leave the terminal's session")?;
    let mut project = Project::find()?;
    if containers {
        let compose = Compose::of(&project.root);
        project.use_containers(compose);
    }
    let options = project.options(&replicas);
    supervise(&project, options, async |_| {}).await
}

/// Supervises, and in the end stops the containers, too.
async fn supervise(
    project: &Project,
    options: Options,
    when_ready: impl AsyncFnOnce(Report),
) -> anyhow::Result<ExitCode> {
    let outcome = supervise_processes(project, options, when_ready).await;
    if let Some(compose) = &project.compose {
        compose.stop().await?;
    }
    outcome
}

async fn supervise_processes(
    project: &Project,
    options: Options,
    when_ready: impl AsyncFnOnce(Report),
) -> anyhow::Result<ExitCode> {
    let state = project.state();
    let Some(_lock) = state.lock().await? else {
        bail!("another `cargo stack up` was faster")
    };
    state.remove_report();
    let mut stop = Stop::listen()?;
    let mut scale = signal(SignalKind::user_defined1()).context("cannot listen to signals")?;
    let mut supervisor = Supervisor {
        state: &state,
        report: Report::new(std::process::id(), project.compose.is_some()),
    };

    // What was started dies when the future is dropped.
    let started = tokio::select! {
        started = supervisor.start(options) => started,
        () = stop.told() => {
            state.remove_report();
            eprintln!("\nstopped before everything was ready");
            return Ok(ExitCode::from(130));
        }
    };
    let mut stack = match started {
        Ok(stack) => stack,
        Err(error) => {
            supervisor.fail(&error);
            return Err(error);
        }
    };

    let report = supervisor.report.clone();
    let watched = tokio::select! {
        watched = supervisor.watch(&mut stack, &mut stop, &mut scale) => watched,
        never = async { when_ready(report).await; std::future::pending().await } => never,
    };
    supervisor.stopping(&watched);
    end(stack, &mut stop).await;
    match watched {
        Ok(()) => {
            state.remove_report();
            Ok(ExitCode::SUCCESS)
        }
        Err(error) => {
            supervisor.fail(&error);
            Err(error)
        }
    }
}

/// Ends everything in order; told to stop once more, at once.
async fn end(stack: Stack, stop: &mut Stop) {
    let killed = tokio::select! {
        killed = stack.down() => killed.join(", "),
        () = stop.told() => "everything".to_owned(),
    };
    match killed.as_str() {
        "" => eprintln!("stopped"),
        killed => eprintln!("stopped; not waited for: {killed}"),
    }
}

struct Supervisor<'a> {
    state: &'a State,
    report: Report,
}

impl Supervisor<'_> {
    async fn start(&mut self, options: Options) -> anyhow::Result<Stack> {
        let containers = self.report.containers;
        self.step(if containers {
            "preparing PostgreSQL and Kafka"
        } else {
            "starting PostgreSQL, Redis, Kafka and the mail sink"
        })?;
        let mut stack = Stack::servers(options).await?;
        self.step("migrating the databases")?;
        stack.migrate().await?;
        self.step("starting the processes")?;
        stack.start_all().await?;
        self.report.phase = Phase::Ready;
        self.tell(&stack).await?;
        Ok(stack)
    }

    /// Returns when it is told to stop, and fails when a child has died.
    ///
    /// `scale` is SIGUSR1 and says that the replicas that are wanted have changed: not SIGHUP, which a
    /// closing terminal sends.
    async fn watch(&mut self, stack: &mut Stack, stop: &mut Stop, scale: &mut Signal) -> anyhow::Result<()> {
        loop {
            tokio::select! {
                () = stop.told() => return Ok(()),
                _ = scale.recv() => {
                    let answer = tokio::select! {
                        answer = self.fulfil(stack) => answer?,
                        () = stop.told() => return Ok(()),
                    };
                    if let Some(error) = answer.as_ref().and_then(|answer| answer.error.as_ref()) {
                        eprintln!("stack: {error}");
                    }
                    self.report.answer = answer;
                    self.tell(stack).await?;
                }
                () = tokio::time::sleep(LOOK) => {
                    if let Some(death) = stack.dead()? {
                        return Err(death);
                    }
                }
            }
        }
    }

    /// Scales to what the wish says.
    async fn fulfil(&self, stack: &mut Stack) -> anyhow::Result<Option<Answer>> {
        let Some(wish) = self.state.wish()? else {
            return Ok(None);
        };
        for (name, replicas) in &wish.replicas {
            eprintln!("scaling {name} to {replicas}");
            if let Err(error) = stack.scale(name, *replicas).await {
                return Ok(Some(Answer {
                    id: wish.id,
                    error: Some(format!("{error:#}")),
                }));
            }
        }
        Ok(Some(Answer {
            id: wish.id,
            error: None,
        }))
    }

    fn step(&mut self, step: &str) -> anyhow::Result<()> {
        eprintln!("{step}");
        self.report.step = step.to_owned();
        self.state.write_report(&self.report)
    }

    async fn tell(&mut self, stack: &Stack) -> anyhow::Result<()> {
        self.report.status = stack.status().await?;
        self.state.write_report(&self.report)
    }

    fn stopping(&mut self, watched: &anyhow::Result<()>) {
        self.report.phase = Phase::Stopping;
        self.report.step = match watched {
            Ok(()) => "stopping".to_owned(),
            Err(error) => format!("stopping, because {error:#}"),
        };
        eprintln!("\n{}", self.report.step);
        // A full disk may be what ended it, and is no reason not to stop.
        let _ = self.state.write_report(&self.report);
    }

    fn fail(&mut self, error: &anyhow::Error) {
        self.report.phase = Phase::Failed(format!("{error:#}"));
        if let Err(error) = self.state.write_report(&self.report) {
            eprintln!("stack: {error:#}");
        }
    }
}

impl Report {
    fn new(pid: u32, containers: bool) -> Report {
        Report {
            pid,
            phase: Phase::Starting,
            step: String::new(),
            status: stack::Status::default(),
            answer: None,
            containers,
        }
    }
}
