#![doc = include_str!("../README.md")]

mod args;
mod batch;
mod group;
mod measure;
mod partition;
mod poison;
mod poll;
mod position;
mod record;
mod rotation;
mod runner;
mod schema;
mod start;
mod trace;
mod worker;

pub use args::ConsumerArgs;
pub use kafka::KafkaArgs;
pub use record::{ApplyError, Decode, Handler, OnPoison, Raw, Record, Undecodable};
pub use runner::{Consumer, Health};
pub use start::wait_until_up;
