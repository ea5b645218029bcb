//! Each is a copy of one step that looks right, too. The search has to find the counterexample, or it proves nothing.

use super::flight::{Command, Outcome};
use super::scripts::{Memory, Redis, Token, Value, Version};
use super::watermark::{Follower, OLD, Saved, Watermark};

/// Serves callers who joined while the reply to the populate was on its way.
pub(crate) fn shares_after_the_populate(joined_before: Option<Command>, outcome: Outcome) -> bool {
    match outcome {
        Outcome::Populated => true,
        Outcome::Fetched(_) => joined_before.is_some(),
        Outcome::Loaded { .. } => joined_before.is_some_and(|command| command <= Command::Load),
    }
}

/// Serves callers who joined while the reply to the lease, which returns data, was on its way.
pub(crate) fn shares_after_the_lease(joined_before: Option<Command>, outcome: Outcome) -> bool {
    match outcome {
        Outcome::Fetched(Command::Lease) => true,
        Outcome::Fetched(_) | Outcome::Populated => joined_before.is_some(),
        Outcome::Loaded { .. } => joined_before.is_some_and(|command| command <= Command::Load),
    }
}

/// Serves callers who joined while the reply to the GET was on its way.
pub(crate) fn shares_after_the_get(joined_before: Option<Command>, outcome: Outcome) -> bool {
    match outcome {
        Outcome::Fetched(Command::Get) => true,
        Outcome::Fetched(_) | Outcome::Populated => joined_before.is_some(),
        Outcome::Loaded { .. } => joined_before.is_some_and(|command| command <= Command::Load),
    }
}

/// Serves callers who joined before the populate, although it was rejected.
pub(crate) fn shares_what_was_rejected(joined_before: Option<Command>, _: Outcome) -> bool {
    joined_before.is_some()
}

/// Out of memory: what could be deleted is deleted, and the token stays.
pub(crate) fn invalidate_keeping_the_token(redis: &mut Redis, version: Version, memory: Memory) {
    if redis.data.is_some_and(|cached| cached.version < version) {
        redis.data = None;
    }
    if memory == Memory::Enough {
        let control = redis.control();
        control.floor = control.floor.max(version);
    }
}

/// DEL.
pub(crate) fn invalidate_by_delete(redis: &mut Redis, _: Version, _: Memory) {
    redis.data = None;
}

/// SET.
pub(crate) fn populate_by_set(redis: &mut Redis, _: Token, value: Value, _: Version) -> bool {
    redis.data = Some(value);
    true
}

/// A compare-and-set by version: it compares with what is cached, and after a delete nothing is.
pub(crate) fn populate_if_not_older(redis: &mut Redis, _: Token, value: Value, _: Version) -> bool {
    let older = redis.data.is_some_and(|cached| value.version < cached.version);
    if !older {
        redis.data = Some(value);
    }
    !older
}

/// Counts invalidations instead of remembering a version. (It counts in the place of the floor, and to three.)
pub(crate) fn invalidate_by_generation(redis: &mut Redis, _: Version, _: Memory) {
    redis.data = None;
    let generation = &mut redis.control().floor;
    *generation = (*generation + 1).min(3);
}

/// Accepted in the generation that the loader found before its load.
pub(crate) fn populate_in_generation(redis: &mut Redis, _: Token, value: Value, found: Version) -> bool {
    let accepted = redis.control().floor == found;
    if accepted {
        redis.data = Some(value);
    }
    accepted
}

/// As memcache leases do it: an invalidation deletes the data and the token.
pub(crate) fn invalidate_data_and_token(redis: &mut Redis, _: Version, _: Memory) {
    *redis = Redis::EMPTY;
}

/// As memcache leases do it: the token alone decides.
pub(crate) fn populate_by_token(redis: &mut Redis, token: Token, value: Value, _: Version) -> bool {
    let Some(control) = &mut redis.control else {
        return false;
    };
    if control.token != Some(token) {
        return false;
    }
    control.token = None;
    redis.data = Some(value);
    true
}

/// The token is the process's: two flights of one process have the same.
pub(crate) fn populate_by_process(redis: &mut Redis, token: Token, value: Value, _: Version) -> bool {
    let process = |token| if token == Token::Late { Token::Here } else { token };
    let Some(control) = &mut redis.control else {
        return false;
    };
    let older = redis.data.is_some_and(|cached| value.version < cached.version);
    if control.token.map(process) != Some(process(token)) || value.version < control.floor || older {
        return false;
    }
    control.token = None;
    redis.data = Some(value);
    true
}

/// The watermark's age starts anew whenever it changes.
pub(crate) fn follow_any_change(follower: &mut Follower, published: Option<Watermark>) {
    let t = published.map(|watermark| watermark.t);
    if published.is_none() {
        follower.age = OLD;
    } else if t != follower.seen {
        follower.age = 0;
    }
    follower.seen = t;
    follower.last_poll = 0;
}

/// The watermark's age counts from the poll that found it risen, however long the process was suspended before.
pub(crate) fn follow_from_the_poll(follower: &mut Follower, published: Option<Watermark>) {
    follower.age = match (published, follower.seen) {
        (None, _) => OLD,
        (Some(Watermark { t, lag }), Some(seen)) if t < seen => lag,
        _ => follower.age,
    };
    follower.seen = published.map(|watermark| watermark.t);
    follower.last_poll = 0;
}

/// The first watermark that a process finds counts as risen.
pub(crate) fn follow_from_the_start(follower: &mut Follower, published: Option<Watermark>) {
    follower.age = match (published, follower.seen) {
        (None, _) => OLD,
        (Some(Watermark { t, lag }), seen) if seen.is_none_or(|seen| t < seen) => lag,
        _ => follower.age,
    };
    follower.seen = published.map(|watermark| watermark.t);
    follower.last_poll = 0;
}

/// A loss is noticed by a key that the invalidator writes after each page.
pub(crate) fn notices_by_heartbeat(saved: &Saved, redis: &super::watermark::Redis) -> bool {
    redis.heartbeat != saved.heartbeat
}

/// See [`notices_by_heartbeat`]. (It counts to two, and starts again.)
pub(crate) fn beat(saved: &mut Saved, redis: &mut super::watermark::Redis) {
    saved.heartbeat = (saved.heartbeat + 1) % 3;
    redis.heartbeat = saved.heartbeat;
}

/// Saves the new identity, and rewinds in memory.
pub(crate) fn rewind_in_memory(saved: &mut Saved) -> u8 {
    saved.identity_is_current = true;
    0
}
