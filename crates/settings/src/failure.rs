/// Something that is needed before the work can begin did not come up in time; a process exits with 69.
#[derive(Debug, thiserror::Error)]
#[error("{0}")]
pub struct Unavailable(pub String);

/// A setting that only turned out to be wrong when it was used (a key file, a URL); a process exits with 78.
#[derive(Debug, thiserror::Error)]
#[error("{0}")]
pub struct Misconfigured(pub String);
