//! Everything that can happen to one entry, in every order: writers, two processes, Redis and its faults.

use std::ops::RangeInclusive;

use super::flight::{Command, Flight, Outcome, shares};
use super::scripts::{Control, Lease, Memory, Redis, Token, Value, Version, invalidate, lease, populate};
use super::search::{Model, Step};

/// The steps of the protocol that a wrong variant replaces.
#[derive(Clone, Copy)]
pub(crate) struct Protocol {
    pub(crate) lease: fn(&mut Redis, Token, bool) -> Lease,
    pub(crate) populate: fn(&mut Redis, Token, Value, Version) -> bool,
    pub(crate) invalidate: fn(&mut Redis, Version, Memory),
    pub(crate) shares: fn(Option<Command>, Outcome) -> bool,
}

impl Protocol {
    pub(crate) const RIGHT: Protocol = Protocol {
        lease,
        populate,
        invalidate,
        shares,
    };
}

/// What may go wrong. Leases that expire, flights that are given up, writers that die between commit and invalidation,
/// and invalidations that come late, twice and out of order always do.
#[derive(Clone, Copy)]
pub(crate) struct Faults {
    /// Redis evicts the key `d`.
    pub(crate) data_lost: bool,
    /// Redis evicts the key `c`, or loses everything: FLUSHALL, or a restart without persistence.
    pub(crate) control_lost: bool,
    /// Redis loses the floor and keeps the token: it can not, as long as they share a key.
    pub(crate) floor_lost: bool,
    pub(crate) out_of_memory: bool,
    /// A command gets no reply in time, whether or not it was executed.
    pub(crate) replies_lost: bool,
    /// The loader may read what was committed before its lease: from a replica, or in an older transaction.
    pub(crate) older_snapshots: bool,
    /// A replica is promoted that has not received everything.
    pub(crate) failover: bool,
    /// The first commit deletes the row, and the second creates it again.
    pub(crate) row_deleted: bool,
}

pub(crate) struct World {
    pub(crate) protocol: Protocol,
    pub(crate) faults: Faults,
}

/// How often the row is written.
const COMMITS: Version = 2;

/// The other process. Its callers can be left out, as everything that holds for the first's holds for its own; what it
/// does to Redis can not.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub(crate) enum Elsewhere {
    Idle,
    Leased { floor: Version },
    Loaded { value: Value, floor: Version },
}

/// The one reader who is watched. Readers act on each other only by starting flights, and a flight may start at any
/// time: so one stands for any number.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub(crate) struct Reader {
    /// The highest version whose invalidation Redis had applied when the read began.
    pub(crate) owed: Version,
    pub(crate) joined_before: Option<Command>,
}

#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub(crate) struct Stale {
    pub(crate) shows: Version,
    pub(crate) owed: Version,
}

#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub(crate) struct State {
    pub(crate) committed: Version,
    /// The highest version whose invalidation Redis has applied.
    pub(crate) applied: Version,
    pub(crate) redis: Redis,
    /// What a failover would promote.
    pub(crate) replica: Redis,
    pub(crate) here: Flight,
    pub(crate) elsewhere: Elsewhere,
    /// The populate of a flight that is over, on its way to Redis; with the floor of its lease.
    pub(crate) late: Option<(Value, Version)>,
    pub(crate) reader: Option<Reader>,
    pub(crate) answered: Option<Stale>,
}

impl State {
    /// The flight here sends a command: whoever has joined by now has joined before it.
    pub(crate) fn send(mut self, command: Command) -> State {
        if let Some(reader) = &mut self.reader {
            reader.joined_before.get_or_insert(command);
        }
        self
    }

    /// The flight here is over, or goes on without its lease. If Redis holds its token, that is another's from now on.
    pub(crate) fn hand_token_to(mut self, other: Token) -> State {
        self.redis.rename_token(Token::Here, other);
        self
    }
}

pub(crate) type Next = Vec<(Step, State)>;

impl Model for World {
    type State = State;

    fn initial(&self) -> State {
        State {
            committed: 0,
            applied: 0,
            redis: Redis::EMPTY,
            replica: Redis::EMPTY,
            here: Flight::None,
            elsewhere: Elsewhere::Idle,
            late: None,
            reader: None,
            answered: None,
        }
    }

    fn steps(&self, state: &State, next: &mut Next) {
        self.writers(state, next);
        self.redis_forgets(state, next);
        self.readers(state, next);
        self.flight_here(state, next);
        self.flight_elsewhere(state, next);
    }

    fn broken(&self, state: &State) -> Option<String> {
        if let Some(Stale { shows, owed }) = state.answered {
            return Some(format!(
                "the reader shares version {shows}, though invalidation({owed}) was applied before it began"
            ));
        }
        let (applied, shows) = (state.applied, state.redis.data?.shows);
        (shows < applied).then(|| {
            format!("a GET that begins now hits version {shows}, though invalidation({applied}) was applied")
        })
    }
}

impl World {
    /// A writer that dies after its commit leaves its invalidation to the tail, which also repeats those of the others:
    /// so that one may be applied at any time after its commit, in any order, and any number of times.
    fn writers(&self, state: &State, next: &mut Next) {
        if state.committed < COMMITS {
            let committed = state.committed + 1;
            next.push((
                Step("a writer commits version {}", committed),
                State { committed, ..*state },
            ));
        }
        for version in 1..=state.committed {
            let mut invalidated = |memory, text| {
                let mut after = State {
                    applied: state.applied.max(version),
                    ..*state
                };
                (self.protocol.invalidate)(&mut after.redis, version, memory);
                next.push((Step(text, version), after));
            };
            invalidated(Memory::Enough, "invalidation({}) is applied");
            if self.faults.out_of_memory {
                invalidated(
                    Memory::Out,
                    "invalidation({}) is applied, out of memory at the floor",
                );
            }
        }
    }

    fn redis_forgets(&self, state: &State, next: &mut Next) {
        let mut becomes = |text, redis| next.push((Step(text, 0), State { redis, ..*state }));
        if let Some(control) = state.redis.control
            && control.token.is_some()
        {
            let expired = Control {
                token: None,
                ..control
            };
            becomes(
                "the lease expires",
                Redis {
                    control: Some(expired),
                    ..state.redis
                },
            );
        }
        if self.faults.data_lost {
            becomes(
                "Redis evicts the data",
                Redis {
                    data: None,
                    ..state.redis
                },
            );
        }
        if self.faults.control_lost {
            becomes(
                "Redis evicts floor and token",
                Redis {
                    control: None,
                    ..state.redis
                },
            );
            becomes("Redis is flushed, or restarts empty", Redis::EMPTY);
        }
        if let (true, Some(control)) = (self.faults.floor_lost, state.redis.control) {
            let forgot = Control { floor: 0, ..control };
            becomes(
                "Redis evicts the floor",
                Redis {
                    control: Some(forgot),
                    ..state.redis
                },
            );
        }
        if self.faults.failover {
            becomes("the replica is promoted", state.replica);
            next.push((
                Step("the replica has received everything so far", 0),
                State {
                    replica: state.redis,
                    ..*state
                },
            ));
        }
    }

    fn readers(&self, state: &State, next: &mut Next) {
        if state.here == Flight::None {
            let here = Flight::Ready;
            next.push((Step("here: a flight starts", 0), State { here, ..*state }));
        }
        if state.reader.is_none() {
            // Its own GET missed, or got no reply: a hit is checked in every state.
            let reader = Some(Reader {
                owed: state.applied,
                joined_before: None,
            });
            let (text, here) = match state.here {
                Flight::None => ("here: the reader begins, and starts a flight", Flight::Ready),
                running => ("here: the reader begins, and joins the flight", running),
            };
            next.push((
                Step(text, 0),
                State {
                    reader,
                    here,
                    ..*state
                },
            ));
        }
    }

    /// The commits that a loader which starts now may see.
    pub(crate) fn snapshots(&self, state: &State) -> RangeInclusive<Version> {
        let oldest = if self.faults.older_snapshots {
            0
        } else {
            state.committed
        };
        oldest..=state.committed
    }

    pub(crate) fn read(&self, shows: Version, floor: Version) -> Value {
        let absent = self.faults.row_deleted && shows == 1;
        Value {
            version: if absent { floor } else { shows },
            shows,
        }
    }
}
