//! What every process of the system has in common (the microservice chassis pattern), and nothing that fewer than four of them use:
//!
//! - [`main`] and [`Program`]: the verbs (`serve`, `check-config`, `healthcheck`, and a binary's own), arguments and environment with
//!   every fault reported at once, telemetry, runtime, signals and exit codes;
//! - [`Process`]: readiness, heartbeats, the two phases of a shutdown, an HTTP server;
//! - [`Problem`]: error answers (RFC 9457), and [`Kind`]: a type of them;
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
mod build;
mod healthcheck;
mod http;
mod kind;
mod listener;
mod log;
mod metrics;
mod observe;
mod parse;
mod problem;
mod process;
mod program;
mod reference;
mod resources;
mod run;
mod shutdown;
mod telemetry;
pub mod trace;

pub use args::{AdminArgs, HttpArgs, ProcessArgs};
pub use kind::Kind;
pub use listener::{AllowPlaintext, Listeners, Profile, TlsArgs};
pub use observe::RequestId;
pub use problem::Problem;
pub use process::{Heartbeat, Process, Readiness};
pub use program::{Given, NoVerbs, Program, main};
pub use run::Service;
pub use settings::{Misconfigured, Unavailable, duration};
pub use shutdown::Shutdown;
