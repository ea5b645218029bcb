use std::path::PathBuf;

/// The issuer whose access tokens are trusted.
#[derive(Clone, Debug, clap::Args)]
pub struct IssuerArgs {
    /// JWK set file with the issuer's public Ed25519 keys; it is re-read when it changes
    #[arg(long, env = "JWKS_FILE", value_name = "FILE")]
    pub jwks_file: PathBuf,

    /// The `iss` that access tokens must carry
    #[arg(long, env = "JWT_ISSUER", value_name = "ISSUER")]
    pub jwt_issuer: String,
}
