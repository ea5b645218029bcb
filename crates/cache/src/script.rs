//! The Lua scripts, and how they are sent.

use std::sync::LazyLock;

use deadpool_redis::redis::{Cmd, FromRedisValue, Script, ToRedisArgs, cmd};

use crate::connection::{Link, Op, Unreachable};

/// Each file says what it takes and answers.
pub(crate) static LEASE: LazyLock<Lua> = LazyLock::new(|| Lua::new(include_str!("scripts/lease.lua")));
pub(crate) static POPULATE: LazyLock<Lua> = LazyLock::new(|| Lua::new(include_str!("scripts/populate.lua")));
pub(crate) static INVALIDATE: LazyLock<Lua> =
    LazyLock::new(|| Lua::new(include_str!("scripts/invalidate.lua")));
pub(crate) static RELEASE: LazyLock<Lua> = LazyLock::new(|| Lua::new(include_str!("scripts/release.lua")));

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

    /// By its hash. A Redis that does not know it yet (started anew, or a replica promoted) gets the text.
    pub(crate) async fn run<T: FromRedisValue>(
        &self,
        link: &Link,
        keys: &[&str],
        arguments: impl Fn(&mut Cmd),
    ) -> Result<T, Unreachable> {
        match link.run(Op::Evalsha, &self.by_hash(keys, &arguments)).await {
            Err(Unreachable::NoScript) => link.run(Op::Eval, &self.by_text(keys, &arguments)).await,
            answer => answer,
        }
    }

    pub(crate) fn by_hash(&self, keys: &[&str], arguments: &impl Fn(&mut Cmd)) -> Cmd {
        command("EVALSHA", &self.hash, keys, arguments)
    }

    pub(crate) fn by_text(&self, keys: &[&str], arguments: &impl Fn(&mut Cmd)) -> Cmd {
        command("EVAL", self.code, keys, arguments)
    }
}

fn command(name: &str, script: &str, keys: &[&str], arguments: &impl Fn(&mut Cmd)) -> Cmd {
    let mut command = cmd(name);
    command.arg(script).arg(keys.len());
    for key in keys {
        key.write_redis_args(&mut command);
    }
    arguments(&mut command);
    command
}
