//! The scripts as they are, or changed, and the entry on the server that they are run on.

use deadpool_redis::redis::{Connection, RedisResult, Script, Value, cmd, from_redis_value};

use super::model::{Data, Model, Step};

pub(super) struct Scripts {
    lease: Script,
    populate: Script,
    invalidate: Script,
    release: Script,
}

impl Scripts {
    pub(super) fn right() -> Scripts {
        Scripts::with(|_, text| text.to_owned())
    }

    pub(super) fn with(change: impl Fn(&str, &str) -> String) -> Scripts {
        let script = |name, text| Script::new(&change(name, text));
        Scripts {
            lease: script("lease", include_str!("../../../src/scripts/lease.lua")),
            populate: script("populate", include_str!("../../../src/scripts/populate.lua")),
            invalidate: script("invalidate", include_str!("../../../src/scripts/invalidate.lua")),
            release: script("release", include_str!("../../../src/scripts/release.lua")),
        }
    }
}

/// The same entry on the server.
pub(super) struct Real<'a> {
    pub(super) redis: &'a mut Connection,
    pub(super) scripts: &'a Scripts,
    pub(super) data: String,
    pub(super) control: String,
}

impl Real<'_> {
    pub(super) fn step(&mut self, step: &Step) -> RedisResult<String> {
        let Real {
            redis,
            scripts,
            data,
            control,
        } = self;
        match *step {
            Step::Lease {
                token,
                lives,
                seen,
                schema,
            } => {
                let mut call = scripts.lease.key(&*data);
                call.key(&*control).arg(token);
                call.arg(if lives { 60_000 } else { 0 })
                    .arg(seen)
                    .arg(schema)
                    .arg(60_000);
                let reply: Vec<Value> = call.invoke(redis)?;
                let word: String = from_redis_value(reply[0].clone())?;
                Ok(match word.as_str() {
                    "data" => {
                        let entry: Vec<u8> = from_redis_value(reply[2].clone())?;
                        format!("data {}", i64::from_be_bytes(entry[2..10].try_into().unwrap()))
                    }
                    "won" => {
                        let (floor, expired): (i64, u8) = (
                            from_redis_value(reply[2].clone())?,
                            from_redis_value(reply[3].clone())?,
                        );
                        format!("won {floor} {expired}")
                    }
                    _ => word,
                })
            }
            Step::Populate { token, data: entry } => {
                let mut call = scripts.populate.key(&*data);
                call.key(&*control)
                    .arg(token)
                    .arg(entry.schema)
                    .arg(entry.version);
                call.arg(60_000).arg(encode(entry)).invoke(redis)
            }
            Step::Invalidate { version } => {
                let mut call = scripts.invalidate.key(&*data);
                call.key(&*control).arg(version).arg(60_000).invoke(redis)
            }
            Step::Spoil { data: entry } => cmd("SET")
                .arg(&*data)
                .arg(encode(entry))
                .arg("PX")
                .arg(60_000)
                .query::<()>(redis)
                .map(|()| String::new()),
            Step::Release { token } => scripts.release.key(&*control).arg(token).invoke(redis),
            Step::LoseData => cmd("DEL").arg(&*data).query::<()>(redis).map(|()| String::new()),
            Step::LoseControl => cmd("DEL")
                .arg(&*control)
                .query::<()>(redis)
                .map(|()| String::new()),
        }
    }

    /// Whether nothing stays for longer than it was to.
    pub(super) fn expires(&mut self) -> RedisResult<bool> {
        for key in [&self.data, &self.control] {
            let left: i64 = cmd("PTTL").arg(key).query(self.redis)?;
            // -2: there is no such key; -1: it has no end.
            if left != -2 && !(0..=60_000).contains(&left) {
                return Ok(false);
            }
        }
        Ok(true)
    }

    pub(super) fn state(&mut self) -> RedisResult<Model> {
        let (seconds, micros): (u64, u64) = cmd("TIME").query(self.redis)?;
        let now = seconds * 1000 + micros / 1000;
        let entry: Option<Vec<u8>> = cmd("GET").arg(&self.data).query(self.redis)?;
        let (floor, token, until): (Option<i64>, Option<u8>, Option<u64>) = cmd("HMGET")
            .arg(&self.control)
            .arg(&["floor", "tok", "tok_exp"])
            .query(self.redis)?;
        Ok(Model {
            data: entry.map(|entry| Data {
                schema: u16::from_be_bytes(entry[..2].try_into().unwrap()),
                version: i64::from_be_bytes(entry[2..10].try_into().unwrap()),
                soft: u64::from_be_bytes(entry[18..26].try_into().unwrap()),
            }),
            floor,
            token: token.zip(until).map(|(token, until)| (token, until > now)),
        })
    }
}

pub(super) fn encode(data: Data) -> Vec<u8> {
    let mut entry = data.schema.to_be_bytes().to_vec();
    entry.extend(data.version.to_be_bytes());
    entry.extend(1_u64.to_be_bytes());
    entry.extend(data.soft.to_be_bytes());
    entry.extend([0; 6]);
    entry.extend(b"{}");
    entry
}
