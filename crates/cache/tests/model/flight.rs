//! A process's single flight, and the callers who share what it brings.

use super::scripts::{Value, Version};

/// The commands of a flight, in the order in which they are sent. One that finds the lease busy polls by GET, and
/// contends again.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub(crate) enum Command {
    Get,
    Lease,
    /// The loader's first statement.
    Load,
    Populate,
}

/// Where a flight is. A command is executed at the moment when it is sent: who joins between the two is not served by
/// it, and so cannot be told from one who joins after both.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub(crate) enum Flight {
    None,
    /// Nothing is on its way: the flight starts, or waits to poll again.
    Ready,
    /// Redis has executed a GET or a lease that returns data. The reply is on its way.
    Fetched {
        by: Command,
        value: Value,
    },
    Leased {
        floor: Version,
    },
    Loaded {
        value: Value,
        floor: Version,
    },
    /// Redis has accepted the populate. The reply is on its way.
    Populated(Value),
    /// Redis has rejected the populate. The reply is on its way.
    Rejected {
        value: Value,
        floor: Version,
    },
    /// Loaded without a lease, because Redis failed.
    Alone(Value),
}

/// How a flight got what it ends with.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Outcome {
    Fetched(Command),
    Populated,
    /// Not confirmed by a populate. `floor` is what the lease returned, where there was one.
    Loaded {
        value: Value,
        floor: Option<Version>,
    },
}

/// The joining rule. `joined_before` is the first command that the flight sent after the caller had joined.
pub(crate) fn shares(joined_before: Option<Command>, outcome: Outcome) -> bool {
    match outcome {
        // Joined before a command means joined before all later ones, and this was the last.
        Outcome::Fetched(_) | Outcome::Populated => joined_before.is_some(),
        Outcome::Loaded { .. } => joined_before.is_some_and(|command| command <= Command::Load),
    }
}

/// The joining rule for a loader that may read an older snapshot than its lease. Then a load proves nothing about what
/// was committed before it; the lease's floor does, for those who joined before it was asked for.
pub(crate) fn shares_what_the_lease_fenced(joined_before: Option<Command>, outcome: Outcome) -> bool {
    match outcome {
        Outcome::Fetched(_) | Outcome::Populated => joined_before.is_some(),
        Outcome::Loaded { value, floor } => {
            joined_before.is_some_and(|command| command <= Command::Lease)
                && floor.is_some_and(|floor| value.version >= floor)
        }
    }
}
