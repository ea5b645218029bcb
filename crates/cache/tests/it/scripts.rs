//! The four scripts, on the real server, against a model of them in Rust.

use deadpool_redis::redis::{Connection, InfoDict, RedisResult, Script, Value, cmd, from_redis_value};
use proptest::collection::vec;
use proptest::prelude::*;
use proptest::test_runner::{Config, RngAlgorithm, RngSeed, TestError, TestRunner};
use uuid::Uuid;

use crate::server::{Server, connect};
use crate::shelf::redis;
use crate::wrong;

/// One entry's state.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
struct Model {
    data: Option<Data>,
    floor: Option<i64>,
    /// Whose, and whether it still lives.
    token: Option<(u8, bool)>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Data {
    schema: u16,
    version: i64,
    soft: u64,
}

#[derive(Clone, Debug)]
enum Step {
    Lease {
        token: u8,
        lives: bool,
        seen: u64,
        schema: u16,
    },
    Populate {
        token: u8,
        data: Data,
    },
    Invalidate {
        version: i64,
    },
    Release {
        token: u8,
    },
    LoseData,
    LoseControl,
}

/// From here on an entry is fresh for as long as a test takes; below, it is stale.
const FRESH: u64 = 9_000_000_000_000;

impl Model {
    /// What the script answers.
    fn step(&mut self, step: &Step) -> String {
        match *step {
            Step::Lease {
                token,
                lives,
                seen,
                schema,
            } => {
                if let Some(data) = self.data {
                    if data.schema > schema {
                        return "newer".to_owned();
                    }
                    if data.schema == schema && data.soft >= FRESH && data.soft != seen {
                        return format!("data {}", data.version);
                    }
                }
                if matches!(self.token, Some((_, true))) {
                    return "busy".to_owned();
                }
                let expired = u8::from(self.token.is_some());
                self.token = Some((token, lives));
                let cached = self.data.map_or(0, |data| data.version);
                format!("won {} {expired}", self.floor.unwrap_or(0).max(cached))
            }
            Step::Populate { token, data } => {
                if self.token != Some((token, true)) {
                    return "token".to_owned();
                }
                self.token = None;
                let refused = if self.floor.is_some_and(|floor| floor > data.version) {
                    Some("floor")
                } else if self.data.is_some_and(|cached| cached.schema > data.schema) {
                    Some("schema")
                } else if self.data.is_some_and(|cached| cached.version > data.version) {
                    Some("older")
                } else {
                    None
                };
                if refused.is_none() {
                    self.data = Some(data);
                }
                refused.unwrap_or("stored").to_owned()
            }
            Step::Invalidate { version } => {
                let before = self.clone();
                self.data = self.data.filter(|data| data.version >= version);
                self.floor = self.floor.max(Some(version));
                if *self == before { "redundant" } else { "applied" }.to_owned()
            }
            Step::Release { token } => {
                if self.token.is_some_and(|(holder, _)| holder == token) {
                    self.token = None;
                    "1".to_owned()
                } else {
                    "0".to_owned()
                }
            }
            Step::LoseData => {
                self.data = None;
                String::new()
            }
            Step::LoseControl => {
                (self.floor, self.token) = (None, None);
                String::new()
            }
        }
    }
}

struct Scripts {
    lease: Script,
    populate: Script,
    invalidate: Script,
    release: Script,
}

impl Scripts {
    fn right() -> Scripts {
        Scripts::with(|_, text| text.to_owned())
    }

    fn with(change: impl Fn(&str, &str) -> String) -> Scripts {
        let script = |name, text| Script::new(&change(name, text));
        Scripts {
            lease: script("lease", include_str!("../../src/scripts/lease.lua")),
            populate: script("populate", include_str!("../../src/scripts/populate.lua")),
            invalidate: script("invalidate", include_str!("../../src/scripts/invalidate.lua")),
            release: script("release", include_str!("../../src/scripts/release.lua")),
        }
    }
}

/// The same entry on the server.
struct Real<'a> {
    redis: &'a mut Connection,
    scripts: &'a Scripts,
    data: String,
    control: String,
}

impl Real<'_> {
    fn step(&mut self, step: &Step) -> RedisResult<String> {
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
            Step::Release { token } => scripts.release.key(&*control).arg(token).invoke(redis),
            Step::LoseData => cmd("DEL").arg(&*data).query::<()>(redis).map(|()| String::new()),
            Step::LoseControl => cmd("DEL")
                .arg(&*control)
                .query::<()>(redis)
                .map(|()| String::new()),
        }
    }

    fn state(&mut self) -> RedisResult<Model> {
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

fn encode(data: Data) -> Vec<u8> {
    let mut entry = data.schema.to_be_bytes().to_vec();
    entry.extend(data.version.to_be_bytes());
    entry.extend(1_u64.to_be_bytes());
    entry.extend(data.soft.to_be_bytes());
    entry.extend([0; 6]);
    entry.extend(b"{}");
    entry
}

fn softs() -> impl Strategy<Value = u64> {
    prop_oneof![1..3_u64, FRESH..FRESH + 2]
}

fn data() -> impl Strategy<Value = Data> {
    (1..3_u16, 0..5_i64, softs()).prop_map(|(schema, version, soft)| Data {
        schema,
        version,
        soft,
    })
}

fn steps() -> impl Strategy<Value = Vec<Step>> {
    let lease =
        (0..3_u8, prop::bool::weighted(0.8), softs(), 1..3_u16).prop_map(|(token, lives, seen, schema)| {
            Step::Lease {
                token,
                lives,
                seen,
                schema,
            }
        });
    let populate = (0..3_u8, data()).prop_map(|(token, data)| Step::Populate { token, data });
    let step = prop_oneof![
        4 => lease,
        6 => populate,
        2 => (1..5_i64).prop_map(|version| Step::Invalidate { version }),
        1 => (0..3_u8).prop_map(|token| Step::Release { token }),
        1 => Just(Step::LoseData),
        1 => Just(Step::LoseControl),
    ];
    vec(step, 1..30)
}

/// The shortest sequence of steps after which server and model differ, if one was found.
fn difference(scripts: &Scripts, cases: u32) -> Result<(), String> {
    let mut redis = connect(&redis());
    let config = Config {
        cases,
        failure_persistence: None,
        rng_algorithm: RngAlgorithm::ChaCha,
        rng_seed: RngSeed::Fixed(7),
        max_shrink_iters: 200,
        ..Config::default()
    };
    let redis = std::cell::RefCell::new(&mut redis);
    let found = TestRunner::new(config).run(&steps(), |steps| {
        let id = Uuid::now_v7();
        let mut redis = redis.borrow_mut();
        let mut real = Real {
            redis: &mut redis,
            scripts,
            data: format!("c1:{{script:{id}}}:d"),
            control: format!("c1:{{script:{id}}}:c"),
        };
        let mut model = Model::default();
        for step in &steps {
            let expected = model.step(step);
            let answer = real
                .step(step)
                .map_err(|error| TestCaseError::fail(error.to_string()))?;
            prop_assert_eq!(&answer, &expected, "{:?}", step);
            prop_assert_eq!(&real.state().unwrap(), &model, "{:?}", step);
        }
        Ok(())
    });
    match found {
        Ok(()) => Ok(()),
        Err(TestError::Fail(why, steps)) => Err(format!("{why}\n{steps:#?}")),
        Err(TestError::Abort(why)) => panic!("{why}"),
    }
}

#[test]
fn the_scripts_do_what_the_model_does() {
    if let Err(difference) = difference(&Scripts::right(), 400) {
        panic!("{difference}");
    }
}

#[test]
fn every_wrong_variant_of_a_script_is_caught() {
    for (script, line, wrong) in wrong::SCRIPTS {
        let scripts = Scripts::with(|name, text| {
            if name != *script {
                return text.to_owned();
            }
            assert!(text.contains(line), "{script}.lua no longer says {line}");
            text.replace(line, wrong)
        });
        let caught = difference(&scripts, 400);
        assert!(caught.is_err(), "{script}.lua with `{wrong}` for `{line}` passes");
    }
}

/// A Redis that refuses writes for want of memory, with a lease on an entry; an older version of it is there or not.
fn full(with_data: bool) -> (Server, Scripts) {
    let server = Server::start(&[("maxmemory-policy", "noeviction")]);
    let scripts = Scripts::right();
    let mut redis = server.admin();
    let mut real = real(&mut redis, &scripts);
    lease(&mut real, 2);
    if with_data {
        let mut entry = encode(Data {
            schema: 1,
            version: 1,
            soft: 1,
        });
        entry.resize(1_000_000, b'x');
        cmd("SET")
            .arg(&real.data)
            .arg(entry)
            .query::<()>(&mut redis)
            .unwrap();
        let info: InfoDict = cmd("INFO").arg("memory").query(&mut redis).unwrap();
        let used: u64 = info.get("used_memory").unwrap();
        // Deleting the entry makes room.
        let limit = (used - 500_000).to_string();
        server.ask::<()>(&["CONFIG", "SET", "maxmemory", &limit]);
    } else {
        server.ask::<()>(&["CONFIG", "SET", "maxmemory", "1"]);
    }
    let refused: RedisResult<()> = cmd("SET").arg("other").arg("x").query(&mut redis);
    assert!(refused.is_err());
    (server, scripts)
}

fn real<'a>(redis: &'a mut Connection, scripts: &'a Scripts) -> Real<'a> {
    Real {
        redis,
        scripts,
        data: "c1:{full:1}:d".to_owned(),
        control: "c1:{full:1}:c".to_owned(),
    }
}

fn lease(real: &mut Real<'_>, token: u8) {
    let lease = Step::Lease {
        token,
        lives: true,
        seen: 0,
        schema: 1,
    };
    assert!(real.step(&lease).unwrap().starts_with("won"));
}

#[test]
fn out_of_memory_an_invalidation_still_keeps_older_populates_out() {
    for with_data in [true, false] {
        let (server, scripts) = full(with_data);
        let mut redis = server.admin();
        let mut real = real(&mut redis, &scripts);
        assert_eq!(real.step(&Step::Invalidate { version: 2 }).unwrap(), "applied");
        let state = real.state().unwrap();
        assert_eq!(state.data, None, "with data: {with_data}");
        if with_data {
            assert_eq!(state.floor, Some(2), "there was room for the floor");
        } else {
            assert_eq!((state.floor, state.token), (None, None));
        }
        // The load that was under way was of version 1; memory is there again.
        redis_freed(&server);
        let late = Data {
            schema: 1,
            version: 1,
            soft: FRESH,
        };
        let answer = real.step(&Step::Populate { token: 2, data: late }).unwrap();
        assert_ne!(answer, "stored", "with data: {with_data}");
    }
}

/// The negative control: out of memory, the token is kept.
#[test]
fn keeping_the_token_out_of_memory_is_caught() {
    let (server, _) = full(false);
    let wrong = Scripts::with(|name, text| {
        let line = "redis.call('DEL', KEYS[1], KEYS[2])";
        if name == "invalidate" {
            assert!(text.contains(line));
            text.replace(line, "redis.call('DEL', KEYS[1])")
        } else {
            text.to_owned()
        }
    });
    let mut redis = server.admin();
    let mut real = real(&mut redis, &wrong);
    real.step(&Step::Invalidate { version: 2 }).unwrap();
    redis_freed(&server);
    let late = Data {
        schema: 1,
        version: 1,
        soft: FRESH,
    };
    assert_eq!(
        real.step(&Step::Populate { token: 2, data: late }).unwrap(),
        "stored"
    );
}

fn redis_freed(server: &Server) {
    server.ask::<()>(&["CONFIG", "SET", "maxmemory", "0"]);
}
