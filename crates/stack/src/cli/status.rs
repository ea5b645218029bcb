//! `cargo stack status`.

use std::process::ExitCode;

use stack::{Status, TopicStatus};

use super::project::Project;
use super::state::Phase;

pub(crate) async fn run(json: bool) -> anyhow::Result<ExitCode> {
    let project = Project::find()?;
    let state = project.state();
    let Some(mut report) = state.running()? else {
        if json {
            println!("{}", serde_json::to_string_pretty(&Status::default())?);
        } else {
            println!("not running; `cargo stack up` starts it");
            if let Some(Phase::Failed(line)) = state.report()?.map(|report| report.phase) {
                println!("it ended with: {line}");
            }
        }
        return Ok(ExitCode::FAILURE);
    };
    report.status.refresh().await;
    if json {
        println!("{}", serde_json::to_string_pretty(&report.status)?);
        return Ok(ExitCode::SUCCESS);
    }
    if report.phase == Phase::Starting {
        println!("starting: {}\n", report.step);
    }
    print_status(&report.status);
    let bootstrap = report
        .status
        .servers
        .get("kafka")
        .map(|kafka| kafka.address.clone())
        .unwrap_or_default();
    match stack::topics(&project.options(&[]), &bootstrap).await {
        Ok(topics) => print_topics(&topics),
        Err(error) => println!("\ntopics are not known: {error:#}"),
    }
    println!(
        "\nsupervisor {}; logs in {}",
        report.pid,
        state.logs().display()
    );
    Ok(ExitCode::SUCCESS)
}

fn print_status(status: &Status) {
    println!(
        "{:<22} {:>8}  {:<7} {:<24} {:<24} log",
        "process", "pid", "ready", "http", "admin"
    );
    for process in &status.processes {
        println!(
            "{:<22} {:>8}  {:<7} {:<24} {:<24} {}",
            format!("{} {}", process.name, process.replica),
            pid(process.pid),
            if process.ready { "yes" } else { "no" },
            process.http.as_deref().unwrap_or("-"),
            process.admin,
            process.log.display(),
        );
    }
    println!(
        "\n{:<22} {:>8}  {:<32} {:<24} log",
        "server", "pid", "address", "http"
    );
    for (name, server) in &status.servers {
        let http = server.http.as_deref().unwrap_or("-");
        println!(
            "{name:<22} {:>8}  {:<32} {http:<24} {}",
            pid(server.pid),
            server.address,
            server.log.display()
        );
    }
}

fn print_topics(topics: &[TopicStatus]) {
    println!(
        "\n{:<26} {:>10} {:>10}  lag",
        "topic", "partitions", "records"
    );
    for topic in topics {
        let lag: Vec<String> = topic
            .lag
            .iter()
            .map(|(group, behind)| format!("{group} {behind}"))
            .collect();
        println!(
            "{:<26} {:>10} {:>10}  {}",
            topic.name,
            topic.partitions,
            topic.records,
            lag.join(", ")
        );
    }
}

fn pid(pid: Option<u32>) -> String {
    pid.map_or_else(|| "-".to_owned(), |pid| pid.to_string())
}
