//! The flights of two processes: the one whose callers are watched, and the other.

use super::flight::{Command, Flight, Outcome};
use super::scripts::{Lease, Token, Value, Version};
use super::search::Step;
use super::world::{Elsewhere, Next, Stale, State, World};

impl World {
    pub(crate) fn flight_here(&self, state: &State, next: &mut Next) {
        match state.here {
            Flight::None => {}
            Flight::Ready => self.fetch(state, next),
            Flight::Fetched { by, value } => {
                self.land(
                    state,
                    Outcome::Fetched(by),
                    value,
                    "here: the reply arrives, with version {}",
                    next,
                );
                self.load_alone(state, next);
            }
            Flight::Leased { floor } => {
                for shows in self.snapshots(state) {
                    let value = self.read(shows, floor);
                    let here = Flight::Loaded { value, floor };
                    let after = State {
                        here,
                        ..state.send(Command::Load)
                    };
                    next.push((Step("here: the loader reads version {}", shows), after));
                }
                self.load_alone(state, next);
            }
            Flight::Loaded { value, floor } => self.populate_here(state, value, floor, next),
            Flight::Populated(value) => {
                let text = "here: the populate's reply arrives: accepted";
                self.land(state, Outcome::Populated, value, text, next);
                if self.faults.replies_lost {
                    let text = "here: the populate's reply is lost";
                    self.land(state, Outcome::Loaded { value, floor: None }, value, text, next);
                }
            }
            Flight::Rejected { value, floor } => {
                let text = "here: the populate's reply arrives: rejected";
                self.land(
                    state,
                    Outcome::Loaded {
                        value,
                        floor: Some(floor),
                    },
                    value,
                    text,
                    next,
                );
            }
            Flight::Alone(value) => {
                let text = "here: the flight ends with version {}, loaded without a lease";
                self.land(state, Outcome::Loaded { value, floor: None }, value, text, next);
            }
        }
    }

    /// A loser of the lease polls by GET and contends again; who starts does the same, with a miss behind it.
    fn fetch(&self, state: &State, next: &mut Next) {
        if let Some(value) = state.redis.data {
            let here = Flight::Fetched {
                by: Command::Get,
                value,
            };
            let after = State {
                here,
                ..state.send(Command::Get)
            };
            next.push((
                Step("here: a GET is sent, and finds version {}", value.shows),
                after,
            ));
        }
        for fresh in [true, false] {
            let mut after = state.send(Command::Lease);
            let (text, number) = match (self.protocol.lease)(&mut after.redis, Token::Here, fresh) {
                Lease::Data(value) => {
                    after.here = Flight::Fetched {
                        by: Command::Lease,
                        value,
                    };
                    (
                        "here: the lease is sent, and finds fresh data of version {}",
                        value.shows,
                    )
                }
                Lease::Busy => ("here: the lease is sent, and is busy", 0),
                Lease::Granted { floor } => {
                    after.here = Flight::Leased { floor };
                    ("here: the lease is sent, and is granted, with floor {}", floor)
                }
            };
            next.push((Step(text, number), after));
        }
        self.load_alone(state, next);
    }

    fn populate_here(&self, state: &State, value: Value, floor: Version, next: &mut Next) {
        let mut after = state.send(Command::Populate);
        let (text, here) = if (self.protocol.populate)(&mut after.redis, Token::Here, value, floor) {
            (
                "here: the populate is sent, and version {} is stored",
                Flight::Populated(value),
            )
        } else {
            (
                "here: the populate is sent, and version {} is rejected",
                Flight::Rejected { value, floor },
            )
        };
        next.push((Step(text, value.shows), State { here, ..after }));
        if state.late.is_none() {
            let after = State {
                late: Some((value, floor)),
                here: Flight::None,
                reader: None,
                ..*state
            };
            let text = "here: the populate is sent, and before it arrives the flight is given up";
            next.push((Step(text, 0), after.hand_token_to(Token::Late)));
        }
    }

    /// Redis has failed: what the flight asked may have been executed or not.
    fn load_alone(&self, state: &State, next: &mut Next) {
        if !self.faults.replies_lost {
            return;
        }
        for shows in self.snapshots(state) {
            let here = Flight::Alone(self.read(shows, 0));
            let after = State {
                here,
                ..state.send(Command::Load)
            }
            .hand_token_to(Token::Nobody);
            next.push((
                Step(
                    "here: Redis does not answer, and the loader reads version {}",
                    shows,
                ),
                after,
            ));
        }
    }

    /// The flight ends. Who may share its value is answered with it; the others share the next flight.
    fn land(&self, state: &State, outcome: Outcome, value: Value, text: &'static str, next: &mut Next) {
        let mut after = State {
            here: Flight::None,
            ..*state
        }
        .hand_token_to(Token::Nobody);
        if let Some(reader) = &mut after.reader {
            if (self.protocol.shares)(reader.joined_before, outcome) {
                let (shows, owed) = (value.shows, reader.owed);
                after.answered = (shows < owed).then_some(Stale { shows, owed });
                after.reader = None;
            } else {
                reader.joined_before = None;
                after.here = Flight::Ready;
            }
        }
        next.push((Step(text, value.shows), after));
    }

    pub(crate) fn flight_elsewhere(&self, state: &State, next: &mut Next) {
        let mut becomes = |text, number, elsewhere, redis| {
            next.push((
                Step(text, number),
                State {
                    elsewhere,
                    redis,
                    ..*state
                },
            ));
        };
        let mut redis = state.redis;
        match state.elsewhere {
            Elsewhere::Idle => {
                if let Lease::Granted { floor } = (self.protocol.lease)(&mut redis, Token::Elsewhere, false) {
                    becomes(
                        "elsewhere: the lease is granted",
                        0,
                        Elsewhere::Leased { floor },
                        redis,
                    );
                }
            }
            Elsewhere::Leased { floor } => {
                for shows in self.snapshots(state) {
                    let value = self.read(shows, floor);
                    let loaded = Elsewhere::Loaded { value, floor };
                    becomes("elsewhere: the loader reads version {}", shows, loaded, redis);
                }
            }
            Elsewhere::Loaded { value, floor } => {
                if (self.protocol.populate)(&mut redis, Token::Elsewhere, value, floor) {
                    becomes(
                        "elsewhere: version {} is populated",
                        value.shows,
                        Elsewhere::Idle,
                        redis,
                    );
                } else {
                    let text = "elsewhere: the populate of version {} is rejected";
                    becomes(text, value.shows, Elsewhere::Idle, redis);
                }
            }
        }
        if state.elsewhere != Elsewhere::Idle {
            let mut after = State {
                elsewhere: Elsewhere::Idle,
                ..*state
            };
            after.redis.rename_token(Token::Elsewhere, Token::Nobody);
            next.push((Step("elsewhere: the process is killed", 0), after));
        }
        if let Some((value, floor)) = state.late {
            let mut after = State { late: None, ..*state };
            let text = if (self.protocol.populate)(&mut after.redis, Token::Late, value, floor) {
                "the late populate arrives, and version {} is stored"
            } else {
                "the late populate arrives, and version {} is rejected"
            };
            next.push((Step(text, value.shows), after));
        }
    }
}
