use std::path::PathBuf;

use crate::keys::{Keys, KeysError};

/// The issuer whose access tokens are trusted.
#[derive(Clone, Debug, clap::Args)]
#[command(next_help_heading = "Identity")]
pub struct IssuerArgs {
    /// JWK set file with the issuer's public Ed25519 keys; it is re-read when it changes
    #[arg(long, env = "JWKS_FILE", value_name = "FILE", value_parser = key_set_file)]
    pub jwks_file: PathBuf,

    /// The `iss` that access tokens must carry
    #[arg(long, env = "JWT_ISSUER", value_name = "ISSUER")]
    pub jwt_issuer: String,
}

/// A value parser for the path of a JWK set file: the file has to be there and hold usable keys.
///
/// # Errors
/// What is wrong with the file.
pub fn key_set_file(path: &str) -> Result<PathBuf, KeysError> {
    let path = PathBuf::from(path);
    Keys::open(&path)?;
    Ok(path)
}
