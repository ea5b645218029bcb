//! The Lua scripts, and how they are sent.

use std::sync::LazyLock;

use deadpool_redis::redis::{Cmd, Script, cmd};

use crate::link::{Link, Unreachable};

/// Stores an entry unless something newer is known: keys data and control; schema, version, TTL (ms), entry.
pub(crate) static POPULATE: LazyLock<Lua> = LazyLock::new(|| Lua::new(include_str!("scripts/populate.lua")));

/// Deletes what is older and sets the floor: keys data and control; version, the floor's TTL (ms).
pub(crate) static INVALIDATE: LazyLock<Lua> =
    LazyLock::new(|| Lua::new(include_str!("scripts/invalidate.lua")));

pub(crate) struct Lua {
    code: &'static str,
    hash: String,
}

impl Lua {
    fn new(code: &'static str) -> Lua {
        Lua {
            code,
            hash: Script::new(code).get_hash().to_owned(),
        }
    }

    /// By its hash; a Redis that does not know it yet (started anew, or a replica promoted) gets the text.
    pub(crate) async fn run(
        &self,
        link: &Link,
        keys: [&str; 2],
        arguments: impl Fn(&mut Cmd),
    ) -> Result<String, Unreachable> {
        let command = |name, script: &str| {
            let mut command = cmd(name);
            command.arg(script).arg(keys.len()).arg(&keys);
            arguments(&mut command);
            command
        };
        match link.run("EVALSHA", &command("EVALSHA", &self.hash)).await {
            Err(Unreachable::NoScript) => link.run("EVAL", &command("EVAL", self.code)).await,
            answer => answer,
        }
    }
}
