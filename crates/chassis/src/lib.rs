//! What every process of the system has in common (the microservice chassis pattern), and nothing that fewer than four of them use:
//!
//! - [`parse`]: arguments and environment, with every fault reported at once;
//! - [`serve`] and [`once`]: telemetry, runtime, signals and exit codes around a `main` function;
//! - [`Process`]: readiness, heartbeats, the two phases of a shutdown, an HTTP server;
//! - [`Problem`]: error answers (RFC 9457);
//! - [`trace`]: trace context that crosses a process boundary as text.
//!
//! | exit code | meaning |
//! |---|---|
//! | 0 | done, or stopped by a signal and drained |
//! | 1 | failed at run time, or a second signal |
//! | 69 | a dependency was unavailable at start ([`Unavailable`]) |
//! | 70 | a bug: something panicked |
//! | 78 | configuration ([`Misconfigured`]) |

mod admin;
mod args;
mod http;
mod listener;
mod log;
mod metrics;
mod observe;
mod problem;
mod process;
mod run;
mod shutdown;
mod telemetry;
pub mod trace;

pub use args::{HttpArgs, LogFormat, ProcessArgs, parse};
pub use listener::{AllowPlaintext, Listeners, Profile, TlsArgs};
pub use observe::RequestId;
pub use problem::Problem;
pub use process::{Heartbeat, Process, Readiness};
pub use run::{Misconfigured, Service, Unavailable, once, serve};
pub use shutdown::Shutdown;
