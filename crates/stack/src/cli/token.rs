//! `cargo stack token`.

use std::process::ExitCode;

use clap::Args;
use stack::{Grant, Keys};

use super::project::Project;
use super::show;

/// Everything that the tour needs: a shop operator and a customer in one.
pub(crate) const SCOPES: &str = "catalogue:write customers:write customers:read:any orders:write orders:read:any orders:fulfil \
                                 payments:record analytics:read audit:read audit:raw";

#[derive(Args)]
pub(crate) struct Token {
    /// The subject; the gateway makes the principal `main:SUB` of it
    #[arg(long, default_value = "alice")]
    sub: String,
    /// Scopes, separated by spaces
    #[arg(long, default_value = SCOPES, hide_default_value = true)]
    scopes: String,
    /// A verified address [default: SUB@example.com]; an empty one leaves the claim out
    #[arg(long)]
    email: Option<String>,
}

pub(crate) fn run(token: &Token) -> anyhow::Result<ExitCode> {
    let project = Project::find()?;
    let keys = Keys::open(&project.state().keys())?;
    let email = token
        .email
        .clone()
        .unwrap_or_else(|| format!("{}@example.com", token.sub));
    let grant = Grant {
        sub: &token.sub,
        scopes: &token.scopes,
        email: Some(email.as_str()).filter(|email| !email.is_empty()),
    };
    show(&keys.token(grant, &project.architecture.audiences()))?;
    Ok(ExitCode::SUCCESS)
}

/// The token that `up` prints and the curl lines hold.
pub(crate) fn of_the_tour(project: &Project) -> anyhow::Result<String> {
    let keys = Keys::open(&project.state().keys())?;
    let grant = Grant {
        sub: "alice",
        scopes: SCOPES,
        email: Some("alice@example.com"),
    };
    Ok(keys.token(grant, &project.architecture.audiences()))
}
