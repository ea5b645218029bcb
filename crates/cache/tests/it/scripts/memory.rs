//! What an invalidation does on a server that refuses writes for want of memory.

use deadpool_redis::redis::{Connection, InfoDict, RedisResult, cmd};

use super::model::{Data, FRESH, Step};
use super::real::{Real, Scripts, encode};
use crate::server::Server;

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
