#![doc = include_str!("../README.md")]

mod args;
mod assertion;
mod auth;
mod body;
mod config;
mod forward;
pub mod limit;
mod limits;
mod pipeline;
mod problems;
mod refusal;
mod respond;
mod route_file;
pub mod routes;
mod sanity;
mod server;
mod trail;
mod upstream;

pub use args::ServeArgs;
pub use route_file::RouteFile;
pub use upstream::AppServiceArgs;
