//! The protocol of the cache, and a search through every state that it can get into.
//!
//! `scripts` is what Redis keeps for one entry and what the scripts do to it, `flight` is who shares what a process has
//! loaded, and `world` is everything that can happen, in any order, with what each process does in `processes`. The
//! property: **a read that begins after `invalidate(v)` was applied in Redis is not answered, from Redis or a shared
//! flight, with a version below `v`.** A failover that loses acknowledged writes breaks it; what holds then is in
//! `watermark`.
//!
//! The bounds: one entry, two writes, two processes, one populate that outlives its flight. Time is not counted: a lease
//! may expire, and data may be past its soft expiry, at any moment. What is not in it: the layer that answers within a
//! process while Redis is down (it promises a second, and no more), stale-if-error (a reader's own GET found that value),
//! lists, and schemas.
//!
//! `cargo test -p cache --test model -- --nocapture` prints the number of states and every counterexample.

mod flight;
mod processes;
mod scripts;
mod search;
mod watermark;
mod world;
mod wrong;

use flight::shares_what_the_lease_fenced;
use search::{Model, search};
use watermark::{Clocks, Steps};
use world::{Faults, Protocol, World};

/// Everything that may go wrong while the promise holds.
const FAULTS: Faults = Faults {
    data_lost: true,
    control_lost: true,
    floor_lost: false,
    out_of_memory: true,
    replies_lost: true,
    older_snapshots: false,
    failover: false,
    row_deleted: true,
};

/// What may go wrong while the promise holds for a loader that reads older snapshots: floors are not lost.
const OLDER_SNAPSHOTS: Faults = Faults {
    control_lost: false,
    out_of_memory: false,
    older_snapshots: true,
    row_deleted: false,
    ..FAULTS
};

/// None: nothing but what always may happen.
const QUIET: Faults = Faults {
    data_lost: false,
    control_lost: false,
    out_of_memory: false,
    replies_lost: false,
    row_deleted: false,
    ..FAULTS
};

fn holds(what: &str, model: &impl Model) {
    match search(model) {
        Ok(all) => {
            println!(
                "{what}: holds in {} states, {} steps, up to {} deep",
                all.states, all.steps, all.depth
            );
        }
        Err(counterexample) => panic!("{what} does not hold:\n{counterexample}"),
    }
}

/// `how`: part of what the counterexample has to end with.
fn is_caught(what: &str, how: &str, model: &impl Model) {
    match search(model) {
        Ok(all) => panic!(
            "{what} is not caught in {} states: the search proves nothing",
            all.states
        ),
        Err(counterexample) => {
            println!("{what}:\n{counterexample}");
            assert!(
                counterexample.to_string().contains(how),
                "not caught because it {how}: {counterexample}"
            );
        }
    }
}

#[test]
fn no_read_is_older_than_an_invalidation_that_was_applied_before_it() {
    holds(
        "the protocol",
        &World {
            protocol: Protocol::RIGHT,
            faults: FAULTS,
        },
    );
}

#[test]
fn a_row_that_is_never_deleted_is_no_exception() {
    let faults = Faults {
        row_deleted: false,
        ..FAULTS
    };
    holds(
        "the protocol, without deletes",
        &World {
            protocol: Protocol::RIGHT,
            faults,
        },
    );
}

/// The floor fences what such a loader read, as long as Redis keeps it: the value is answered to those who joined before
/// the lease, if it is not below the floor that the lease returned. Nobody is answered without a lease.
#[test]
fn an_older_snapshot_is_fenced_by_the_floor_of_the_lease() {
    let protocol = Protocol {
        shares: shares_what_the_lease_fenced,
        ..Protocol::RIGHT
    };
    holds(
        "older snapshots",
        &World {
            protocol,
            faults: OLDER_SNAPSHOTS,
        },
    );
}

/// This is why the loader reads on the primary, in a statement of its own after the lease.
#[test]
fn an_older_snapshot_needs_more_than_the_protocol_gives() {
    let faults = Faults {
        replies_lost: false,
        ..OLDER_SNAPSHOTS
    };
    is_caught(
        "older snapshots, shared as if they were new",
        "shares",
        &World {
            protocol: Protocol::RIGHT,
            faults,
        },
    );

    let protocol = Protocol {
        shares: shares_what_the_lease_fenced,
        ..Protocol::RIGHT
    };
    let faults = Faults {
        control_lost: true,
        ..OLDER_SNAPSHOTS
    };
    is_caught(
        "older snapshots, and the floor is lost",
        "hits",
        &World { protocol, faults },
    );
    // It carries the floor, whatever it shows.
    let faults = Faults {
        row_deleted: true,
        ..OLDER_SNAPSHOTS
    };
    is_caught(
        "older snapshots without the row",
        "hits",
        &World { protocol, faults },
    );
}

#[test]
fn a_caller_who_joins_too_late_is_caught() {
    for (what, shares) in [
        (
            "joined after the populate was sent",
            wrong::shares_after_the_populate as fn(_, _) -> _,
        ),
        ("joined after the lease was sent", wrong::shares_after_the_lease),
        ("joined after the GET was sent", wrong::shares_after_the_get),
        (
            "joined before the populate, which was rejected",
            wrong::shares_what_was_rejected,
        ),
    ] {
        let protocol = Protocol {
            shares,
            ..Protocol::RIGHT
        };
        is_caught(
            what,
            "shares",
            &World {
                protocol,
                faults: FAULTS,
            },
        );
    }
}

#[test]
fn out_of_memory_that_keeps_the_token_is_caught() {
    let protocol = Protocol {
        invalidate: wrong::invalidate_keeping_the_token,
        ..Protocol::RIGHT
    };
    let faults = Faults {
        out_of_memory: true,
        ..QUIET
    };
    is_caught(
        "out of memory, and the token stays",
        "hits",
        &World { protocol, faults },
    );
}

#[test]
fn floor_and_token_in_keys_of_their_own_are_caught() {
    let faults = Faults {
        floor_lost: true,
        ..QUIET
    };
    is_caught(
        "the floor is lost without the token",
        "hits",
        &World {
            protocol: Protocol::RIGHT,
            faults,
        },
    );
}

#[test]
fn a_token_for_each_process_is_caught() {
    let protocol = Protocol {
        populate: wrong::populate_by_process,
        ..Protocol::RIGHT
    };
    is_caught(
        "two flights with one token",
        "hits",
        &World {
            protocol,
            faults: FAULTS,
        },
    );
}

#[test]
fn what_others_do_is_caught() {
    let protocol = Protocol {
        invalidate: wrong::invalidate_by_delete,
        populate: wrong::populate_by_set,
        ..Protocol::RIGHT
    };
    is_caught(
        "DEL and SET",
        "hits",
        &World {
            protocol,
            faults: QUIET,
        },
    );

    let protocol = Protocol {
        populate: wrong::populate_if_not_older,
        ..protocol
    };
    is_caught(
        "a compare-and-set by version",
        "hits",
        &World {
            protocol,
            faults: QUIET,
        },
    );

    let protocol = Protocol {
        invalidate: wrong::invalidate_by_generation,
        populate: wrong::populate_in_generation,
        ..Protocol::RIGHT
    };
    let faults = Faults {
        control_lost: true,
        ..QUIET
    };
    is_caught("a generation counter", "hits", &World { protocol, faults });
}

/// A lease that an invalidation deletes is enough for a loader that reads what is committed, and for no other.
#[test]
fn a_lease_without_a_floor_is_caught_with_an_older_snapshot() {
    let protocol = Protocol {
        invalidate: wrong::invalidate_data_and_token,
        populate: wrong::populate_by_token,
        ..Protocol::RIGHT
    };
    holds(
        "a lease without a floor, on the primary",
        &World {
            protocol,
            faults: FAULTS,
        },
    );
    let protocol = Protocol {
        shares: shares_what_the_lease_fenced,
        ..protocol
    };
    let faults = OLDER_SNAPSHOTS;
    is_caught(
        "a lease without a floor, with older snapshots",
        "hits",
        &World { protocol, faults },
    );
}

#[test]
fn after_a_failover_only_the_bounded_promise_holds() {
    let faults = Faults {
        failover: true,
        ..QUIET
    };
    is_caught(
        "a failover",
        "hits",
        &World {
            protocol: Protocol::RIGHT,
            faults,
        },
    );
    holds("the bounded promise", &Clocks { steps: Steps::RIGHT });
}

#[test]
fn a_loss_that_is_noticed_by_a_heartbeat_is_caught() {
    let steps = Steps {
        notices_loss: wrong::notices_by_heartbeat,
        beat: wrong::beat,
        ..Steps::RIGHT
    };
    is_caught("a heartbeat", "answered", &Clocks { steps });
}

#[test]
fn an_identity_that_is_saved_before_the_position_is_caught() {
    let steps = Steps {
        rewind: wrong::rewind_in_memory,
        ..Steps::RIGHT
    };
    is_caught("rewound in memory", "answered", &Clocks { steps });
}

#[test]
fn a_watermark_whose_age_is_measured_wrongly_is_caught() {
    for (what, follow) in [
        (
            "a watermark aged by change only",
            wrong::follow_any_change as fn(&mut _, _),
        ),
        (
            "a watermark aged from the poll that found it",
            wrong::follow_from_the_poll,
        ),
        (
            "a watermark that is believed at first sight",
            wrong::follow_from_the_start,
        ),
    ] {
        is_caught(
            what,
            "answered",
            &Clocks {
                steps: Steps {
                    follow,
                    ..Steps::RIGHT
                },
            },
        );
    }
}
