//! `cargo stack up`: builds, starts, seeds and prints the addresses.

use std::fs::OpenOptions;
use std::process::{Child, Command, ExitCode, Stdio};
use std::time::{Duration, Instant};

use anyhow::{Context as _, bail, ensure};
use clap::Args;
use rustix::process::Signal;
use stack::{Compose, Keys, check_ports};

use super::build::build;
use super::prerequisites::{self, Purpose};
use super::project::Project;
use super::seed::{self, Shop};
use super::state::{Phase, Report, State, Wish};
use super::{show, supervise, token};

#[derive(Args)]
pub(crate) struct Up {
    /// Return when everything is ready; `down` ends it
    #[arg(long, short)]
    detach: bool,
    /// Leave the shop as it is
    #[arg(long)]
    no_seed: bool,
    /// Replicas of a process, for example `app-service=2`; scales a running system
    #[arg(long, value_name = "NAME=N", value_parser = parse_replicas)]
    replicas: Vec<(String, u16)>,
    /// Do not install missing prerequisites
    #[arg(long)]
    no_install: bool,
    /// Run the servers as processes, even where Docker Compose answers
    #[arg(long)]
    native: bool,
}

pub(crate) fn parse_replicas(text: &str) -> Result<(String, u16), String> {
    let (name, number) = text.split_once('=').ok_or("expected NAME=N")?;
    let number = number
        .parse()
        .map_err(|_| format!("{number:?} is not a number of replicas"))?;
    Ok((name.to_owned(), number))
}

pub(crate) async fn run(up: Up) -> anyhow::Result<ExitCode> {
    let mut project = Project::find()?;
    if let Some(report) = project.state().running()? {
        return already_running(&project, &report, &up).await;
    }
    if project.external.is_empty()
        && !up.native
        && let Some(compose) = Compose::find(&project.root).await
    {
        project.use_containers(compose);
    }
    check_ports(&project.options(&up.replicas), &project.architecture)?;
    if let Some(compose) = &project.compose
        && !compose.started().await?
    {
        project.use_processes();
    }
    let outcome = build_and_start(&project, &up).await;
    // A supervisor stops the containers; when there was none, nobody else would.
    if outcome.is_err()
        && let Some(compose) = &project.compose
    {
        compose.stop().await?;
    }
    outcome
}

async fn build_and_start(project: &Project, up: &Up) -> anyhow::Result<ExitCode> {
    let options = project.options(&up.replicas);
    check_ports(&options, &project.architecture)?;
    prerequisites::ensure(Purpose::Run, &project.external, up.no_install)?;
    let packages = project
        .architecture
        .processes
        .keys()
        .flat_map(|name| ["--package", name]);
    build(project, &packages.collect::<Vec<_>>()).await?;
    if up.detach {
        detach(project, up).await
    } else {
        supervise::foreground(project, options, !up.no_seed).await
    }
}

async fn already_running(project: &Project, report: &Report, up: &Up) -> anyhow::Result<ExitCode> {
    ensure!(
        report.phase == Phase::Ready,
        "the system is not ready to be asked for anything: {}",
        report.step
    );
    if up.replicas.is_empty() {
        eprintln!("the system is running already");
    } else {
        scale(&project.state(), report, &up.replicas).await?;
    }
    let report = project.state().running()?.context("the system has just ended")?;
    print_summary(project, &report)?;
    Ok(ExitCode::SUCCESS)
}

/// Writes the wish, wakes the supervisor and waits for its answer.
async fn scale(state: &State, report: &Report, replicas: &[(String, u16)]) -> anyhow::Result<()> {
    let id = uuid::Uuid::now_v7().to_string();
    state.write_wish(&Wish {
        id: id.clone(),
        replicas: replicas.iter().cloned().collect(),
    })?;
    report.signal(Signal::USR1)?;
    let deadline = Instant::now() + Duration::from_secs(120);
    while Instant::now() < deadline {
        let report = state.running()?.context("the system ended while it was scaled")?;
        if let Some(answer) = report.answer.filter(|answer| answer.id == id) {
            return answer.error.map_or(Ok(()), |error| bail!("{error}"));
        }
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    bail!("the supervisor did not answer in two minutes")
}

/// Starts the supervisor as a process of its own and waits until it has reported.
async fn detach(project: &Project, up: &Up) -> anyhow::Result<ExitCode> {
    let state = project.state();
    std::fs::create_dir_all(state.logs())
        .with_context(|| format!("cannot make {}", state.logs().display()))?;
    let log = state.logs().join("supervisor.log");
    let output = OpenOptions::new()
        .create(true)
        .write(true)
        .truncate(true)
        .open(&log);
    let output = output.with_context(|| format!("cannot open {}", log.display()))?;
    let mut supervisor = Command::new(project.options(&[]).stack_binary());
    supervisor.arg("supervise").current_dir(&project.root);
    if project.compose.is_some() {
        supervisor.arg("--containers");
    }
    for (name, number) in &up.replicas {
        supervisor.arg(format!("--replicas={name}={number}"));
    }
    supervisor
        .stdin(Stdio::null())
        .stderr(output.try_clone()?)
        .stdout(output);
    let mut supervisor = supervisor.spawn().context("cannot start the supervisor")?;
    let report = until_ready(&state, &mut supervisor).await?;
    let seeded = if up.no_seed {
        Ok(())
    } else {
        seed_shop(project, &report).await
    };
    print_summary(project, &report)?;
    seeded.context("the system is up, but it could not be seeded")?;
    Ok(ExitCode::SUCCESS)
}

async fn until_ready(state: &State, supervisor: &mut Child) -> anyhow::Result<Report> {
    let mut shown = String::new();
    loop {
        let ended = supervisor.try_wait().context("cannot wait for the supervisor")?;
        // A report of an earlier supervisor may still lie there.
        if let Some(report) = state.report()?.filter(|report| report.pid == supervisor.id()) {
            match report.phase {
                Phase::Ready => return Ok(report),
                Phase::Failed(line) => {
                    let _ = supervisor.wait();
                    bail!("{line}");
                }
                Phase::Starting if report.step != shown => {
                    eprintln!("{}", report.step);
                    shown = report.step;
                }
                Phase::Starting | Phase::Stopping => {}
            }
        }
        if let Some(status) = ended {
            let log = state.logs().join("supervisor.log");
            let text = std::fs::read_to_string(&log).unwrap_or_default();
            bail!(
                "the supervisor ended ({status}): {}",
                text.lines().last().unwrap_or("it wrote nothing")
            );
        }
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
}

pub(crate) async fn seed_shop(project: &Project, report: &Report) -> anyhow::Result<()> {
    let keys = Keys::open(&project.state().keys())?;
    let shop = Shop::new(
        report.public_url(project.architecture.public()?)?,
        keys,
        &project.architecture,
    )?;
    if !shop.is_empty().await? {
        return Ok(());
    }
    seed::fill(&shop).await
}

/// Where everything is, and two lines to paste.
pub(crate) fn print_summary(project: &Project, report: &Report) -> anyhow::Result<()> {
    let token = token::of_the_tour(project)?;
    let public = report.public_url(project.architecture.public()?)?;
    let mut lines = vec![String::new()];
    for process in report.status.processes.iter() {
        let replica = if process.replica == 1 {
            String::new()
        } else {
            format!(" {}", process.replica)
        };
        let http = process
            .http
            .as_ref()
            .map(|http| format!("{:<22} {http}", format!("{}{replica}", process.name)));
        lines.extend(http);
    }
    for (name, server) in &report.status.servers {
        let http = server
            .http
            .as_ref()
            .map(|http| format!("  {http}/api/v1/messages"))
            .unwrap_or_default();
        lines.push(format!("{name:<22} {}{http}", server.address));
    }
    lines.push(format!("{:<22} {}", "logs", project.state().logs().display()));
    lines.push(format!(
        "\nA token for the tour (alice, every scope, 12 hours; `cargo stack token` makes others):\n{token}\n"
    ));
    lines.push(format!(
        "curl -s -H 'authorization: Bearer {token}' '{public}/v1/products?limit=3'\n"
    ));
    let sku = format!("TOUR-{:06}", rand::random_range(0..1_000_000));
    let product = serde_json::json!({
        "sku": sku, "name": "Walnut Reading Lamp", "description": "A lamp to try the tour with.", "price_minor": 4900,
        "currency": "EUR", "quantity": 12, "status": "active",
    });
    lines.push(format!(
        "curl -s -X POST '{public}/v1/products' -H 'authorization: Bearer {token}' -H 'content-type: application/json' \
         -H 'idempotency-key: {sku}' -d '{product}'"
    ));
    show(&lines.join("\n"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn replicas_are_a_name_and_a_number() {
        assert_eq!(parse_replicas("app-service=2"), Ok(("app-service".to_owned(), 2)));
        assert!(parse_replicas("app-service").is_err());
        assert!(parse_replicas("app-service=many").is_err());
    }
}
