use std::collections::HashMap;
use std::fs::File;
use std::io::{self, Read};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError, RwLock};
use std::time::{Duration, Instant};

use jsonwebtoken::DecodingKey;
use serde::Deserialize;
use serde_json::Value;

/// How long a look at the file stays good. A rotated key is seen at most this much later.
const CHECK_EVERY: Duration = Duration::from_secs(2);
const MAX_FILE_BYTES: u64 = 256 * 1024;
const MAX_KEYS: usize = 32;

/// Keys or settings with which nothing can be verified or signed.
#[derive(Debug, thiserror::Error)]
pub enum KeysError {
    #[error("cannot read the key set {}: {source}", path.display())]
    Unreadable { path: PathBuf, source: io::Error },
    #[error("the key set {} is unusable: {reason}", path.display())]
    Unusable { path: PathBuf, reason: String },
    #[error("the signing key is unusable: {0}")]
    Signing(String),
    #[error(
        "`{0}` cannot be the source of principals: it must match [a-z][a-z0-9-]{{0,15}} and be neither `system` nor `anonymous`"
    )]
    Source(String),
}

type ById = HashMap<String, DecodingKey>;

/// The public keys of a JWK set file, by key id, as the file's last good version has them.
pub(crate) struct Keys {
    path: PathBuf,
    current: RwLock<Arc<Current>>,
    seen: Mutex<Seen>,
}

pub(crate) struct Current {
    by_id: ById,
    /// Counts the versions of the file that came into force.
    generation: u64,
}

struct Seen {
    at: Instant,
    /// What the last look found, good or not, so that each version of the file is judged and logged once.
    content: Option<Vec<u8>>,
}

/// What a look at the file led to.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Look {
    Unchanged,
    Replaced,
    Kept,
}

impl Keys {
    pub(crate) fn open(path: &Path) -> Result<Keys, KeysError> {
        let content = read(path).map_err(|source| KeysError::Unreadable {
            path: path.to_owned(),
            source,
        })?;
        let keys = parse(&content).map_err(|reason| KeysError::Unusable {
            path: path.to_owned(),
            reason,
        })?;
        Ok(Keys {
            path: path.to_owned(),
            current: RwLock::new(Arc::new(Current {
                by_id: keys,
                generation: 0,
            })),
            seen: Mutex::new(Seen {
                at: Instant::now(),
                content: Some(content),
            }),
        })
    }

    /// The keys in force. Looks at the file first when the last look is too long ago; that reads a few kilobytes on the
    /// calling thread, once in two seconds for all threads together.
    pub(crate) fn current(&self) -> Arc<Current> {
        self.look_if_due();
        Arc::clone(&self.current.read().unwrap_or_else(PoisonError::into_inner))
    }

    fn look_if_due(&self) {
        // Whoever holds the lock is looking already; the others go on with what is known.
        if let Ok(mut seen) = self.seen.try_lock()
            && seen.at.elapsed() >= CHECK_EVERY
        {
            self.look(&mut seen);
        }
    }

    /// Contents are compared, not times: a mounted volume swaps symlinks, and a clock's tick can hide a second write.
    fn look(&self, seen: &mut Seen) -> Look {
        seen.at = Instant::now();
        let (content, parsed) = match read(&self.path) {
            Ok(content) if seen.content.as_ref() == Some(&content) => return Look::Unchanged,
            Ok(content) => {
                let parsed = parse(&content);
                (Some(content), parsed)
            }
            Err(_) if seen.content.is_none() => return Look::Unchanged,
            Err(error) => (None, Err(error.to_string())),
        };
        seen.content = content;
        match parsed {
            Ok(keys) => {
                tracing::info!(file = %self.path.display(), keys = keys.len(), "the key set changed");
                let mut current = self.current.write().unwrap_or_else(PoisonError::into_inner);
                *current = Arc::new(Current {
                    by_id: keys,
                    generation: current.generation + 1,
                });
                Look::Replaced
            }
            Err(reason) => {
                tracing::error!(
                    file = %self.path.display(),
                    error = %reason,
                    "the changed key set is unusable, the last good one stays in force"
                );
                Look::Kept
            }
        }
    }
}

impl Current {
    pub(crate) fn find(&self, kid: &str) -> Option<&DecodingKey> {
        self.by_id.get(kid)
    }

    /// Higher than that of the keys before.
    pub(crate) fn generation(&self) -> u64 {
        self.generation
    }
}

fn read(path: &Path) -> io::Result<Vec<u8>> {
    let mut content = Vec::new();
    File::open(path)?
        .take(MAX_FILE_BYTES + 1)
        .read_to_end(&mut content)?;
    Ok(content)
}

#[derive(Deserialize)]
struct KeySet {
    keys: Vec<Value>,
}

/// Strict, because the file is configuration: whoever writes it wants to hear about a key that would not be used.
fn parse(content: &[u8]) -> Result<ById, String> {
    if content.len() as u64 > MAX_FILE_BYTES {
        return Err(format!("it is larger than {MAX_FILE_BYTES} bytes"));
    }
    let set: KeySet = serde_json::from_slice(content).map_err(|error| error.to_string())?;
    if set.keys.is_empty() {
        return Err("it holds no key".to_owned());
    }
    if set.keys.len() > MAX_KEYS {
        return Err(format!("it holds more than {MAX_KEYS} keys"));
    }
    let mut by_id = ById::new();
    for (index, key) in set.keys.iter().enumerate() {
        let (id, key) = parse_key(key).map_err(|reason| format!("keys[{index}]: {reason}"))?;
        if by_id.insert(id.clone(), key).is_some() {
            return Err(format!("keys[{index}]: `kid` {id} is used twice"));
        }
    }
    Ok(by_id)
}

fn parse_key(key: &Value) -> Result<(String, DecodingKey), String> {
    let text = |name: &str| key.get(name).and_then(Value::as_str);
    if text("kty") == Some("oct") {
        return Err("a symmetric key (`kty` oct) is a secret and verifies nothing here".to_owned());
    }
    if text("kty") != Some("OKP") || text("crv") != Some("Ed25519") {
        return Err("only Ed25519 keys (`kty` OKP, `crv` Ed25519) are supported".to_owned());
    }
    if key.get("d").is_some() {
        return Err("it has a private part (`d`), which belongs in no key set".to_owned());
    }
    if key.get("use").is_some() && text("use") != Some("sig") {
        return Err("`use` must be sig".to_owned());
    }
    if key.get("alg").is_some() && !matches!(text("alg"), Some("EdDSA" | "Ed25519")) {
        return Err("`alg` must be EdDSA".to_owned());
    }
    let id = text("kid")
        .filter(|id| !id.is_empty())
        .ok_or("`kid` is missing")?;
    let key = DecodingKey::from_ed_components(text("x").ok_or("`x` is missing")?)
        .ok()
        .filter(|key| key.try_get_as_bytes().is_ok_and(|bytes| bytes.len() == 32))
        .ok_or("`x` is not 32 bytes in base64url without padding")?;
    Ok((id.to_owned(), key))
}

#[cfg(test)]
mod tests {
    use super::*;

    const KEY: &str =
        r#"{"kty":"OKP","crv":"Ed25519","kid":"a","x":"11qYAYKxCrfVS_7TyWQHOg7hcvPapiMlrwIaaPcHURo"}"#;

    fn set(keys: &[&str]) -> String {
        format!(r#"{{"keys":[{}]}}"#, keys.join(","))
    }

    #[test]
    fn a_key_set_with_anything_but_public_ed25519_keys_is_refused() {
        let with = |from: &str, to: &str| set(&[&KEY.replace(from, to)]);
        let refused = [
            ("".to_owned(), "EOF while parsing"),
            ("{}".to_owned(), "missing field `keys`"),
            (set(&[]), "no key"),
            (set(&[KEY; 33]), "more than 32 keys"),
            (set(&[KEY, KEY]), "keys[1]: `kid` a is used twice"),
            (set(&[r#"{"kty":"oct","kid":"a","k":"AA"}"#]), "symmetric"),
            (
                set(&[r#"{"kty":"RSA","kid":"a","n":"AA","e":"AQAB"}"#]),
                "only Ed25519",
            ),
            (with("Ed25519", "X25519"), "only Ed25519"),
            (with(r#""kid":"a","#, ""), "`kid` is missing"),
            (with(r#""kid":"a""#, r#""kid":"""#), "`kid` is missing"),
            (with(r#""kid":"a""#, r#""kid":"a","d":"AA""#), "private part"),
            (
                with(r#""kid":"a""#, r#""kid":"a","use":"enc""#),
                "`use` must be sig",
            ),
            (
                with(r#""kid":"a""#, r#""kid":"a","alg":"HS256""#),
                "`alg` must be EdDSA",
            ),
            (with("11qY", ""), "`x` is not 32 bytes"),
            (with("11qY", "!!!!"), "`x` is not 32 bytes"),
            (with(r#","x""#, r#","y""#), "`x` is missing"),
            (" ".repeat(256 * 1024 + 1), "larger than 262144 bytes"),
        ];
        for (content, reason) in refused {
            let error = parse(content.as_bytes()).map(|_| ()).unwrap_err();
            assert!(error.contains(reason), "{error} should say {reason}");
        }
        assert!(parse(set(&[KEY]).as_bytes()).is_ok());
    }

    #[test]
    fn a_broken_new_version_of_the_file_leaves_the_last_good_keys() {
        let file = tempfile::NamedTempFile::new().unwrap();
        let write = |content: &str| std::fs::write(file.path(), content).unwrap();
        write(&set(&[KEY]));
        let keys = Keys::open(file.path()).unwrap();
        let look = || keys.look(&mut keys.seen.lock().unwrap());

        assert_eq!(look(), Look::Unchanged);
        write("{");
        assert_eq!(look(), Look::Kept);
        assert_eq!(look(), Look::Unchanged, "a broken version is judged once");
        assert!(keys.current().find("a").is_some());
        write(&set(&[&KEY.replace(r#""a""#, r#""b""#)]));
        assert_eq!(look(), Look::Replaced);
        assert!(keys.current().find("a").is_none());
        assert!(keys.current().find("b").is_some());
        std::fs::remove_file(file.path()).unwrap();
        assert_eq!(look(), Look::Kept);
        assert_eq!(look(), Look::Unchanged);
        assert!(keys.current().find("b").is_some());
    }
}
