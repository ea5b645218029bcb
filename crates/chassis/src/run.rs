//! From `main` to an exit code.

use std::future::Future;
use std::io::Write as _;
use std::panic::AssertUnwindSafe;
use std::process::ExitCode;
use std::time::Duration;

use anyhow::Context as _;
use futures_util::FutureExt as _;
use settings::{Misconfigured, Unavailable};
use tokio::runtime::Runtime;

use crate::args::{LogArgs, ProcessArgs};
use crate::process::Process;
use crate::telemetry::Telemetry;
use crate::{admin, build, shutdown};

const RUNTIME: u8 = 1;
const DEPENDENCY: u8 = 69;
const INTERNAL: u8 = 70;
pub(crate) const CONFIGURATION: u8 = 78;

/// How long blocking calls may keep the runtime from ending after `main` returned.
const RUNTIME_END_LIMIT: Duration = Duration::from_secs(2);

/// Who this process is, in logs, traces, metrics and `/buildinfo`.
#[derive(Clone, Copy, Debug)]
pub struct Service {
    /// The process's name in the architecture: `app-service`.
    pub name: &'static str,
    /// The release, usually `env!("CARGO_PKG_VERSION")`.
    pub version: &'static str,
}

/// Runs a long-running process: telemetry, a multi-threaded runtime, the admin server on its own thread, signals; then `main`, until it
/// returns.
///
/// SIGTERM or SIGINT makes the process unready at once ([`Shutdown::lame_duck`](crate::Shutdown::lame_duck)), and after the drain delay
/// tells it to stop ([`Shutdown::stop`](crate::Shutdown::stop)); `main` then finishes what is in flight and returns. A second signal
/// ends the process at once.
pub(crate) fn serve<F>(service: Service, log: &LogArgs, args: &ProcessArgs, main: F) -> ExitCode
where
    F: AsyncFnOnce(Process) -> anyhow::Result<()>,
{
    with_telemetry(service, log, |telemetry| {
        let runtime = runtime()?;
        let grace = Duration::from_secs(args.shutdown_grace_seconds);
        let (trigger, shutdown) = shutdown::phases();
        let listeners = args.tls.load()?;
        let process = Process::new(shutdown, grace, listeners.clone());
        admin::start(
            args.admin.admin_addr,
            service,
            &process,
            telemetry.metrics.clone(),
        )?;
        tracing::info!(version = service.version, revision = build::REVISION, "starting");
        let handler = trigger.clone();
        let main = async {
            tokio::spawn(shutdown::on_signal(handler, args.drain_delay, grace)?);
            tokio::spawn(process.beat_of_the_runtime());
            tokio::spawn(listeners.follow());
            let (health, shutdown) = (process.health(), process.shutdown());
            let told_before_ready = async {
                shutdown.lame_duck().await;
                if health.was_ready() {
                    std::future::pending().await
                }
            };
            tokio::select! {
                outcome = main(process) => outcome,
                () = told_before_ready => {
                    tracing::info!("stopping: the start was not over, so there is nothing to finish");
                    Ok(())
                }
            }
        };
        // A process whose `main` failed must not look ready while it winds up.
        run(runtime, main, || trigger.end())
    })
}

/// Runs a command that ends by itself, such as `migrate`: telemetry and a runtime, but no admin server. A signal ends it at once.
pub(crate) fn once<F>(service: Service, log: &LogArgs, main: F) -> ExitCode
where
    F: AsyncFnOnce() -> anyhow::Result<()>,
{
    with_telemetry(service, log, |_| run(runtime()?, async { main().await }, || {}))
}

fn with_telemetry(
    service: Service,
    log: &LogArgs,
    body: impl FnOnce(&Telemetry) -> anyhow::Result<()>,
) -> ExitCode {
    let telemetry = match Telemetry::install(service, log) {
        Ok(telemetry) => telemetry,
        Err(error) => {
            // There is no log yet.
            let _ = writeln!(std::io::stderr(), "{}: {error:#}", service.name);
            return ExitCode::from(CONFIGURATION);
        }
    };
    let outcome = body(&telemetry);
    let code = exit_code(&outcome);
    match outcome {
        Ok(()) => tracing::info!("stopped"),
        Err(error) => tracing::error!(
            error = format!("{error:#}"),
            error.type = kind(code),
            exit_code = code,
            "failed"
        ),
    }
    telemetry.flush();
    ExitCode::from(code)
}

fn runtime() -> anyhow::Result<Runtime> {
    tokio::runtime::Builder::new_multi_thread()
        .enable_all()
        .build()
        .context("cannot start the runtime")
}

/// `main` runs on the calling thread; a panic in it becomes an error here, after which telemetry is still flushed. `ended` is called as
/// soon as it is over.
fn run(
    runtime: Runtime,
    main: impl Future<Output = anyhow::Result<()>>,
    ended: impl FnOnce(),
) -> anyhow::Result<()> {
    let outcome = runtime.block_on(AssertUnwindSafe(main).catch_unwind());
    ended();
    runtime.shutdown_timeout(RUNTIME_END_LIMIT);
    outcome.unwrap_or_else(|_| Err(Panicked.into()))
}

/// The panic hook has logged the message and the place.
#[derive(Debug, thiserror::Error)]
#[error("a panic ended the process")]
struct Panicked;

fn exit_code(outcome: &anyhow::Result<()>) -> u8 {
    match outcome {
        Ok(()) => 0,
        Err(error) if concerns::<Misconfigured>(error) => CONFIGURATION,
        Err(error) if concerns::<Unavailable>(error) => DEPENDENCY,
        Err(error) if concerns::<Panicked>(error) || task_panicked(error) => INTERNAL,
        Err(_) => RUNTIME,
    }
}

fn kind(code: u8) -> &'static str {
    match code {
        CONFIGURATION => "misconfigured",
        DEPENDENCY => "unavailable",
        INTERNAL => "panicked",
        _ => "failed",
    }
}

/// As a cause, or as an anyhow context, which is no link of the chain.
fn concerns<E: std::error::Error + Send + Sync + 'static>(error: &anyhow::Error) -> bool {
    error.downcast_ref::<E>().is_some() || error.chain().any(|cause| cause.is::<E>())
}

fn task_panicked(error: &anyhow::Error) -> bool {
    error
        .chain()
        .filter_map(|cause| cause.downcast_ref::<tokio::task::JoinError>())
        .any(tokio::task::JoinError::is_panic)
}

#[cfg(test)]
mod tests {
    use anyhow::anyhow;

    use super::*;

    #[test]
    fn the_exit_code_is_found_wherever_the_cause_is() {
        let check = |error: anyhow::Error, code| assert_eq!(exit_code(&Err(error)), code);
        assert_eq!(exit_code(&Ok(())), 0);
        check(anyhow!("broken"), 1);
        check(Unavailable("no database".into()).into(), 69);
        check(
            anyhow::Error::from(Unavailable("no database".into())).context("at start"),
            69,
        );
        check(anyhow!("refused").context(Unavailable("no database".into())), 69);
        check(
            anyhow!("no key")
                .context(Misconfigured("JWKS_FILE".into()))
                .context("x"),
            78,
        );
        check(Panicked.into(), 70);
    }

    #[test]
    fn a_panic_in_main_or_in_a_task_that_main_awaited_is_a_bug() {
        let panicked = run(runtime().unwrap(), async { panic!("main") }, || {});
        assert_eq!(exit_code(&panicked), 70);
        let task = run(
            runtime().unwrap(),
            async { Ok(tokio::spawn(async { panic!("task") }).await?) },
            || {},
        );
        assert_eq!(exit_code(&task), 70);
    }
}
