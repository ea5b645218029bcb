//! Real servers for tests, and checkers for tests and the lab.
//!
//! `cargo stack test` starts the servers and says through the environment where they are. Every test makes what it needs anew (a
//! [`Database`], a [`topic`]) and so shares nothing with the others. Everything here panics when it fails, because only a test calls it.

mod broker;
mod certificates;
mod database;
mod eventually;
mod history;
mod https;
mod judge;
mod kafka;
mod produce;
mod proxy;
mod redis;

pub use broker::{Broker, Listener};
pub use certificates::{Authority, Identity};
pub use database::Database;
pub use eventually::eventually;
pub use history::{Begun, History, Stale};
pub use https::https_get;
pub use judge::{Verdict, Version, judge};
pub use kafka::{kafka_args, topic, topic_as};
pub use produce::{produce, produce_as};
pub use proxy::{Mood, Proxy};
pub use redis::RedisServer;

fn address(name: &str) -> String {
    std::env::var(name)
        .unwrap_or_else(|_| panic!("{name} is not set: run `cargo stack test`, which starts the servers"))
}
