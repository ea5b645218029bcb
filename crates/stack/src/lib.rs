//! The local system: native servers and the five processes, as `cargo stack` runs them for a developer and
//! the lab runs them for its scenarios.
//!
//! It links no C library, so that it builds in seconds and can look for, or install, what the rest of the
//! workspace needs.

mod addresses;
mod architecture;
mod artifacts;
mod child;
mod compose;
mod files;
mod kafka;
mod kafka_admin;
mod keys;
mod nobody;
mod options;
mod ports;
mod postgres;
mod processes;
mod redis;
mod secrets;
mod servers;
mod sink;
mod stack;
mod status;
mod tools;

pub use crate::architecture::{Acl, Architecture, Operation, Process, Resource};
pub use crate::artifacts::Artifacts;
pub use crate::child::Ended;
pub use crate::compose::Compose;
pub use crate::keys::{Grant, Keys};
pub use crate::nobody::delete;
pub use crate::options::{Accounts, External, Options, find_root, target_dir};
pub use crate::ports::{Ports, check_ports};

pub use crate::secrets::Passwords;
pub use crate::servers::Server;
pub use crate::sink::serve_mail_sink;
pub use crate::stack::Stack;
pub use crate::status::{ProcessStatus, ServerStatus, Status, TopicStatus, topics};
pub use crate::tools::{Tools, python};
