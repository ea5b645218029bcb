//! `cargo stack status`.

use std::fmt::Write as _;
use std::process::ExitCode;

use stack::{Compose, Status, TopicStatus};

use super::project::Project;
use super::show;
use super::state::Phase;

pub(crate) async fn run(json: bool) -> anyhow::Result<ExitCode> {
    let mut project = Project::find()?;
    let state = project.state();
    let Some(mut report) = state.running()? else {
        if json {
            show(&serde_json::to_string_pretty(&Status::default())?)?;
        } else {
            show("not running; `cargo stack up` starts it")?;
            if let Some(Phase::Failed(line)) = state.report()?.map(|report| report.phase) {
                show(&format!("it ended with: {line}"))?;
            }
        }
        return Ok(ExitCode::FAILURE);
    };
    if report.containers {
        let compose = Compose::of(&project.root);
        project.use_containers(compose);
    }
    report.status.refresh().await;
    if json {
        show(&serde_json::to_string_pretty(&report.status)?)?;
        return Ok(ExitCode::SUCCESS);
    }
    let mut text = String::new();
    if report.phase != Phase::Ready {
        let _ = writeln!(text, "{}\n", report.step);
    }
    let kafka = report.status.servers.get("kafka");
    let bootstrap = kafka.map(|kafka| kafka.address.clone()).unwrap_or_default();
    describe(&report.status, &mut text);
    match stack::topics(&project.options(&[]), &bootstrap).await {
        Ok(topics) => describe_topics(&topics, &mut text),
        Err(error) => {
            let _ = writeln!(text, "\ntopics are not known: {error:#}");
        }
    }
    let _ = write!(
        text,
        "\nsupervisor {}; logs in {}",
        report.pid,
        state.logs().display()
    );
    show(&text)?;
    Ok(ExitCode::SUCCESS)
}

// Writing to a String cannot fail.
fn describe(status: &Status, text: &mut String) {
    let _ = writeln!(
        text,
        "{:<22} {:>8}  {:<7} {:<24} {:<24} log",
        "process", "pid", "ready", "http", "admin"
    );
    for process in &status.processes {
        let _ = writeln!(
            text,
            "{:<22} {:>8}  {:<7} {:<24} {:<24} {}",
            format!("{} {}", process.name, process.replica),
            pid(process.pid),
            if process.ready { "yes" } else { "no" },
            process.http.as_deref().unwrap_or("-"),
            process.admin,
            process.log.display(),
        );
    }
    let _ = writeln!(
        text,
        "\n{:<22} {:>8}  {:<32} {:<24} log",
        "server", "pid", "address", "http"
    );
    for (name, server) in &status.servers {
        let http = server.http.as_deref().unwrap_or("-");
        let (pid, log) = (pid(server.pid), server.log.display());
        let _ = writeln!(
            text,
            "{name:<22} {pid:>8}  {:<32} {http:<24} {log}",
            server.address
        );
    }
}

fn describe_topics(topics: &[TopicStatus], text: &mut String) {
    let _ = writeln!(
        text,
        "\n{:<26} {:>10} {:>10}  lag",
        "topic", "partitions", "records"
    );
    for topic in topics {
        let lag: Vec<String> = topic
            .lag
            .iter()
            .map(|(group, behind)| format!("{group} {behind}"))
            .collect();
        let TopicStatus {
            name,
            partitions,
            records,
            ..
        } = topic;
        let _ = writeln!(
            text,
            "{name:<26} {partitions:>10} {records:>10}  {}",
            lag.join(", ")
        );
    }
}

fn pid(pid: Option<u32>) -> String {
    pid.map_or_else(|| "-".to_owned(), |pid| pid.to_string())
}
