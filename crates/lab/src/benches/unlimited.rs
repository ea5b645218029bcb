//! The gateway's routes with limits that nobody reaches: a benchmark measures the system and not its limits.

use std::path::Path;

use anyhow::Context as _;
use toml::{Table, Value};

const LIMIT: i64 = 1_000_000;

/// Writes the route file into `dir`, and returns the environment that names it.
pub(crate) fn environment(root: &Path, dir: &Path) -> anyhow::Result<Vec<(String, String)>> {
    let path = root.join("deploy/gateway/routes.toml");
    let text = std::fs::read_to_string(&path).with_context(|| format!("cannot read {}", path.display()))?;
    let mut routes: Table = text
        .parse()
        .with_context(|| format!("{} is not valid", path.display()))?;
    for name in ["address_limit", "principal_limit"] {
        let limit = routes.get_mut(name).and_then(Value::as_table_mut);
        let limit = limit.with_context(|| format!("{} has no {name}", path.display()))?;
        for part in ["rate", "burst"] {
            limit.insert(part.to_owned(), Value::Integer(LIMIT));
        }
    }
    std::fs::create_dir_all(dir).with_context(|| format!("cannot make {}", dir.display()))?;
    let written = dir.join("routes.toml");
    std::fs::write(&written, routes.to_string())
        .with_context(|| format!("cannot write {}", written.display()))?;
    Ok(vec![("ROUTES_FILE".to_owned(), written.display().to_string())])
}
