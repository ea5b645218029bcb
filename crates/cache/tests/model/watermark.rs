//! What is left of the promise when Redis loses what it acknowledged, or the invalidator stands still: **a value is
//! answered for at most [`B`] after its successor was committed, or after the last failover.**
//!
//! One write, whose inline invalidation may never come. One failover, to a replica that is behind. An invalidator that
//! may stop, or die and be taken over, between any two steps, and a process that may be suspended between any two polls.
//! Time passes in ticks, with any number of steps in each; what is older than [`B`] is not told apart. A populate within
//! its lease is accepted whenever it is not below the floor: tokens are the other model's.

use super::search::{Model, Step};

/// Ticks since something. From [`OLD`] on it stays the same.
pub(crate) type Age = u8;

/// How long a process trusts a watermark and, without one, an entry.
const B: Age = 2;

pub(crate) const OLD: Age = B + 1;

/// How long a populate can follow its lease.
const LEASE: Age = 1;

/// (T, lag): all that was committed before T has been applied; it was published `lag` after T.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub(crate) struct Watermark {
    pub(crate) t: Age,
    pub(crate) lag: Age,
}

/// What is cached. The write made version 1, which is never stale: its age makes no difference.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
enum Data {
    Missing,
    Version0 { loaded: Age },
    Version1,
}

#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub(crate) struct Redis {
    data: Data,
    floor: u8,
    watermark: Option<Watermark>,
    /// A counter, for the variant that needs one to notice a loss.
    pub(crate) heartbeat: u8,
}

/// How far the invalidator is in its loop.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
enum Stage {
    Idle,
    /// Redis has another identity than the saved one, and the watermark is gone.
    Withdrawn,
    /// Redis has the saved identity, and will have it until it is a new connection, on which the loop begins again. The
    /// page from one version to another was read, in a snapshot at `t`.
    Read {
        from: u8,
        to: u8,
        t: Age,
    },
    Applied {
        t: Age,
    },
}

/// What the invalidator saves, in PostgreSQL.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub(crate) struct Saved {
    /// What is up to here has been applied.
    pub(crate) position: u8,
    /// The identity that is saved is the one that Redis has.
    pub(crate) identity_is_current: bool,
    pub(crate) heartbeat: u8,
}

/// How a process follows the watermark.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub(crate) struct Follower {
    /// The T that the last poll found.
    pub(crate) seen: Option<Age>,
    /// The watermark's age; infinite until T has been seen to rise.
    pub(crate) age: Age,
    pub(crate) last_poll: Age,
}

/// T was published after the last poll, which did not find it: counting from there, no time is left out in which the
/// process was suspended.
pub(crate) fn follow(follower: &mut Follower, published: Option<Watermark>) {
    follower.age = match (published, follower.seen) {
        (None, _) => OLD,
        (Some(Watermark { t, lag }), Some(seen)) if t < seen => OLD.min(lag + follower.last_poll),
        _ => follower.age,
    };
    follower.seen = published.map(|watermark| watermark.t);
    follower.last_poll = 0;
}

pub(crate) fn notices_loss(saved: &Saved, _: &Redis) -> bool {
    !saved.identity_is_current
}

/// Both in one statement. Returns where to go on from.
pub(crate) fn rewind(saved: &mut Saved) -> u8 {
    saved.identity_is_current = true;
    saved.position = 0;
    0
}

/// The steps that a wrong variant replaces.
#[derive(Clone, Copy)]
pub(crate) struct Steps {
    pub(crate) follow: fn(&mut Follower, Option<Watermark>),
    pub(crate) notices_loss: fn(&Saved, &Redis) -> bool,
    pub(crate) rewind: fn(&mut Saved) -> u8,
    /// Beside publishing the watermark.
    pub(crate) beat: fn(&mut Saved, &mut Redis),
}

impl Steps {
    pub(crate) const RIGHT: Steps = Steps {
        follow,
        notices_loss,
        rewind,
        beat: |_, _| {},
    };
}

#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub(crate) struct State {
    /// Since version 1 was committed.
    written: Option<Age>,
    failover: Option<Age>,
    redis: Redis,
    /// What a failover would promote.
    replica: Option<Redis>,
    /// Since the lease of a loader that has read version 0, and whose populate is on its way.
    loaded: Option<Age>,
    saved: Saved,
    stage: Stage,
    follower: Follower,
}

impl State {
    fn committed(&self) -> u8 {
        u8::from(self.written.is_some())
    }

    fn invalidate(&mut self) {
        if let Data::Version0 { .. } = self.redis.data {
            self.redis.data = Data::Missing;
        }
        self.redis.floor = 1;
    }

    /// Version 0 cannot come back from anywhere.
    fn is_over(&self) -> bool {
        let holds = |redis: &Redis| matches!(redis.data, Data::Version0 { .. });
        self.written.is_some()
            && self.loaded.is_none()
            && !holds(&self.redis)
            && !self.replica.as_ref().is_some_and(holds)
    }
}

pub(crate) struct Clocks {
    pub(crate) steps: Steps,
}

type Next = Vec<(Step, State)>;

impl Model for Clocks {
    type State = State;

    fn initial(&self) -> State {
        let redis = Redis {
            data: Data::Version0 { loaded: OLD },
            floor: 0,
            watermark: Some(Watermark { t: 0, lag: 0 }),
            heartbeat: 0,
        };
        State {
            written: None,
            failover: None,
            redis,
            replica: None,
            loaded: None,
            saved: Saved {
                position: 0,
                identity_is_current: true,
                heartbeat: 0,
            },
            stage: Stage::Idle,
            follower: Follower {
                seen: Some(0),
                age: 0,
                last_poll: 0,
            },
        }
    }

    fn steps(&self, state: &State, next: &mut Next) {
        if state.is_over() {
            return;
        }
        next.push((Step("a tick passes", 0), tick(*state)));
        writer(state, next);
        reader(state, next);
        redis_fails(state, next);
        self.invalidator(state, next);
        let mut after = *state;
        (self.steps.follow)(&mut after.follower, state.redis.watermark);
        next.push((
            Step(
                "the process polls the watermark, whose age is {} now",
                after.follower.age,
            ),
            after,
        ));
    }

    fn broken(&self, state: &State) -> Option<String> {
        let Data::Version0 { loaded } = state.redis.data else {
            return None;
        };
        let answered = state.follower.age <= B || loaded < B;
        let long = state.written == Some(OLD) && state.failover.is_none_or(|since| since == OLD);
        (answered && long).then(|| {
            format!(
                "version 0 is answered, more than {B} ticks after version 1 was committed and any failover"
            )
        })
    }
}

fn tick(mut state: State) -> State {
    let older = |age: &mut Age| *age = OLD.min(*age + 1);
    let grow_old = |redis: &mut Redis| {
        if let Data::Version0 { loaded } = &mut redis.data {
            older(loaded);
        }
        redis
            .watermark
            .iter_mut()
            .for_each(|watermark| older(&mut watermark.t));
    };
    state.written.iter_mut().for_each(older);
    state.failover.iter_mut().for_each(older);
    grow_old(&mut state.redis);
    state.replica.iter_mut().for_each(grow_old);
    state.loaded.iter_mut().for_each(older);
    state.loaded = state.loaded.filter(|since_lease| *since_lease <= LEASE);
    if let Stage::Read { t, .. } | Stage::Applied { t } = &mut state.stage {
        older(t);
    }
    state.follower.seen.iter_mut().for_each(older);
    older(&mut state.follower.age);
    older(&mut state.follower.last_poll);
    state
}

fn writer(state: &State, next: &mut Next) {
    if state.written.is_none() {
        next.push((
            Step("a writer commits version 1", 0),
            State {
                written: Some(0),
                ..*state
            },
        ));
    } else {
        let mut after = *state;
        after.invalidate();
        next.push((Step("the writer applies invalidation(1)", 0), after));
    }
}

/// Loads on the primary, under a lease, for whatever reason: data is missing, past its soft expiry, or too old to be
/// answered without a watermark.
fn reader(state: &State, next: &mut Next) {
    let mut after = *state;
    if let Some(loaded) = after.loaded.take() {
        if state.redis.floor == 0 && state.redis.data != Data::Version1 {
            after.redis.data = Data::Version0 { loaded };
        }
        next.push((
            Step(
                "version 0 is populated, unless the floor or version 1 rejects it",
                0,
            ),
            after,
        ));
    } else if state.written.is_none() {
        next.push((
            Step("a reader loads version 0", 0),
            State {
                loaded: Some(0),
                ..*state
            },
        ));
    }
    if state.written.is_some() {
        let redis = Redis {
            data: Data::Version1,
            ..state.redis
        };
        next.push((
            Step("a reader loads version 1, and populates it", 0),
            State { redis, ..*state },
        ));
    }
}

fn redis_fails(state: &State, next: &mut Next) {
    let evicted = Redis {
        data: Data::Missing,
        ..state.redis
    };
    next.push((
        Step("Redis evicts the data", 0),
        State {
            redis: evicted,
            ..*state
        },
    ));
    if state.failover.is_some() {
        return;
    }
    match state.replica {
        None => {
            let replica = Some(state.redis);
            next.push((
                Step("the replica receives nothing from now on", 0),
                State { replica, ..*state },
            ));
        }
        Some(redis) => {
            let mut after = State {
                redis,
                replica: None,
                failover: Some(0),
                stage: Stage::Idle,
                ..*state
            };
            after.saved.identity_is_current = false;
            next.push((Step("the replica is promoted", 0), after));
        }
    }
}

impl Clocks {
    fn invalidator(&self, state: &State, next: &mut Next) {
        if state.stage != Stage::Idle {
            let after = State {
                stage: Stage::Idle,
                ..*state
            };
            next.push((Step("the invalidator dies, and another takes over", 0), after));
        }
        let mut after = *state;
        let (text, stage) = match state.stage {
            Stage::Idle if (self.steps.notices_loss)(&state.saved, &state.redis) => {
                after.redis.watermark = None;
                (
                    "the invalidator notices a loss, and withdraws the watermark",
                    Stage::Withdrawn,
                )
            }
            Stage::Idle => {
                let page = Stage::Read {
                    from: state.saved.position,
                    to: state.committed(),
                    t: 0,
                };
                ("the invalidator notices no loss, and reads a page", page)
            }
            Stage::Withdrawn => {
                let from = (self.steps.rewind)(&mut after.saved);
                let page = Stage::Read {
                    from,
                    to: state.committed(),
                    t: 0,
                };
                (
                    "the invalidator saves the rewound position and the identity, and reads a page",
                    page,
                )
            }
            Stage::Read { from, to, t } => {
                if from < to {
                    after.invalidate();
                }
                after.saved.position = to;
                (
                    "the invalidator applies the page, and saves the position {}",
                    Stage::Applied { t },
                )
            }
            Stage::Applied { t } => {
                (self.steps.beat)(&mut after.saved, &mut after.redis);
                after.redis.watermark = Some(Watermark { t, lag: t });
                ("the invalidator publishes the watermark", Stage::Idle)
            }
        };
        next.push((Step(text, after.saved.position), State { stage, ..after }));
    }
}
