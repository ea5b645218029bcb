//! The files that the arguments name, read before anything is bound.

use std::path::{Path, PathBuf};

use identity::{Minter, Verifier};

use crate::args::ServeArgs;
use crate::route_file::RouteFile;

/// What the files say.
pub(crate) struct Config {
    pub(crate) route_file: RouteFile,
    pub(crate) verifier: Verifier,
    pub(crate) minter: Minter,
}

impl Config {
    /// Reads all of them, or fails with one line for each thing that is wrong in any of them.
    pub(crate) fn load(args: &ServeArgs) -> Result<Config, Vec<String>> {
        let mut wrong = Vec::new();
        let route_file = route_file(&args.routes_file, &args.jwt_source)
            .map_err(|lines| wrong.extend(lines))
            .ok();
        let verifier = Verifier::access_tokens(&args.issuer, &args.jwt_source, &args.jwt_audience)
            .map_err(|error| wrong.push(error.to_string()))
            .ok();
        let minter = minter(&args.assertion_key_file, &args.assertion_key_id)
            .map_err(|line| wrong.push(line))
            .ok();
        if let Err(error) = args.app_service.check() {
            wrong.push(error);
        }
        match (route_file, verifier, minter) {
            (Some(route_file), Some(verifier), Some(minter)) if wrong.is_empty() => Ok(Config {
                route_file,
                verifier,
                minter,
            }),
            _ => Err(wrong),
        }
    }
}

/// A value parser: the file has to be there and right in itself. Whether its issuer is the configured one is for
/// [`Config::load`] to say.
pub(crate) fn checked_routes(path: &str) -> Result<PathBuf, String> {
    let text = read(Path::new(path))?;
    let text = String::from_utf8(text).map_err(|_| "it is not text".to_owned())?;
    RouteFile::check(&text).map_err(|lines| lines.join("\n  "))?;
    Ok(path.into())
}

/// A value parser: the file has to be there and hold a key that signs.
pub(crate) fn checked_key(path: &str) -> Result<PathBuf, String> {
    minter(Path::new(path), "any").map(|_| path.into())
}

fn route_file(path: &Path, issuer: &str) -> Result<RouteFile, Vec<String>> {
    let text = std::fs::read_to_string(path)
        .map_err(|error| vec![format!("cannot read {}: {error}", path.display())])?;
    let named = |line: String| format!("{}: {line}", path.display());
    RouteFile::parse(&text, issuer).map_err(|lines| lines.into_iter().map(named).collect())
}

fn minter(path: &Path, id: &str) -> Result<Minter, String> {
    Minter::from_pem(&read(path)?, id).map_err(|error| format!("{}: {error}", path.display()))
}

fn read(path: &Path) -> Result<Vec<u8>, String> {
    std::fs::read(path).map_err(|error| format!("cannot read {}: {error}", path.display()))
}
