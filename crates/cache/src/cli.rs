//! What an operator may ask of the cache.

use std::fmt::Write as _;

use anyhow::Context as _;
use deadpool_redis::redis::{Cmd, cmd};
use settings::{Misconfigured, Unavailable};

use crate::args::CacheArgs;
use crate::clock::millis;
use crate::collection::Pages;
use crate::collection::{nonce_key, renewal};
use crate::connection::Dialer;
use crate::entry::Header;
use crate::entry::Version;
use crate::key::{Keys, LONGEST};
use crate::namespace::Source;
use crate::policy::CONTROL_TTL;
use crate::script::INVALIDATE;
use crate::tail::Tail;

/// Look at an entry of the cache, or make it forget one.
#[derive(Clone, Debug, clap::Subcommand)]
pub enum Command {
    /// Print an entry's header, its floor and its lease.
    Get {
        /// As in the metrics: `product`.
        namespace: String,
        /// The id.
        key: String,
        /// Whose cache.
        #[command(flatten)]
        args: CacheArgs,
    },
    /// Make the cache forget an entry: its next reader loads it. A load under way stores nothing.
    Invalidate {
        /// As in the metrics: `product`.
        namespace: String,
        /// The id.
        key: String,
        /// Forget only what is older than this version of the row, and keep it out: also a row that has no such version yet, until it
        /// has or is invalidated without this.
        #[arg(long = "below-version", value_name = "VERSION")]
        below: Option<i64>,
        /// Whose cache.
        #[command(flatten)]
        args: CacheArgs,
    },
    /// Make the cache forget all pages of a list; the entries that they list stay.
    InvalidateList {
        /// As in the metrics: `products`.
        namespace: String,
        /// Whose cache.
        #[command(flatten)]
        args: CacheArgs,
    },
}

/// A namespace that an operator may name, so that a name or a key that nothing has is told apart from one that is not cached.
pub struct Known {
    name: &'static str,
    /// `None` of a list.
    entries: Option<Entries>,
}

struct Entries {
    form: &'static str,
    is_key: fn(&str) -> bool,
}

impl Known {
    /// The entries of `S`, whose keys are texts of this `form` (as in "a number") that `is_key` accepts.
    pub fn entries<S: Source>(form: &'static str, is_key: fn(&str) -> bool) -> Known {
        Known {
            name: S::NAMESPACE,
            entries: Some(Entries { form, is_key }),
        }
    }

    /// The pages of `P`.
    pub fn list<P: Pages>() -> Known {
        Known {
            name: P::NAMESPACE,
            entries: None,
        }
    }

    fn find<'k>(known: &'k [Known], name: &str) -> Result<&'k Known, Misconfigured> {
        known.iter().find(|known| known.name == name).ok_or_else(|| {
            let names: Vec<&str> = known.iter().map(|known| known.name).collect();
            Misconfigured(format!(
                "there is no namespace '{name}'; there are {}",
                names.join(", ")
            ))
        })
    }
}

impl Command {
    /// Does it; returns what is to be printed. `known` are the namespaces that the application has.
    ///
    /// # Errors
    /// [`Misconfigured`] when the namespace or the key is none; [`Unavailable`] when Redis is not reached; when it does not answer.
    pub async fn run(&self, known: &[Known]) -> anyhow::Result<String> {
        match self {
            Command::Get { args, namespace, key } => get(args, keys(known, args, namespace, key)?).await,
            Command::Invalidate {
                args,
                namespace,
                key,
                below,
            } => {
                let below = below.map(Version::try_from).transpose();
                let below = below.map_err(|error| Misconfigured(format!("--below-version: {error}")))?;
                invalidate(args, keys(known, args, namespace, key)?, below).await
            }
            Command::InvalidateList { args, namespace } => {
                if Known::find(known, namespace)?.entries.is_some() {
                    return Err(Misconfigured(format!("{namespace} is no list; see `invalidate`")).into());
                }
                invalidate_list(args, namespace).await
            }
        }
    }
}

fn keys(known: &[Known], args: &CacheArgs, namespace: &str, key: &str) -> Result<Keys, Misconfigured> {
    let Some(entries) = &Known::find(known, namespace)?.entries else {
        return Err(Misconfigured(format!(
            "{namespace} is a list; see `invalidate-list`"
        )));
    };
    if !(entries.is_key)(key) {
        return Err(Misconfigured(format!(
            "'{key}' is no key of {namespace}, which is {}",
            entries.form
        )));
    }
    Keys::of(&args.cache_scope, namespace, &key).ok_or_else(|| {
        Misconfigured(format!(
            "'{key}' is too long: with prefix, scope and namespace a key has at most {LONGEST} bytes"
        ))
    })
}

async fn get(args: &CacheArgs, keys: Keys) -> anyhow::Result<String> {
    let mut redis = connect(args).await?;
    let header: Vec<u8> = redis
        .run(&Cmd::getrange(&keys.data, 0, Header::BYTES as isize - 1))
        .await?;
    let (size, left): (u64, i64) = (
        redis.run(&Cmd::strlen(&keys.data)).await?,
        redis.run(&Cmd::pttl(&keys.data)).await?,
    );
    let (seconds, micros): (u64, u64) = redis.run(&cmd("TIME")).await?;
    let now = seconds * 1000 + micros / 1000;
    let mut fields = cmd("HMGET");
    fields.arg(&keys.control).arg("floor").arg("tok_exp");
    let (floor, lease): (Option<i64>, Option<u64>) = redis.run(&fields).await?;

    let mut text = format!("key              {}\n", keys.data);
    // Also of another release's entry, as far as the layout is the same.
    match Header::of(&header) {
        _ if size == 0 => text.push_str("entry            none\n"),
        None => {
            let _ = writeln!(
                text,
                "entry            {size} bytes that are no entry of this release"
            );
        }
        Some(header) => {
            let Header {
                schema,
                version,
                loaded_at,
                soft_expiry,
                cost,
                ..
            } = header;
            let _ = write!(
                text,
                "entry            {}\nschema           {schema}\nversion          {version}\n\
                 size             {} bytes\nage              {} ms\nfresh for        {} ms\n\
                 exists for       {left} ms\ncost of a load   {cost} ms\n",
                if header.is_absent() {
                    "there is no such row"
                } else {
                    "present"
                },
                size.saturating_sub(Header::BYTES as u64),
                now.saturating_sub(loaded_at),
                i128::from(soft_expiry) - i128::from(now),
            );
        }
    }
    let _ = writeln!(
        text,
        "floor            {}",
        floor.map_or("none".to_owned(), |floor| floor.to_string())
    );
    let lease = lease.filter(|until| *until > now);
    let _ = writeln!(
        text,
        "lease            {}",
        lease.map_or("none".to_owned(), |until| format!("for {} ms", until - now))
    );
    Ok(text)
}

async fn invalidate(args: &CacheArgs, keys: Keys, below: Option<Version>) -> anyhow::Result<String> {
    let mut redis = connect(args).await?;
    let Some(below) = below else {
        // Without its control key, and so without its token, no populate in flight is accepted.
        let deleted: u64 = redis.run(&Cmd::del(&keys.both()[..])).await?;
        return Ok(match deleted {
            0 => format!("{} was not there\n", keys.data),
            _ => format!("forgot {}\n", keys.data),
        });
    };
    let command = INVALIDATE.by_text(&keys.both(), &|command: &mut Cmd| {
        command.arg(below.get()).arg(millis(CONTROL_TTL));
    });
    let answer: String = redis.run(&command).await?;
    Ok(format!("{answer}: {} below version {}\n", keys.data, below.get()))
}

async fn invalidate_list(args: &CacheArgs, namespace: &str) -> anyhow::Result<String> {
    let mut redis = connect(args).await?;
    let mut command = renewal(&nonce_key(&args.cache_scope, namespace));
    // Without a nonce there is no page that anybody finds.
    command.arg("XX");
    let renewed: Option<String> = redis.run(&command).await?;
    Ok(match renewed {
        Some(_) => format!("forgot the pages of {namespace}\n"),
        None => format!("no page of {namespace} was there\n"),
    })
}

async fn connect(args: &CacheArgs) -> anyhow::Result<Tail> {
    let dialer = Dialer::new(args).context("REDIS_URL")?;
    let mut redis = Tail::new(dialer, args.cache_scope.clone());
    redis
        .connect()
        .await
        .map_err(|error| Unavailable(format!("Redis is unreachable: {error}")))?;
    Ok(redis)
}
