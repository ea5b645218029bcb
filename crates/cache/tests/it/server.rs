//! A Redis of a test's own, and how a test speaks to it.

use std::ops::{Deref, DerefMut};

use deadpool_redis::redis::{Client, Connection, FromRedisValue, cmd};
use testkit::RedisServer;

pub(crate) struct Server(RedisServer);

impl Server {
    pub(crate) fn start(settings: &[(&str, &str)]) -> Server {
        Server(RedisServer::start(settings))
    }

    pub(crate) fn admin(&self) -> Connection {
        connect(&self.url())
    }

    pub(crate) fn ask<T: FromRedisValue>(&self, command: &[&str]) -> T {
        let (name, arguments) = command.split_first().unwrap();
        cmd(name).arg(arguments).query(&mut self.admin()).unwrap()
    }
}

impl Deref for Server {
    type Target = RedisServer;

    fn deref(&self) -> &RedisServer {
        &self.0
    }
}

impl DerefMut for Server {
    fn deref_mut(&mut self) -> &mut RedisServer {
        &mut self.0
    }
}

pub(crate) fn connect(url: &str) -> Connection {
    Client::open(url).unwrap().get_connection().unwrap()
}
