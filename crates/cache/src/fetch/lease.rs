//! The three things that a flight asks of Redis: a lease, to store what was loaded under it, and to end it early.

use std::time::Duration;

use deadpool_redis::redis::{ErrorKind, RedisError, Value, from_redis_value};

use super::Round;
use crate::clock::millis;
use crate::connection::Unreachable;
use crate::entry::{Content, Decoded, Stored};
use crate::flight::Sent;
use crate::namespace::Source;
use crate::policy::{CONTROL_TTL, lease_ttl};
use crate::script::{LEASE, POPULATE, RELEASE};

/// The right to load an entry and to store it.
pub(super) struct Lease {
    /// Random for each call: a token that is used again would let a late populate pass for a new one.
    token: [u8; 16],
    /// Redis time, ms.
    pub(super) taken_at: u64,
    /// No absence is older than this version.
    pub(super) floor: i64,
    pub(super) sent: Sent,
}

pub(super) enum Leased {
    Won(Lease),
    Fresh(Stored),
    Busy(Duration),
    Newer,
}

impl<S: Source> Round<'_, S> {
    pub(super) async fn lease(&self, seen: u64, sent: Sent, budget: Duration) -> Result<Leased, Unreachable> {
        let namespace = self.namespace;
        let token: [u8; 16] = rand::random();
        let ttl = lease_ttl(namespace.pace.p99(), budget);
        let reply: Vec<Value> = LEASE
            .run(&namespace.core.link, &self.keys.both(), |command| {
                command.arg(&token[..]).arg(millis(ttl)).arg(seen);
                command.arg(S::SCHEMA).arg(millis(CONTROL_TTL));
            })
            .await?;
        let (leased, result) = self.read(token, sent, reply).map_err(Unreachable::Failed)?;
        namespace.meters.lease(result);
        Ok(leased)
    }

    fn read(
        &self,
        token: [u8; 16],
        sent: Sent,
        reply: Vec<Value>,
    ) -> Result<(Leased, &'static str), RedisError> {
        let mut parts = reply.into_iter();
        let mut part = || parts.next().unwrap_or(Value::Nil);
        let word: String = from_redis_value(part())?;
        let now: u64 = from_redis_value(part())?;
        self.namespace.core.link.clock.learn(now);
        match word.as_str() {
            "won" => {
                let (floor, expired): (i64, u8) = (from_redis_value(part())?, from_redis_value(part())?);
                let lease = Lease {
                    token,
                    taken_at: now,
                    floor,
                    sent,
                };
                Ok((Leased::Won(lease), if expired == 1 { "expired" } else { "won" }))
            }
            "busy" => Ok((
                Leased::Busy(Duration::from_millis(from_redis_value(part())?)),
                "busy",
            )),
            "data" => match Stored::decode(S::SCHEMA, from_redis_value(part())?) {
                Decoded::Entry(stored) => Ok((Leased::Fresh(stored), "fresh")),
                Decoded::Newer => Ok((Leased::Newer, "newer")),
                Decoded::Garbage => Err(unexpected()),
            },
            "newer" => Ok((Leased::Newer, "newer")),
            _ => Err(unexpected()),
        }
    }

    /// Whether it was accepted.
    pub(super) async fn populate(&self, lease: &Lease, stored: &Stored) -> Result<bool, Unreachable> {
        let namespace = self.namespace;
        let ttl = match stored.content {
            // A stale absence is not worth keeping.
            Content::Absent => namespace.policy.negative_ttl,
            Content::Present { .. } => namespace.policy.hard_ttl(),
        };
        let bytes = stored.encode(S::SCHEMA);
        let answer: Result<String, Unreachable> = POPULATE
            .run(&namespace.core.link, &self.keys.both(), |command| {
                command.arg(&lease.token[..]).arg(S::SCHEMA).arg(stored.version);
                command.arg(millis(ttl)).arg(&bytes);
            })
            .await;
        let result = match answer.as_deref() {
            Ok("stored") => "ok",
            Ok("token") => "token",
            Ok("floor") => "floor",
            Ok("older") => "older",
            Ok("schema") => "schema",
            Ok(_) => "full",
            Err(error) => {
                tracing::debug!(%error, "redis did not answer a populate");
                "failed"
            }
        };
        namespace.meters.populate(result);
        answer.map(|_| result == "ok")
    }

    /// Somebody else may try at once. When this fails, they try when the lease ends.
    pub(super) async fn release(&self, lease: &Lease) {
        let released: Result<u8, Unreachable> = RELEASE
            .run(&self.namespace.core.link, &[&self.keys.control], |command| {
                command.arg(&lease.token[..]);
            })
            .await;
        if let Err(error) = released {
            tracing::debug!(%error, "redis did not answer the release of a lease");
        }
    }
}

fn unexpected() -> RedisError {
    (
        ErrorKind::UnexpectedReturnType,
        "not an answer of the lease script",
    )
        .into()
}
